"""Heroku's own command line from npm, unmodified, drives `dynod serve` with the Django example; so does heroku3.

What is compared is the effect: what runs afterwards, what the other end has received. One daemon for all of them; each
test leaves the app `demo` as it has found it, or uses an app of its own.
"""

import contextlib
import getpass
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from heroku3.api import Heroku  # type: ignore[import-untyped]  # it ships no types

from dynod.platform_api.schema import Release
from support import installed, processes
from support.app_folder import app_folder, toy
from support.heroku_cli import HerokuCli, HerokuRun
from support.heroku_types import Array, HerokuTypes
from support.log_receivers import HttpReceiver
from support.serve import Serve, ServedApp
from support.tarballs import tarball
from support.up import eventually

pytestmark = pytest.mark.timeout(180)
ME = f"{getpass.getuser()}@localhost"
DEMO = ("-a", "demo")


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    folder = tmp_path_factory.mktemp("heroku")
    with Serve(folder / "state", toml="[dynos]\nreconnect_s = 0.1\nsettle_s = 0.2\n") as running:
        running.wait_until_ready()
        running.done("apps:create", "demo", "--dir", str(django(folder, running.mark)))
        running.known_app("demo").wait_until_up("web.1", "web.2", "worker.1")
        yield running


@pytest.fixture(scope="module")
def heroku(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HerokuCli]:
    with HerokuCli(serve, tmp_path_factory.mktemp("home")) as cli:
        yield cli


@pytest.fixture
def demo(serve: Serve) -> ServedApp:
    return serve.known_app("demo")


def django(parent: Path, mark: str) -> Path:
    """A copy of the example with a database of its own, whose dynos can be found again."""
    example = installed.django_folder()
    ignored = shutil.ignore_patterns("db.sqlite3*", "__pycache__", ".venv", ".dynod", ".env")
    copy = shutil.copytree(example, parent / "django", ignore=ignored)
    (copy / ".venv").symlink_to(example / ".venv")
    manifest = json.loads((copy / "app.json").read_text())
    manifest.setdefault("env", {})[processes.MARK] = {"value": mark}
    (copy / "app.json").write_text(json.dumps(manifest))
    return copy


# --- looking -----------------------------------------------------------------------------------------------------


def test_who_one_is_and_what_there_is(heroku: HerokuCli, serve: Serve, demo: ServedApp) -> None:
    whoami, apps, info, access, tokens, labs, ps, formation, drains = heroku.each(
        ("auth:whoami",),
        ("apps", "--json"),
        ("apps:info", "--json", *DEMO),
        ("access", "--json", *DEMO),
        ("authorizations", "--json"),
        ("labs", "--json", *DEMO),
        ("ps", "--json", *DEMO),
        ("ps:scale", *DEMO),
        ("drains", *DEMO),
    )
    assert whoami == f"{ME}\n"
    assert [(app["name"], app["id"], app["owner"]["email"]) for app in json.loads(apps)] == [("demo", demo.id, ME)]
    shown = json.loads(info)
    assert shown["app"]["web_url"] == f"http://demo.localhost:{serve.port}/"
    assert sorted(dyno["name"] for dyno in shown["dynos"]) == ["web.1", "web.2", "worker.1"]
    assert shown["addons"] == []
    assert [each["role"] for each in json.loads(access)] == ["owner"]
    assert ["global"] in [each["scope"] for each in json.loads(tokens)]
    assert isinstance(json.loads(labs)["app"], list)
    assert {dyno["id"] for dyno in json.loads(ps)} == {dyno["id"] for dyno in demo.dynos().values()}
    assert formation == "release=0:Unsized web=2:Unsized worker=1:Unsized\n"
    assert drains == ""


def test_what_people_read(heroku: HerokuCli) -> None:
    apps, info, ps, types = heroku.each(("apps",), ("apps:info", *DEMO), ("ps", *DEMO), ("ps:type", *DEMO))
    assert apps == f"=== {ME} Apps\n\ndemo (local)\n"
    assert re.search(r"^Dynos: +web: 2, worker: 1$", info, re.MULTILINE)
    assert re.search(r"^=== web \(Unsized\): gunicorn .* \(2\)$", ps, re.MULTILINE)
    assert re.search(r"^web\.2: up \d{4}/", ps, re.MULTILINE)
    assert re.search(r"^ *web +Unsized +2\b", types, re.MULTILINE)


