"""What `dynod serve` makes of an app's folder."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from dynod.core.app_manifest import Healthcheck
from dynod.core.healthcheck import title
from dynod.errors import AppFolderError
from dynod.kept_notes import from_note, to_note
from dynod.serve_plan import ServePlan, empty_plan, make_serve_plan
from dynod.settings import Settings
from support.app_folder import app_folder

PROCFILE = {"web": "sleep 1", "worker": "sleep 2", "release": "true"}


def plan_of(parent: Path, *, app_json: Mapping[str, object] | None = None) -> ServePlan:
    return make_serve_plan("shop", app_folder(parent, procfile=PROCFILE, app_json=app_json))


def test_a_new_app_has_one_web_dyno_and_no_other(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert plan.types == ["web", "worker"]
    assert {name: plan.first_quantity(name) for name in plan.types} == {"web": 1, "worker": 0}


def test_app_json_says_otherwise(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, app_json={"formation": {"web": {"quantity": 0}, "worker": {"quantity": 3}}})
    assert {name: plan.first_quantity(name) for name in plan.types} == {"web": 0, "worker": 3}


def test_the_environment_is_built_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_DAEMON", "x")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    plan = plan_of(tmp_path, app_json={"env": {"KEY": {"value": "v"}, "PORT": {"value": "1"}}})
    (tmp_path / "app" / ".env").write_text("LAPTOP=1\n")
    environment = plan.environment("web.1", 20_001, plan.manifest_env)
    assert environment["KEY"] == "v"
    assert (environment["DYNO"], environment["PORT"]) == ("web.1", "20001")
    assert not {"OF_THE_DAEMON", "PYTHONPATH", "LAPTOP"} & set(environment)


def test_a_secret_is_made_once_and_kept_with_the_config_vars(tmp_path: Path) -> None:
    app_json = {"env": {"SECRET": {"generator": "secret"}, "KEY": {"value": "v"}}}
    plan = plan_of(tmp_path, app_json=app_json)
    assert len(plan.manifest_env["SECRET"]) == 64
    kept = from_note(to_note(plan.without_values()), ServePlan)
    assert kept.manifest_env == {}
    assert kept.code() == plan.code()
    again = make_serve_plan("shop", tmp_path / "app", config=plan.manifest_env)
    assert again.manifest_env == {"KEY": "v"}


def test_a_variable_that_is_set_is_not_missing(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": "sleep 1"}, app_json={"env": {"NEEDED": {"required": True}}})
    with pytest.raises(AppFolderError, match="NEEDED"):
        make_serve_plan("shop", folder)
    assert make_serve_plan("shop", folder, config={"NEEDED": "1"}).types == ["web"]


def test_every_fault_is_reported(tmp_path: Path) -> None:
    folder = app_folder(
        tmp_path,
        procfile="web: no-such-program-anywhere\nworker sleep 1\n",
        app_json={"env": {"NEEDED": {"required": True}}},
    )
    with pytest.raises(AppFolderError) as refused:
        make_serve_plan("shop", folder)
    for part in ("Procfile line 2", "NEEDED"):
        assert part in str(refused.value)


def test_rules_are_the_settings_for_its_type(tmp_path: Path) -> None:
    settings = Settings()
    plan = plan_of(tmp_path)
    rules = settings.dyno_rules("worker", rows={"grace_s": "7", "web.grace_s": "9", "stop_signal": "SIGINT"})
    command = plan.command("worker", rules, config={"A": "1"}, release=7)
    assert (command.stop.grace_s, command.stop.signal) == (7.0, 2)
    assert command.rules.enforce
    assert command.shown == "sleep 2"
    assert command.release == 7
    assert command.environment("worker.1", 20_001)["A"] == "1"


def test_a_health_checks_command_finds_what_the_buildpacks_scripts_put_on_path(tmp_path: Path) -> None:
    """And messages name it as app.json does, not as it is started."""
    check = {"type": "startup", "command": ["is-well", "really"]}
    other = {"type": "liveness", "path": "/"}
    plan = plan_of(tmp_path, app_json={"healthchecks": {"web": [check, other]}})
    rules = Settings().dyno_rules("web", rows={})

    def checks(plan: ServePlan) -> Sequence[Healthcheck]:
        return plan.command("web", rules, config={}, release=1).checks

    assert [each.command for each in checks(plan)] == [("is-well", "really"), ()]
    profile = tmp_path / "app" / ".profile.d"
    profile.mkdir()
    (profile / "path.sh").write_text('export PATH="$PWD/tools:$PATH"\n')
    (tmp_path / "app" / "tools").mkdir()
    program = tmp_path / "app" / "tools" / "is-well"
    program.write_text('#!/bin/sh\necho "well, $1"\n')
    program.chmod(0o755)
    built, untouched = checks(msgspec.structs.replace(plan, by_profile=True))
    assert (title(built), untouched) == ("is-well really", plan.healthchecks["web"][1])
    said = subprocess.run(built.command, cwd=tmp_path / "app", capture_output=True, text=True, check=True)
    assert said.stdout == "well, really\n"


def test_an_app_that_cannot_run_has_no_types() -> None:
    plan = empty_plan("shop", "/nowhere")
    assert plan.types == []
    assert from_note(to_note(plan), ServePlan) == plan
