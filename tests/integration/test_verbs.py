"""Every verb as a program meets it: JSON on stdout and nothing else there, messages and exit statuses."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from dynod.cli.main import VERBS, main
from support.app_folder import toy
from support.counts import rounds
from support.serve import Serve
from support.up import clean_environment, eventually

# By verb, in the order in which they are run, each with what it is given; all of them with --json.
WALK: Final[list[tuple[str, ...]]] = [
    ("status",),
    ("auth:whoami",),
    ("apps",),
    ("apps:create", "blog"),
    ("apps:rename", "-a", "blog", "news"),
    ("apps:info", "shop"),
    ("ps",),
    ("ps:scale",),
    ("ps:scale", "worker=1"),
    ("ps:type",),
    ("ps:wait",),
    ("ps:restart", "worker"),
    ("ps:stop", "worker.1"),
    ("ps:wait",),
    ("run:detached", "true"),
    ("logs", "-n", "5"),
    ("config",),
    ("config:set", "A=1", "B=2"),
    ("config:get", "A"),
    ("config:unset", "B"),
    ("config:purge", "A"),
    ("config:edit",),
    ("releases",),
    ("releases:info",),
    ("releases:output", "v4"),
    ("releases:rollback", "v3", "--yes"),
    ("releases:diff", "v3", "v4"),
    ("drains:add", "file://FOLDER/drain"),
    ("drains",),
    ("drains:test",),
    ("drains:remove", "file://FOLDER/drain"),
    ("domains:add", "shop.example.com"),
    ("domains",),
    ("domains:remove", "shop.example.com"),
    ("domains:clear",),
    ("features",),
    ("features:info", "preboot"),
    ("features:enable", "preboot"),
    ("features:disable", "preboot"),
    ("labs",),
    ("settings:set", "worker.grace_s=7"),
    ("settings",),
    ("settings:unset", "worker.grace_s"),
    ("buildpacks:add", "heroku/python"),
    ("buildpacks",),
    ("buildpacks:set", "heroku/nodejs"),
    ("buildpacks:remove", "heroku/nodejs"),
    ("buildpacks:clear",),
    ("builds",),
    ("maintenance",),
    ("maintenance:on",),
    ("maintenance:off",),
    ("auth:create", "--scope", "read"),
    ("auth:list",),
    ("heroku:env",),
    ("apps:destroy", "news", "--confirm", "news"),
]
APPLESS: Final = frozenset({"apps", "apps:create", "apps:info", "apps:destroy", "status", "auth:whoami", "auth:list"})


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    folder = tmp_path_factory.mktemp("verbs")
    with Serve(folder / "state", toml="[dynos]\nsettle_s = 0\n") as running:
        running.wait_until_ready()
        procfile = {"web": toy("web_server"), "worker": "exec sleep 100000", "release": "echo migrated"}
        app = running.app(folder, "shop", procfile=procfile)
        app.wait_until_up("web.1")
        yield running


@pytest.fixture
def called(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the shell of somebody whose dynod that is. In this process: seventy interpreters would cost ten seconds."""
    for name in list(os.environ):
        if name.startswith(("DYNOD_", "HEROKU_")):
            monkeypatch.delenv(name)
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "C=3" >> "$1"\n')
    editor.chmod(0o700)
    monkeypatch.setenv("DYNOD_SOCKET", str(serve.socket))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("called")
def test_each_verb_prints_one_document_of_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for verb, *given in WALK:
        arguments = [each.replace("FOLDER", str(tmp_path)) for each in given]
        named = [] if verb in APPLESS or "-a" in arguments else ["-a", "shop"]
        status = main([verb, *named, "--json", *arguments])
        said = capfd.readouterr()
        assert status == 0, (verb, said.err)
        lines = said.out.splitlines() if verb == "logs" else [said.out]  # of a log each line is a document
        for line in lines:
            try:
                json.loads(line)
            except ValueError:
                pytest.fail(f"{verb} {arguments}: {said.out!r} {said.err!r}")
        assert lines, verb
        assert "{" not in said.err, "it is on stdout"