def test_what_is_not_there_is_said(heroku: HerokuCli) -> None:
    """By the program that users start, which says the same as many commands in one process."""
    missing, there = heroku.alone("ps", "-a", "nothing"), heroku.alone("ps:scale", *DEMO)
    assert missing.returncode != 0
    assert "Couldn't find that app." in missing.stderr
    assert "Error ID: not_found" in missing.stderr
    assert (there.returncode, there.stdout) == (0, heroku.done("ps:scale", *DEMO).stdout)


# --- changing ----------------------------------------------------------------------------------------------------


def test_scaling(heroku: HerokuCli, demo: ServedApp) -> None:
    said = heroku.done("ps:scale", "web=1", "worker+1", *DEMO).stderr
    assert "done, now running web at 1:Unsized, worker at 2:Unsized" in said
    demo.wait_until_up("web.1", "worker.1", "worker.2")
    heroku.done("ps:scale", "web=2", "worker=1", *DEMO)
    demo.wait_until_up("web.1", "web.2", "worker.1")
    refused = heroku.run("ps:scale", "nothing=1", *DEMO)
    assert refused.returncode != 0
    assert "Couldn't find that process type" in refused.stderr
    assert demo.formation() == {"release": 0, "web": 2, "worker": 1}


def test_restarting_stopping_and_sizes(heroku: HerokuCli, demo: ServedApp) -> None:
    before = demo.pids()
    heroku.done("ps:restart", "-d", "web.1", *DEMO)
    demo.wait()
    after = demo.pids()
    assert {name for name in after if after[name] != before[name]} == {"web.1"}
    heroku.done("ps:stop", "-p", "worker", *DEMO)
    demo.wait()
    assert demo.pids()["worker.1"] != after["worker.1"]
    heroku.done("ps:restart", *DEMO)
    demo.wait()
    assert not set(demo.pids().values()) & {*before.values(), *after.values()}
    heroku.done("ps:type", "worker=standard-2x", *DEMO)
    demo.wait()
    assert demo.dynos()["worker.1"]["size"] == "Standard-2X"
    assert demo.dynos()["web.1"]["size"] == "Unsized"
    heroku.done("ps:type", "worker=unsized", *DEMO)
    demo.wait()
    assert demo.dynos()["worker.1"]["size"] == "Unsized"


def test_apps_come_and_go(heroku: HerokuCli, serve: Serve) -> None:
    created = heroku.done("apps:create", "brand-new", "--json")
    assert json.loads(created.stdout)["name"] == "brand-new"
    assert serve.app_names() == ["brand-new", "demo"]
    id_ = serve.known_app("brand-new").id
    heroku.done("apps:rename", "-a", "brand-new", "renamed")
    assert serve.app_names() == ["demo", "renamed"]
    assert serve.known_app("renamed").id == id_
    refused = heroku.run("apps:create", "renamed")
    assert refused.returncode != 0
    assert "there is such an app already" in refused.stderr
    refused = heroku.run("apps:destroy", "-a", "renamed", "-c", "other")
    assert refused.returncode != 0
    assert serve.app_names() == ["demo", "renamed"]
    heroku.done("apps:destroy", "-a", "renamed", "-c", "renamed")
    assert serve.app_names() == ["demo"]


def test_maintenance(heroku: HerokuCli, demo: ServedApp) -> None:
    heroku.done("maintenance:on", *DEMO)
    assert heroku.done("maintenance", *DEMO).stdout == "on\n"
    assert demo.get("/").status == 503
    heroku.done("maintenance:off", *DEMO)
    assert demo.get("/").status == 200


