"""`dynod config` and its family under the real `dynod serve`: one release a change, by what the dynos are given."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import processes
from support.app_folder import app_folder, toy
from support.serve import Serve, ServedApp
from support.up import Up, clean_environment

pytestmark = pytest.mark.timeout(120)
QUICK = "[dynos]\nsettle_s = 0.3\n"
CANARY = "canary-in-the-coal-mine-4711"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with Serve(tmp_path / "state", toml=QUICK) as running:
        running.wait_until_ready()
        yield running


def shop(serve: Serve, tmp_path: Path, **procfile: str) -> ServedApp:
    return serve.app(tmp_path, "shop", procfile={"web": toy("web_server"), **procfile})


def given(app: ServedApp, dyno: str = "web.1") -> dict[str, str]:
    """What a dyno's process was given."""
    pairs = Path(f"/proc/{app.pids()[dyno]}/environ").read_bytes().split(b"\0")
    return dict(pair.decode().split("=", 1) for pair in pairs if pair)


def config_of(app: ServedApp) -> dict[str, str]:
    found: dict[str, str] = json.loads(app.serve.done("config", "--json").stdout)
    del found[processes.MARK]
    return found


def versions(app: ServedApp) -> list[int]:
    return [each["version"] for each in json.loads(app.serve.done("releases", "--json").stdout)]