@pytest.mark.usefixtures("called", "named")
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["ps", "-a", "shpo"], 1, 'Couldn\'t find that app; did you mean "shop"?'),
        (["config:set", "A=1", "-a", "shpo"], 1, 'Couldn\'t find that app; did you mean "shop"?'),
        (["ps", "-a", "quite-another"], 1, "Couldn't find that app."),
        (["ps:scale", "wroker=1", "-a", "shop"], 1, 'did you mean "worker"?'),
        (["features:enable", "prebot", "-a", "shop"], 1, 'did you mean "preboot"?'),
        (["settings:set", "grace=1", "-a", "shop"], 1, 'did you mean "grace_s"?'),
        (["ps:scael"], 2, 'did you mean "ps:scale"?'),
        (["ps", "--jsno"], 2, "--json"),
        (["logs", "--source", "ap"], 2, "'app'"),
        (["ps", "wrker", "-a", "shop"], 1, 'did you mean "worker"?'),
        (["ps", "--why", "web.9", "-a", "shop"], 1, "Couldn't find that dyno (web.9); there is web.1"),
        (["ps:restart", "web.9", "-a", "shop"], 1, "Couldn't find that dyno (web.9); there is web.1"),
        (["ps:restart", "wbe.1", "-a", "shop"], 1, 'Couldn\'t find that dyno (wbe.1); did you mean "web.1"?'),
        (["ps:restart", "wbe", "-a", "shop"], 1, 'Couldn\'t find that process type (wbe); did you mean "web"?'),
        (["ps:stop", "web.7", "-a", "shop"], 1, "Couldn't find that dyno (web.7); there is web.1"),
        (["ps:exec", "-a", "shop", "web.9", "--", "true"], 1, "Couldn't find that dyno (web.9); there is web.1"),
        (["ps:type", "wrker=eco", "-a", "shop"], 2, 'did you mean "worker"?'),
        (["ps:type", "worker=standrd-1x", "-a", "shop"], 1, 'did you mean "Standard-1X"?'),
        (["run:detached", "--type", "wrker", "-a", "shop", "true"], 1, 'did you mean "worker"?'),
        (["run:detached", "-s", "huge", "-a", "shop", "true"], 1, "No such size as huge; there are Unsized, Eco, "),
        (["logs", "-n", "1", "--dyno", "web.9", "-a", "shop"], 0, "Couldn't find that dyno (web.9); there is web.1"),
        (["logs", "-n", "1", "--ps", "wrker", "-a", "shop"], 0, 'did you mean "worker"?'),
        (["config:get", "SECRET_KYE", "-a", "books"], 0, 'SECRET_KYE is not set on books; did you mean "SECRET_KEY"?'),
        (
            ["config:unset", "secret_key", "-a", "books"],
            0,
            'secret_key is not set on books; did you mean "SECRET_KEY"?',
        ),
        (["releases:rollback", "v99", "-a", "shop"], 1, "Couldn't find that release (v99); the newest is v"),
        (["releases:info", "v99", "-a", "shop"], 1, "Couldn't find that release (v99); the newest is v"),
        (
            ["drains:remove", "syslog://logs.example.com:601", "-a", "books"],
            1,
            'mean "syslog://logs.example.com:6514"?',
        ),
        (["drains:test", "syslog://logs.example.com:651", "-a", "books"], 1, 'mean "syslog://logs.example.com:6514"?'),
        (["domains:remove", "books.exmple.org", "-a", "books"], 1, 'did you mean "books.example.org"?'),
        (["buildpacks:remove", "heroku/pyhton", "-a", "books"], 1, "among the buildpacks of books; did you mean"),
        (["labs:enable", "log-runtime-metric", "-a", "shop"], 1, 'did you mean "log-runtime-metrics"?'),
        (["config:set", "-a", "", "A=1"], 2, "-a: expected something, found an empty text"),
        (["auth:revoke", ""], 2, "ID: expected something, found an empty text"),
        (["apps:create", "one-name", "-a", "another"], 2, "one name, not two: one-name, and another by -a"),
    ],
)
def test_a_mistake_is_told_with_what_was_meant(
    arguments: list[str], status: int, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == status
    assert said in capfd.readouterr().err


@pytest.mark.usefixtures("called", "named")
def test_the_trace_of_a_request_is_a_field_of_logs_in_json(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    """Of an app without dynos, so that whatever else is asked of `shop` meanwhile is not in its log."""
    traced = {"Host": "books.localhost", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}

    def newest() -> dict[str, str]:
        assert main(["logs", "-a", "books", "--dyno", "router", "-n", "1", "--json"]) == 0
        said = capfd.readouterr().out
        return json.loads(said) if said else {}

    assert main(["settings:set", "-a", "books", "log_traceparent=true"]) == 0
    capfd.readouterr()
    serve.get("/traced", headers=traced)
    found = eventually(lambda: line if "/traced" in (line := newest()).get("message", "") else None, what="its line")
    assert (found["trace_id"], found["span_id"]) == ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
    assert main(["settings:unset", "-a", "books", "log_traceparent"]) == 0
    capfd.readouterr()
    serve.get("/untraced", headers=traced)
    found = eventually(lambda: line if "/untraced" in (line := newest()).get("message", "") else None, what="its line")
    assert "traceparent" not in found["message"]
    assert found.keys() == {"timestamp", "source", "dyno", "message"}


@pytest.fixture(scope="module")
def named(serve: Serve) -> None:
    """An app whose things have names, to be mistaken for."""
    serve.done("apps:create", "books", "--no-remote")
    serve.done("config:set", "SECRET_KEY=1", "-a", "books", "--no-wait")
    serve.done("drains:add", "syslog://logs.example.com:6514", "-a", "books")
    serve.done("domains:add", "books.example.org", "-a", "books")
    serve.done("buildpacks:set", "heroku/python", "-a", "books")


BAD: Final[list[list[str]]] = [
    [""],
    ["\udcff"],  # a byte that is no UTF-8, as the system hands it over
    ["x" * 100_000],
    ["--no-such-option"],
    ["-a", "\udcff"],
    ["-a", ""],
    ["--socket", "/nonexistent"],
    ["b", "c", "d", "e"],
    *rounds(0, full=1)
    * [
        ["-1"],
        ["9" * 30],
        ["a=b"],
        ["=x"],
        ["/"],
        ["../../etc"],
        ["%00"],
        ["x\ny"],
        ["?a=1#"],
        ["--socket", "x" * 300],
    ],
]
# What would act on this machine, wait, or take the place of this process: options alone.
SERVING: Final = frozenset({"api-stdio", "ssh-serve", "ssh-authorized-keys", "systemd:install", "systemd:uninstall"})
ACTING: Final = SERVING | {
    "up",
    "serve",
    "doctor",
    "top",
    "open",
    "run",
    "run:detached",
    "ps:exec",
    "attach",
    "restore",
}


@pytest.mark.usefixtures("called")
@pytest.mark.parametrize("bad", BAD, ids=[ascii(each)[:30] for each in BAD])
def test_no_verb_meets_bad_input_with_a_traceback(bad: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    for verb in VERBS:
        if verb in ACTING and bad[0] not in {"--no-such-option", "-a"}:
            continue
        if bad[:1] == ["-a"] and verb in {"apps:create", "top", "open", *SERVING}:
            continue
        status = main([verb, *bad])
        said = capfd.readouterr().err
        assert status in {0, 1, 2}, (verb, said)
        assert "Traceback" not in said, verb
        assert len(said) < 5000, verb
        if status:
            assert any(line.startswith("dynod: ") and len(line) > 20 for line in said.splitlines()), (verb, said)
        assert "API endpoint" not in said, (verb, said)
        assert "cut before" not in said, (verb, said)


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("dynod ps -a shop > /dev/full", 1, "dynod: cannot write to stdout: No space left on device\n"),
        ("dynod --help > /dev/full", 1, "dynod: cannot write to stdout: No space left on device\n"),
        ("dynod ps -a shop >&-", 0, ""),
        ("dynod ps -a shop <&- | grep -q web.1", 0, ""),
        ("dynod ps:scael 2>&-", 2, ""),
        ("dynod help | head -n 1 | grep -q Usage", 0, ""),
        (
            "dynod help ps:scael",
            2,
            """dynod: no such command "ps:scael"; did you mean "ps:scale"?; try 'dynod --help'\n""",
        ),
        ("mkdir gone; cd gone; rmdir ../gone; dynod ps -a shop", 2, "dynod: the folder that this shell is in is gone "),
        ("mkdir gone; cd gone; rmdir ../gone; dynod check", 1, "dynod: . is gone: change to another folder\n"),
        ("dynod ps --socket .", 1, "dynod: . (from --socket) is no socket"),
        ("dynod builds:create -a shop --source-url ''", 2, "dynod: --source-url: expected something"),
    ],
)
def test_a_shell_that_has_no_room_no_stdout_or_no_folder_is_told_so(
    serve: Serve, tmp_path: Path, script: str, status: int, said: str
) -> None:
    function = f'dynod() {{ "{sys.executable}" -m dynod "$@"; }}; '
    env = {**clean_environment(), "DYNOD_SOCKET": str(serve.socket)}
    ended = subprocess.run(
        ["bash", "-c", function + script],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == status, ended.stderr
    assert ended.stderr.startswith(said)
    assert bool(ended.stderr) == bool(said)


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root can be somebody else")
def test_whoever_is_not_let_in_is_told_of_the_group(serve: Serve) -> None:
    """As a user without a name, whom the socket's mode keeps out; the folder above it lets anybody through."""
    before = stat.S_IMODE(serve.runtime.stat().st_mode)
    serve.runtime.chmod(0o755)
    try:
        kept_out = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, "ps", "-a", "shop", "--socket", str(serve.socket)],
            env=clean_environment(),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        serve.runtime.chmod(before)
    assert kept_out.returncode == 1
    said = kept_out.stderr.splitlines()[1]
    assert said.startswith(f"dynod: you may not talk to the dynod at {serve.socket} (from --socket): ")
    assert "the group dynod" in said
    assert "usermod -aG dynod" in said


# Once as root, so that all is imported: the interpreter and the packages may lie where only root may look.
_AS_NOBODY = """
import os, sys
from dynod.cli.main import main
main([*sys.argv[1:-1], "/nowhere"])
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(main(sys.argv[1:]))
"""


def test_the_walk_leaves_out_only_what_is_shown_elsewhere() -> None:
    """What takes a terminal, a source, or the place of a daemon has tests of its own."""
    elsewhere = {"up", "serve", "check", "run", "attach", "backup", "restore", "completion", "api-stdio"}
    elsewhere |= {"deploy", "git:remote", "builds:create", "builds:info", "builds:output", "auth:revoke"}
    walked = {verb for verb, *_ in WALK}
    assert not walked & elsewhere
    assert walked | elsewhere <= VERBS.keys()