def test_domains(heroku: HerokuCli, serve: Serve) -> None:
    def hostnames() -> list[str]:
        return [each["hostname"] for each in json.loads(serve.done("domains", "--json", *DEMO).stdout)]

    heroku.done("domains:add", "www.shop.example", *DEMO)
    assert "www.shop.example" in hostnames()
    assert "www.shop.example" in heroku.done("domains", *DEMO).stdout
    heroku.done("domains:remove", "www.shop.example", *DEMO)
    assert "www.shop.example" not in hostnames()


def test_features(heroku: HerokuCli, serve: Serve) -> None:
    def enabled() -> set[str]:
        return {each["name"] for each in json.loads(serve.done("features", "--json", *DEMO).stdout) if each["enabled"]}

    assert "preboot" not in enabled()
    heroku.done("features:enable", "preboot", *DEMO)
    assert "preboot" in enabled()
    shown, info = heroku.each(("features", *DEMO), ("features:info", "preboot", *DEMO))
    assert re.search(r"^\[\+\] preboot ", shown, re.MULTILINE)
    assert "preboot" in info
    heroku.done("features:disable", "preboot", *DEMO)
    assert "preboot" not in enabled()
    heroku.done("labs:enable", "log-runtime-metrics", *DEMO)
    assert enabled() == {"log-runtime-metrics"}
    labs, info = heroku.each(("labs", *DEMO), ("labs:info", "log-runtime-metrics", *DEMO))
    assert re.search(r"^\[\+\] log-runtime-metrics ", labs, re.MULTILINE)
    assert "preboot" not in labs  # which is no experiment
    assert re.search(r"^Enabled: +true$", info, re.MULTILINE)
    heroku.done("labs:disable", "log-runtime-metrics", *DEMO)
    assert enabled() == set()


def test_buildpacks(heroku: HerokuCli, serve: Serve) -> None:
    def urls() -> object:
        return json.loads(serve.done("buildpacks", "--json", *DEMO).stdout)

    one, two = ("https://example.com/buildpacks/one", "https://example.com/buildpacks/two")
    heroku.done("buildpacks:set", one, *DEMO)
    heroku.done("buildpacks:add", two, "-i", "1", *DEMO)
    assert urls() == [two, one]
    assert f"1. {two}\n2. {one}\n" in heroku.done("buildpacks", *DEMO).stdout
    heroku.done("buildpacks:remove", two, *DEMO)
    assert urls() == [one]
    heroku.done("buildpacks:remove", one, *DEMO)  # the last one
    assert urls() == []
    heroku.done("buildpacks:set", two, *DEMO)
    heroku.done("buildpacks:clear", *DEMO)
    assert urls() == []


# --- config vars and releases ------------------------------------------------------------------------------------


def environment(app: ServedApp) -> dict[str, str]:
    """Of its worker, as the kernel has it."""
    entries = Path(f"/proc/{app.pids()['worker.1']}/environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def wait_until_live(serve: Serve, app: ServedApp, version: int) -> Release:
    """Until that release is what runs; it."""

    def look() -> Release | None:
        with contextlib.closing(serve.client) as client:
            release = client.release(app.name, "current")
            return release if release["version"] == version else None

    release = eventually(look, what=f"{app.name}: v{version} is live")
    app.wait_until_up("worker.1")
    return release


def newest(serve: Serve, app: ServedApp) -> int:
    with contextlib.closing(serve.client) as client:
        return client.newest_releases(app.name, 1)[0]["version"]


@pytest.fixture
def palette(serve: Serve, tmp_path: Path) -> Iterator[ServedApp]:
    """A worker, and a release command that says what it has got."""
    commands = {"worker": toy("waits"), "release": 'echo "COLOUR is ${COLOUR-unset}"'}
    manifest = {"formation": {"worker": {"quantity": 1}}}
    folder = serve.folder_of(tmp_path, "palette", procfile=commands, app_json=manifest)
    serve.done("apps:create", "palette", "--dir", str(folder))
    app = serve.known_app("palette")
    try:
        app.wait_until_up("worker.1")
        yield app
    finally:
        serve.done("apps:destroy", "palette", "--confirm", "palette")


def test_keys_and_the_git_remote(heroku: HerokuCli, serve: Serve, tmp_path: Path) -> None:
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me@laptop", "-f", key], check=True)
    heroku.done("keys:add", f"{key}.pub")
    listed, found = heroku.each(("keys",), ("keys", "--json"))
    assert listed.startswith(f"=== {ME} keys\n\nssh-ed25519 AAAAC3NzaC...")
    assert "me@laptop" in listed
    (only,) = json.loads(found)
    assert (only["email"], only["comment"]) == (ME, "me@laptop")
    assert only["id"] in serve.done("ssh-authorized-keys").stdout
    heroku.done("keys:remove", "me@laptop")
    assert serve.done("ssh-authorized-keys").stdout == ""
    # A remote is set as it always is; its host is the one that heroku:env names.
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "work")], check=True)
    said = heroku.alone("git:remote", *DEMO, folder=tmp_path / "work")
    host = heroku.variables["HEROKU_GIT_HOST"]
    assert said.stdout == f"set git remote heroku to https://{host}/demo.git\n", said.stderr