def feed(serve: Serve, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A verb with something on its stdin, and an editor that is the file STATE.edit."""
    return subprocess.run(
        [sys.executable, "-m", "dynod", *arguments],
        env={**clean_environment(), "DYNOD_SOCKET": str(serve.socket), "EDITOR": f"{serve.state}.edit"},
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_is_set_is_what_dynos_are_given_and_one_release_each(serve: Serve, tmp_path: Path) -> None:
    app = shop(serve, tmp_path)
    app.wait_until_up("web.1")
    done = serve.done("config:set", "A=1", "B=x=y z", "E=")
    assert (done.stdout, done.stderr) == ("A: 1\nB: x=y z\n", "Setting A, B, E and restarting ⬢ shop... done, v4\n")
    variables = given(app)
    assert (variables["A"], variables["B"], variables["E"]) == ("1", "x=y z", "")
    assert serve.done("config:set", "A=1").stderr == "Setting A and restarting ⬢ shop... done, nothing has changed\n"
    assert serve.done("config:get", "B", "NONE", "A").stdout == "x=y z\n\n1\n"
    assert serve.done("config:get", "B", "-s").stdout == "B='x=y z'\n"
    assert serve.done("config", "-s").stdout.splitlines()[:3] == ["A=1", "B='x=y z'", "E="]
    assert serve.done("config").stdout.startswith("=== ⬢ shop Config Vars\n\nA:")
    assert json.loads(serve.done("config", "-j").stdout)["B"] == "x=y z"
    unset = serve.done("config:unset", "A", "NONE", "--json")
    assert unset.stderr == "Unsetting A, NONE and restarting ⬢ shop... done, v5\n"
    assert json.loads(unset.stdout)["status"] == "succeeded"
    assert "A" not in given(app)
    assert versions(app) == [5, 4, 3, 2, 1]
    app.wait_for_log(r"^app\[api\]: Set A, B, E config vars by user \S+$")
    for wrong, status in (("config:set", 2), ("config:set A", 2), ("config:unset", 2), ("config:set 1=2", 1)):
        assert serve.dynod(*wrong.split()).returncode == status, wrong
    assert versions(app) == [5, 4, 3, 2, 1]


def test_values_from_stdin_and_files_are_one_release_and_not_shown(serve: Serve, tmp_path: Path) -> None:
    app = shop(serve, tmp_path)
    app.wait_until_up("web.1")
    done = feed(serve, f"{CANARY}\nline 2\n", "config:set", "KEY", "-", "A=1")
    assert (done.returncode, done.stdout) == (0, "A: 1\n")
    assert given(app)["KEY"] == f"{CANARY}\nline 2"
    env = tmp_path / "production.env"
    env.write_text(f"# comment\nexport ONE='1 # one'\n{processes.MARK}={serve.mark}\n")
    done = serve.done("config:set", "--replace", "-f", str(env), "TWO=2")
    assert (done.stdout, done.stderr) == (
        "TWO: 2\n",
        f"Setting ONE, {processes.MARK}, TWO and restarting ⬢ shop... done, v5\n",
    )
    assert config_of(app) == {"ONE": "1 # one", "TWO": "2"}
    assert "KEY" not in given(app)
    assert feed(serve, "THREE=3\n", "config:set", "-f", "-").returncode == 0
    assert config_of(app)["THREE"] == "3"
    refused = feed(serve, f"GOOD=1\n{CANARY}\n", "config:set", "-f", "-")
    assert (refused.returncode, refused.stderr) == (
        1,
        'dynod: stdin line 2: "…" is no variable name: letters, digits and "_", not starting with a digit\n',
    )
    assert serve.dynod("config:set", "-f", "nothing-here").stderr == "dynod: nothing-here: No such file or directory\n"


def test_editing_changes_what_was_changed_and_nothing_is_no_release(serve: Serve, tmp_path: Path) -> None:
    app = shop(serve, tmp_path)
    app.wait_until_up("web.1")
    serve.done("config:set", "GOES=1", "STAYS=it's a\nlong one", "CHANGES=old")
    editor = Path(f"{serve.state}.edit")
    seen = tmp_path / "seen"

    def edits(script: str) -> None:
        editor.write_text(f'#!/bin/sh\nstat -c %a "$1" > {seen}\necho "$1" >> {seen}\n{script}\n')
        editor.chmod(0o700)

    edits("exit 0")
    unchanged = feed(serve, "", "config:edit")
    assert (unchanged.returncode, unchanged.stderr) == (0, "No changes: no release was made.\n")
    mode, path = seen.read_text().splitlines()
    assert (mode, Path(path).exists()) == ("600", False)
    edits('sed -i -e /^GOES/d -e "s/^CHANGES=.*/CHANGES=new/" "$1"; echo "COMES=1" >> "$1"')
    changed = feed(serve, "", "config:edit")
    assert changed.stderr == "Changing CHANGES, COMES, GOES and restarting ⬢ shop... done, v5\n"
    assert config_of(app) == {"STAYS": "it's a\nlong one", "CHANGES": "new", "COMES": "1"}
    for script, said in (
        ("exit 3", f"{editor} ended with status 3; nothing was changed"),
        ('echo "not a line" >> "$1"', "expected"),
    ):
        edits(script)
        refused = feed(serve, "", "config:edit")
        assert refused.returncode == 1
        assert said in refused.stderr
    assert versions(app)[0] == 5


def test_a_canary_is_in_the_state_file_and_in_its_dynos_alone(serve: Serve, tmp_path: Path) -> None:
    """Set from stdin, used by a release command and a dyno that fail, looked for everywhere; then purged."""
    app = shop(
        serve,
        tmp_path,
        release='test -z "$FAILS" || exit 3',
        worker=f'test -z "$KEY" || echo working; exec {toy("waits")}',
    )
    app.wait_until_up("web.1")
    app.scale("worker=1")
    assert feed(serve, CANARY, "config:set", "KEY", "-").returncode == 0
    said = [feed(serve, CANARY, "config:set", "FAILS", "-")]
    assert said[0].returncode == 1
    app.wait_for_log(r"Release v5 failed: release\.\d+: the release command exited with status 3; v4 goes on")
    core = serve.core_pid()
    os.kill(core, 9)
    serve.core_pid(other_than=core)
    verbs = ("releases", "releases:output v5", "releases:diff v3 v4", "ps", "ps --json", "apps:info", "logs -n 1500")
    said += [serve.dynod(*verb.split()) for verb in verbs]
    said.append(serve.dynod("config:set", "KEY-=x"))
    for each in said:
        assert CANARY not in each.stdout + each.stderr
    assert CANARY not in str(serve.output)
    holding = {path.name for path in serve.state.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()}
    assert holding <= {"state.db", "state.db-wal"}
    assert CANARY not in "\n".join(app.log())
    for pid in {serve.core_pid(), serve.pid}:
        for name in ("cmdline", "environ"):
            assert CANARY.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    for process in serve.processes():  # of dynos the environment has it, which is their own user's to read
        assert CANARY.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    assert given(app)["KEY"] == CANARY
    purged = serve.done("config:purge", "KEY")
    assert purged.stderr.endswith("Purging KEY from the releases of ⬢ shop... done, 2 of them had it\n")
    assert "KEY=\n" in serve.done("releases:info", "v4", "-s").stdout
    serve.done("config:purge", "FAILS")
    for dyno_pid in app.pids().values():
        assert CANARY.encode() not in Path(f"/proc/{dyno_pid}/environ").read_bytes()
    assert serve.stop() == 0
    assert not [path for path in serve.state.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


def test_up_says_what_to_do_instead(tmp_path: Path) -> None:
    with Up(app_folder(tmp_path, procfile={"web": toy("web_server")})) as up:
        up.wait_until_up("web.1")
        (socket,) = up.runtime.rglob("*.sock")
        expected = {"config:set A=1": ".env", "config": ".env", "releases": "Procfile", "rollback": "Procfile"}
        for verb, instead in expected.items():
            ended = subprocess.run(
                [sys.executable, "-m", "dynod", *verb.split(), "--socket", str(socket)],
                env=clean_environment(),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert ended.returncode == 1
            assert "dynod: This is dynod up, which keeps nothing of an app but its folder: " in ended.stderr
            assert instead in ended.stderr