def test_config_vars_reach_the_dynos(heroku: HerokuCli, serve: Serve, palette: ServedApp, tmp_path: Path) -> None:
    of = ("-a", "palette")
    first = newest(serve, palette)
    said = heroku.done("config:set", "COLOUR=deep blue", "SHAPE=a=b", *of)
    assert f"done, v{first + 1}" in said.stderr
    assert said.stdout == "COLOUR: deep blue\nSHAPE:  a=b\n"
    wait_until_live(serve, palette, first + 1)
    assert {"COLOUR": "deep blue", "SHAPE": "a=b"}.items() <= environment(palette).items()
    shown, shell, one, nothing = heroku.each(
        ("config", "--json", *of),
        ("config", "-s", *of),
        ("config:get", "COLOUR", "SHAPE", *of),
        ("config:get", "NOTHING", "--json", *of),
    )
    assert {"COLOUR": "deep blue", "SHAPE": "a=b"}.items() <= json.loads(shown).items()
    assert "COLOUR='deep blue'\nSHAPE='a=b'\n" in shell
    assert one == "deep blue\na=b\n"
    assert json.loads(nothing) == {"key": "NOTHING", "value": None}
    assert f"done, v{first + 2}" in heroku.done("config:unset", "SHAPE", *of).stderr
    wait_until_live(serve, palette, first + 2)
    assert "SHAPE" not in environment(palette)
    refused = heroku.run("config:set", "NOT-A-NAME=1", *of)
    assert refused.returncode != 0
    assert "NOT-A-NAME" in refused.stderr
    assert newest(serve, palette) == first + 2

    editor = tmp_path / "editor"
    editor.write_text("""#!/bin/sh\nsed -i "s/deep blue/red/" "$1" && printf '\\nSIZE=12\\n' >> "$1"\n""")
    editor.chmod(0o700)
    with HerokuRun(heroku, "config:edit", *of, terminal=True, env={"EDITOR": str(editor)}) as edit:
        eventually(lambda: b"Update config on" in edit.output.raw("terminal"), what="the question")
        edit.type("y\r")
        assert edit.wait() == 0
    wait_until_live(serve, palette, first + 3)
    changed = environment(palette)
    assert (changed["COLOUR"], changed["SIZE"]) == ("red", "12")


def test_releases_are_shown_and_gone_back_to(heroku: HerokuCli, serve: Serve, palette: ServedApp) -> None:
    of = ("-a", "palette")
    first = newest(serve, palette)
    for at, colour in enumerate(("green", "yellow"), start=1):
        serve.done("config:set", f"COLOUR={colour}", *of)
        wait_until_live(serve, palette, first + at)
    green, yellow, back = first + 1, first + 2, first + 3
    listed, table, info, current, output = heroku.each(
        ("releases", "--json", *of),
        ("releases", *of),
        ("releases:info", f"v{green}", *of),
        ("releases:info", "--json", *of),
        ("releases:output", f"v{green}", *of),
    )
    assert [each["version"] for each in json.loads(listed)] == list(range(yellow, 0, -1))
    assert [each["version"] for each in json.loads(listed) if each["current"]] == [yellow]
    assert f"=== palette Releases - Current: v{yellow}" in table
    assert re.search(rf"^ *v{green} +Set COLOUR config vars? +{re.escape(ME)} ", table, re.MULTILINE)
    assert f"=== Release v{green}" in info
    assert re.search(r"^COLOUR: +green$", info, re.MULTILINE)
    assert json.loads(current)["version"] == yellow
    assert output == "COLOUR is green\n"

    said = heroku.done("releases:rollback", *of)  # the last but one that succeeded
    assert f"to v{green}... done, v{back}" in said.stderr
    assert said.stdout == "Running release command...\nCOLOUR is green\n"
    assert wait_until_live(serve, palette, back)["description"] == f"Rollback to v{green}"
    assert environment(palette)["COLOUR"] == "green"
    heroku.done("rollback", f"v{yellow}", *of)
    wait_until_live(serve, palette, back + 1)
    assert environment(palette)["COLOUR"] == "yellow"
    types = HerokuTypes.load()
    with contextlib.closing(serve.client) as client:
        for release in client.releases("palette"):
            assert types.faults(release, "Release") == []
    missing, impossible = heroku.run("rollback", "v999", *of), heroku.run("rollback", "v1", *of)
    assert 0 not in {missing.returncode, impossible.returncode}
    assert "Couldn't find that release (" in missing.stderr
    assert newest(serve, palette) == back + 1


# --- the log -----------------------------------------------------------------------------------------------------


def test_logs(heroku: HerokuCli, demo: ServedApp) -> None:
    demo.get("/unmistakable")
    demo.wait_for_log(r"heroku\[router\]: .*path=./unmistakable")
    newest, of_one = heroku.each(
        ("logs", "-n", "200", *DEMO), ("logs", "-n", "200", "--dyno-name", "worker.1", "--source", "app", *DEMO)
    )
    assert 'path="/unmistakable"' in newest
    assert "app[worker.1]: " in of_one
    assert {line.split(" ")[1] for line in of_one.splitlines()} == {"app[worker.1]:"}
    with HerokuRun(heroku, "logs", "--tail", "-n", "1", *DEMO) as tail:
        tail.wait_for_line(r"heroku|app")
        demo.get("/while-it-is-followed")
        tail.wait_for_line(r'heroku\[router\]: .*path="/while-it-is-followed"')


def test_drains(heroku: HerokuCli, demo: ServedApp) -> None:
    with HttpReceiver() as receiver:
        url = f"http://127.0.0.1:{receiver.port}/logs"
        heroku.done("drains:add", url, *DEMO)
        listed = json.loads(heroku.done("drains", "--json", *DEMO).stdout)
        assert [each["url"] for each in listed] == [url]
        demo.get("/drained")
        receiver.wait_for(lambda posts: any(b"/drained" in line for post in posts for line in post.messages))
        heroku.done("drains:remove", url, *DEMO)
    assert json.loads(heroku.done("drains", "--json", *DEMO).stdout) == []


# --- one-off dynos -----------------------------------------------------------------------------------------------


def test_run_passes_output_status_variables_and_input(heroku: HerokuCli, demo: ServedApp) -> None:
    said = heroku.alone("run", "-x", "-e", "NUMBER=42;TEXT=two words", *DEMO, "--", 'echo "$NUMBER $TEXT $DYNO"')
    assert re.fullmatch(r"42 two words run\.\d+\n", said.stdout)
    failed = heroku.alone("run", "-x", *DEMO, "--", "sh -c 'exit 7'")
    assert failed.returncode == 7
    assert "Process exited with code 7" in failed.stderr
    through = heroku.alone("run", "--no-tty", *DEMO, "--", "tr a-z A-Z", stdin="some words\n" * 2000)
    assert through.stdout == "SOME WORDS\n" * 2000
    managed = heroku.alone("run", *DEMO, "--", "python manage.py check")
    assert "System check identified no issues" in managed.stdout
    eventually(lambda: not [name for name in demo.dynos() if name.startswith("run.")], what="no one-off dyno")
    assert not any("two words" in line for line in demo.log() if line.startswith("app[run."))


def test_run_on_a_terminal_has_its_size_and_its_keys(heroku: HerokuCli, demo: ServedApp) -> None:
    with HerokuRun(heroku, "run", *DEMO, "--", "bash --norc", terminal=True, size=(31, 117)) as run:
        dyno = run.dyno
        run.type("stty size; echo $TERM-$((20 + 3))\r")
        run.wait_for_line("31 117")
        run.wait_for_line("xterm-23")
        run.type('read -p "line $((1 + 1))? " line\r')
        # What is typed before the question is taken by the shell's own editor.
        eventually(lambda: b"line 2? " in run.output.raw("terminal"), what="the question")
        run.type("typed into it\r")
        run.type('echo "got: $line"\r')
        run.wait_for_line("got: typed into it")
        run.type("sh -c 'echo sleeping $((1 + 1)); exec sleep 1000'\r")
        run.wait_for_line("sleeping 2")
        run.type("\x03")
        run.type("echo still $((40 + 2))\r")
        run.wait_for_line("still 42")
        run.type("exit\r")
        assert run.child.wait(60) == 0
    eventually(lambda: dyno not in demo.dynos(), what="the end of the dyno")


def test_a_client_that_is_killed_is_followed_by_a_hangup(heroku: HerokuCli, demo: ServedApp) -> None:
    since = len(demo.log())
    with HerokuRun(heroku, "run", *DEMO, "--", "sleep 1000", terminal=True) as run:
        dyno = run.dyno
        demo.wait_for_log(rf"heroku\[{dyno}\]: State changed from starting to up", since=since)
        run.child.kill()
    demo.wait_for_log(rf"heroku\[{dyno}\]: Client connection closed. Sending SIGHUP", since=since)
    eventually(lambda: dyno not in demo.dynos(), what="the end of the dyno")


def test_run_detached_writes_to_the_log(heroku: HerokuCli, demo: ServedApp) -> None:
    said = heroku.done("run:detached", *DEMO, "--", "echo written in $DYNO")
    dyno = re.search(r"done, (run\.\d+)", said.stderr)
    assert dyno
    demo.wait_for_log(rf"app\[{re.escape(dyno[1])}\]: written in {re.escape(dyno[1])}$")


# --- tokens, and another client ----------------------------------------------------------------------------------


def test_a_new_environment_ends_the_old_one(heroku: HerokuCli) -> None:
    before = dict(heroku.variables)
    assert before["HEROKU_PARTICLEBOARD_URL"] == before["HEROKU_HOST"]  # else the token is shown to Heroku
    heroku.renew()
    changed = {name for name, value in heroku.variables.items() if value != before[name]}
    assert changed == {"HEROKU_API_KEY"}
    answers = [
        requests.get(f"{each['HEROKU_HOST']}/account", auth=("", each["HEROKU_API_KEY"]), timeout=30).status_code
        for each in (before, heroku.variables)
    ]
    assert answers == [401, 200]


def test_heroku3_reads_and_scales(heroku: HerokuCli, serve: Serve, tmp_path: Path) -> None:
    folder = app_folder(tmp_path, name="small", procfile={"worker": toy("waits")})
    manifest = {"env": {processes.MARK: {"value": serve.mark}}}
    (folder / "app.json").write_text(json.dumps(manifest))
    serve.done("apps:create", "small", "--dir", str(folder))
    small = serve.known_app("small")
    with requests.Session() as session:
        session.trust_env = False
        client = Heroku(session=session)
        client._heroku_url = heroku.variables["HEROKU_HOST"]
        token = serve.done("auth:create", "-a", "small", "--scope", "deploy").stdout.strip()
        assert client.authenticate(token)
        assert [app.name for app in client.apps()] == ["small"]
        app = client.apps()["small"]
        assert [entry.type for entry in app.process_formation()] == ["worker"]
        app.process_formation()["worker"].scale(2)
        small.wait_until_up("worker.1", "worker.2")
        assert sorted(dyno.name for dyno in app.dynos()) == ["worker.1", "worker.2"]
        assert client.account().email == ME
    serve.done("apps:destroy", "small", "--confirm", "small")


# --- the schema --------------------------------------------------------------------------------------------------


def test_answers_have_the_members_and_types_of_herokus_schema(heroku: HerokuCli, serve: Serve) -> None:
    types = HerokuTypes.load()
    token = serve.done("auth:create").stdout.strip()
    url = heroku.variables["HEROKU_HOST"]

    def ask(method: str, path: str, body: Mapping[str, Any] | None = None) -> object:
        answer = requests.request(method, f"{url}{path}", json=body, auth=("", token), timeout=30)
        assert answer.ok, answer.text
        return answer.json()

    faults: list[str] = []
    for name, method, path, body in (
        ("Account", "GET", "/account", None),
        ("App", "GET", "/apps/demo", None),
        ("RateLimit", "GET", "/account/rate-limits", None),
        ("Formation", "GET", "/apps/demo/formation/web", None),
        ("Dyno", "GET", "/apps/demo/dynos/web.1", None),
        ("LogSession", "POST", "/apps/demo/log-sessions", {}),
        ("LogDrain", "POST", "/apps/demo/log-drains", {"url": "https://example.com/"}),
        ("OAuthAuthorization", "POST", "/oauth/authorizations", {"description": "schema"}),
        ("Domain", "POST", "/apps/demo/domains", {"hostname": "schema.example"}),
        ("AppFeature", "GET", "/apps/demo/features/preboot", None),
    ):
        faults += types.faults(ask(method, path, body), name, name)
    faults += types.faults(ask("GET", "/apps/demo/config-vars"), "ConfigVars", "ConfigVars")
    for name, path in (
        ("App", "/apps"),
        ("AppFeature", "/apps/demo/features"),
        ("Collaborator", "/apps/demo/collaborators"),
        ("Domain", "/apps/demo/domains"),
        ("Dyno", "/apps/demo/dynos"),
        ("DynoSize", "/dyno-sizes"),
        ("Formation", "/apps/demo/formation"),
        ("LogDrain", "/apps/demo/log-drains"),
        ("OAuthAuthorization", "/oauth/authorizations"),
    ):
        faults += types.faults(ask("GET", path), Array(name), name)
    web = {"process_types": {"web": "true"}}
    faults += types.faults(ask("POST", "/apps/demo/slugs", web), "Slug", "Slug")
    faults += types.faults(ask("GET", "/apps/demo/releases"), Array("Release"), "Release")
    ask("POST", "/apps", {"name": "schema"})
    source = ask("POST", "/apps/schema/sources")
    assert isinstance(source, dict)
    faults += types.faults(source, "Source", "Source")
    blob = source["source_blob"]
    uploaded = requests.put(blob["put_url"], data=tarball({"Procfile": "worker: sleep 1000\n"}), timeout=30)
    assert uploaded.ok, uploaded.text
    begun = ask("POST", "/apps/schema/builds", {"source_blob": {"url": blob["get_url"], "version": "1"}})
    faults += types.faults(begun, "Build", "Build begun")
    assert isinstance(begun, dict)
    build = f"/apps/schema/builds/{begun['id']}"

    def built() -> object:
        document = ask("GET", build)
        assert isinstance(document, dict)
        return document if document["status"] != "pending" else None

    ended = eventually(built, what="the end of the build")
    faults += types.faults(ended, "Build", "Build ended")
    assert isinstance(ended, dict)
    assert ended["status"] == "succeeded"
    faults += types.faults(ask("GET", f"/apps/schema/releases/{ended['release']['id']}"), "Release", "Release of it")
    serve.done("apps:destroy", "schema", "--confirm", "schema")
    ask("PUT", "/apps/demo/buildpack-installations", {"updates": [{"buildpack": "https://example.com/one"}]})
    installations = ask("GET", "/apps/demo/buildpack-installations")
    faults += types.faults(installations, Array("BuildpackInstallations"), "BuildpackInstallations")
    ask("PUT", "/apps/demo/buildpack-installations", {"updates": []})
    ask("DELETE", "/apps/demo/domains/schema.example")
    ask("DELETE", "/apps/demo/log-drains/https%3A%2F%2Fexample.com%2F")
    assert faults == []
