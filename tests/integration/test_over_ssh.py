"""A dynod on another machine, from here: every verb over a real sshd, shown by what it does there."""

import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support import installed
from support.app_folder import app_folder, python, toy
from support.attached_run import AttachedRun
from support.serve import Serve
from support.sshd import Sshd
from support.transcript import TIMEOUT_S
from support.up import Up, clean_environment, eventually

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    folder = tmp_path_factory.mktemp("vm")
    with Serve(folder / "state") as running:
        running.app(folder, "shop", procfile={"worker": toy("waits")}, quantities={"worker": 1}).wait_until_up(
            "worker.1"
        )
        yield running


@pytest.fixture(scope="module")
def sshd(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd"), env={"DYNOD_SOCKET": str(serve.socket)}) as running:
        yield running


def dynod(
    *arguments: str, env: Mapping[str, str], cwd: Path, text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """A verb on the laptop, where no dynod runs."""
    return subprocess.run(
        [sys.executable, "-m", "dynod", *arguments],
        env={**clean_environment(), **env},
        cwd=cwd,
        input=text or "",
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_verbs_do_there_what_they_say(serve: Serve, sshd: Sshd, tmp_path: Path) -> None:
    def done(*arguments: str, text: str | None = None) -> str:
        ended = dynod(*arguments, env=sshd.environment(), cwd=tmp_path, text=text)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    assert "worker.1: up" in done("ps", "-a", "shop")
    done("ps:scale", "worker=2", "-a", "shop")
    serve.known_app("shop").wait_until_up("worker.1", "worker.2")

    done("apps:create", "made-from-afar")
    assert "made-from-afar" in serve.app_names()
    done("config:set", "-a", "made-from-afar", "NAME=value")
    assert done("config:get", "-a", "made-from-afar", "NAME") == "value\n"
    assert json.loads(done("auth:whoami", "--json"))["email"].startswith(sshd.user)


def test_a_whole_folder_is_uploaded(serve: Serve, sshd: Sshd, tmp_path: Path) -> None:
    """More than any buffer on the way holds."""
    source = app_folder(tmp_path, procfile={"clock": "exec sleep 1000"}, name="source")
    (source / "large").write_bytes(os.urandom(4_000_000))
    for arguments in (("apps:create", "uploaded"), ("builds:create", "-a", "uploaded", "--source-dir", str(source))):
        ended = dynod(*arguments, env=sshd.environment(), cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
    assert "clock" in serve.known_app("uploaded").formation()


def test_a_folder_of_that_machine_is_named_by_its_whole_path(serve: Serve, sshd: Sshd, tmp_path: Path) -> None:
    ended = dynod("apps:create", "nearby", "--dir", ".", env=sshd.environment(), cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"--dir .: a folder of {sshd.url} is meant" in ended.stderr
    folder = serve.folder_of(tmp_path, "over-there", procfile={"worker": toy("waits")})
    assert dynod("apps:create", "nearby", "--dir", str(folder), env=sshd.environment(), cwd=tmp_path).returncode == 0
    assert "nearby" in serve.app_names()


def test_logs_are_followed(serve: Serve, sshd: Sshd) -> None:
    with AttachedRun(
        serve, "--tail", "-a", "shop", verb="logs", folder=serve.runtime, env=sshd.environment()
    ) as following:
        following.wait_for_line(r"worker\.1")
        assert serve.done("run:detached", "-a", "shop", "echo from the dyno").returncode == 0
        following.wait_for_line(r"from the dyno$")
        following.send_signal(signal.SIGINT)
        assert following.wait() == 130


def test_a_terminal(serve: Serve, sshd: Sshd) -> None:
    """Its size, its changes, Ctrl-C and the command's exit status."""
    with AttachedRun(
        serve, "-a", "shop", "sh", terminal=True, size=(31, 97), folder=serve.runtime, env=sshd.environment()
    ) as run:
        _ = run.dyno
        run.type("stty size\r")
        run.wait_for_line("31 97")
        run.resize(40, 111)
        run.type("until stty size | grep -q '40 111'; do :; done; echo resized-$((1+1))\r")
        run.wait_for_line("resized-2")
        run.type("trap 'echo interrupted-$((2+1))' INT; echo ready-$((2+2)); read line\r")
        run.wait_for_line("ready-4")
        run.type("\x03")
        run.wait_for_line("interrupted-3")
        assert run.end("\rexit 7\r") == 7


def test_a_dyno_of_up_is_attached_to_and_left(tmp_path: Path) -> None:
    lines = python(
        "import signal, sys; print('tty', sys.stdin.isatty(), flush=True); "
        "[print('got', line.strip(), flush=True) for line in sys.stdin]; signal.pause()"
    )
    with Up(app_folder(tmp_path, procfile={"worker": lines}, name="shop"), port=0) as up:
        up.wait_for_line(r"app\[worker\.1\]: tty False")
        (control,) = (up.runtime / "dynod").glob("*.sock")
        with (
            Sshd(tmp_path / "sshd", env={"DYNOD_SOCKET": str(control)}) as own,
            AttachedRun(
                up, "worker.1", verb="attach", terminal=True, folder=tmp_path, env=own.environment()
            ) as session,
        ):
            up.wait_for_line(r"app\[worker\.1\]: tty True")
            session.type("hello\r")
            session.wait_for_line(r"^got hello")
            assert session.end("\x1d") == 0
            assert session.attributes() == session.before


def test_pipes_and_a_signal_for_the_dyno(serve: Serve, sshd: Sshd) -> None:
    """Ctrl-C at a terminal that is not dynod's stdin reaches dynod and ssh alike: the dyno gets it, ssh lives on."""
    code = "trap 'echo interrupted; exit 9' INT; read line; echo got $line; while :; do sleep 0.05; done"
    with AttachedRun(serve, "-a", "shop", code, folder=serve.runtime, env=sshd.environment()) as run:
        _ = run.dyno
        run.type("a line\n")
        run.wait_for_line("got a line")
        os.killpg(run.child.pid, signal.SIGINT)
        run.wait_for_line("interrupted")
        assert run.wait() == 9


def test_a_session_goes_on_over_another_connection(serve: Serve, tmp_path: Path) -> None:
    """As over a crash of dynod's core: what was typed meanwhile arrives."""
    with (
        Sshd(tmp_path / "sshd", env={"DYNOD_SOCKET": str(serve.socket)}) as own,
        AttachedRun(serve, "-a", "shop", "sh", terminal=True, folder=serve.runtime, env=own.environment()) as run,
    ):
        _ = run.dyno
        run.type("echo before-$((1+1))\r")
        run.wait_for_line("before-2")
        own.kill_sessions()
        run.type("echo after-$((1+1))\r")
        run.wait_for_line("after-2")
        assert run.end("exit 5\r") == 5


def test_an_sshd_that_is_gone_ends_what_it_carried(serve: Serve, tmp_path: Path) -> None:
    with Sshd(tmp_path / "sshd", env={"DYNOD_SOCKET": str(serve.socket)}) as own:
        with AttachedRun(
            serve, "--tail", "-a", "shop", verb="logs", folder=serve.runtime, env=own.environment()
        ) as following:
            following.wait_for_line(r"worker\.1")
            own.kill()
            assert following.wait() == 1
            following.wait_for_line("Connection refused")
            following.wait_for_line(re.escape(f"dynod: {own.url}: no connection: ssh has ended with status 255"))
        assert serve.known_app("shop").states()["worker.1"] == "up"


def test_who_is_not_let_in_is_told_so(serve: Serve, sshd: Sshd, tmp_path: Path) -> None:
    """In ssh's words, and by the name of the host."""
    del serve
    cases = (
        ({"DYNOD_SSH": sshd.client_config(key="other_key")}, "Permission denied"),
        ({"DYNOD_SSH": sshd.client_config(host_key="other_key")}, "Host key verification failed"),
        ({"DYNOD_HOST": "ssh://127.0.0.1:1"}, "Connection refused"),
        ({"DYNOD_HOST": "ssh://nowhere.invalid"}, "Could not resolve hostname"),
    )
    for changed, said in cases:
        env = sshd.environment() | changed
        ended = dynod("ps", "-a", "shop", env=env, cwd=tmp_path)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert said in ended.stderr
        assert f"dynod: {env['DYNOD_HOST']}: no connection: ssh has ended with status 255" in ended.stderr
    ended = dynod("ps", env=sshd.environment(DYNOD_SSH="/nonexistent/ssh"), cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (
        1,
        f"dynod: {sshd.url}: /nonexistent/ssh cannot be run: No such file or directory\n",
    )


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({"DYNOD_SOCKET": "/nonexistent/s"}, "there is no socket /nonexistent/s (from DYNOD_SOCKET)"),
        ({"PATH": "/usr/bin:/bin"}, "there is no dynod on the PATH that ssh has there"),
    ],
)
def test_a_machine_without_a_dynod_is_named(tmp_path: Path, there: dict[str, str], said: str) -> None:
    with Sshd(tmp_path / "sshd", env=there) as own:
        ended = dynod("ps", env=own.environment(), cwd=tmp_path)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert f"dynod: {own.url}: {said}" in ended.stderr


def test_what_a_login_shell_prints_is_passed_over(serve: Serve, tmp_path: Path) -> None:
    with Sshd(tmp_path / "sshd", env={"DYNOD_SOCKET": str(serve.socket)}) as own:
        for name in (".bashrc", ".zshenv"):
            (own.folder / name).write_text("echo Welcome to this machine; echo HTTP/1.1 is what we speak\n")
        ended = dynod("ps", "-a", "shop", env=own.environment(), cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert "worker.1: up" in ended.stdout


def test_a_key_that_may_do_nothing_else_is_enough(serve: Serve, tmp_path: Path) -> None:
    """As README says to restrict it."""
    with Sshd(tmp_path / "sshd", env={"DYNOD_SOCKET": str(serve.socket)}) as own:
        key = (own.folder / "user_key.pub").read_text()
        (own.folder / "authorized_keys").write_text(f'restrict,command="dynod api-stdio" {key}')
        ended = dynod("ps", "-a", "shop", env=own.environment(), cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert "worker.1: up" in ended.stdout


def test_no_word_of_a_host_becomes_an_option_or_a_command(tmp_path: Path) -> None:
    """ssh itself is not even started."""
    ran = tmp_path / "ran"
    ssh = shlex.join(["touch", str(ran)])
    for host in (f"ssh://-oProxyCommand=touch {ran}", f"ssh://me@vm;touch {ran}", "ssh://-lroot@vm", "vm", "http://vm"):
        ended = dynod("ps", env={"DYNOD_HOST": host, "DYNOD_SSH": ssh}, cwd=tmp_path)
        assert ended.returncode == 2
        assert "dynod: DYNOD_HOST: expected ssh://USER@HOST[:PORT]" in ended.stderr
    assert not ran.exists()


def test_up_and_check_are_of_this_machine(tmp_path: Path) -> None:
    elsewhere = {"DYNOD_HOST": "ssh://nowhere.invalid", "DYNOD_SSH": "/nonexistent/ssh"}
    folder = app_folder(tmp_path, procfile={"worker": toy("waits")}, name="here")
    assert dynod("check", env=elsewhere, cwd=folder).returncode == 0
    with Up(folder, "worker", env=elsewhere, port=0) as up:
        up.wait_until_up("worker.1")


def test_herokus_command_line_gets_a_forwarded_port(serve: Serve, sshd: Sshd, tmp_path: Path) -> None:
    """It is found again by the next one, and ends as it was said."""
    env = {
        "DYNOD_SSH": sshd.client_config(),
        "XDG_RUNTIME_DIR": str(serve.runtime),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    first = dynod("heroku:env", "--host", sshd.url, env=env, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    said = re.search(r"is forwarded to (.*); end that with: (.*)\n", first.stderr)
    assert said is not None, first.stderr
    assert said[1] == sshd.url
    end = shlex.split(said[2])
    try:
        again = dynod("heroku:env", "--json", env={**env, "DYNOD_HOST": sshd.url}, cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert "is still forwarded" in again.stderr
        variables = json.loads(again.stdout)
        assert f"export HEROKU_HOST={variables['HEROKU_HOST']}\n" in first.stdout
        assert asked(variables, "/apps/shop")["name"] == "shop"
        logs = asked(variables, "/apps/shop/log-sessions", {"lines": 1})
        assert logs["logplex_url"].startswith(variables["HEROKU_HOST"])
        assert Path(variables["NODE_EXTRA_CA_CERTS"]).read_text().startswith("-----BEGIN CERTIFICATE")
        if installed.found("node") is not None:
            assert "worker.1: up" in heroku(variables, tmp_path, "ps", "-a", "shop")
            there = heroku(variables, tmp_path, "run", "--no-tty", "-a", "shop", "--", "echo", "I am there")
            assert "I am there" in there.splitlines()
    finally:
        assert subprocess.run(end, capture_output=True, check=False).returncode == 0

    def is_over() -> bool:
        return not list((serve.runtime / "dynod").glob("ssh-*"))

    eventually(is_over, what="the end of the forwarded port")
    (serve.runtime / "dynod").rmdir()
    with pytest.raises(ConnectionRefusedError):
        asked(variables, "/apps/shop")


def heroku(variables: Mapping[str, str], home: Path, *arguments: str) -> str:
    """A verb of Heroku's own command line, with what the shell was told; what it prints."""
    folder = installed.node_folder("tests/toys/heroku")
    ended = subprocess.run(
        [installed.program("node"), str(folder / "node_modules/heroku/bin/run.js"), *arguments],
        env={
            **clean_environment(),
            **variables,
            "HOME": str(home),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "DISABLE_TELEMETRY": "true",
            "HEROKU_SKIP_NEW_VERSION_CHECK": "true",
        },
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def asked(variables: Mapping[str, str], path: str, body: object = None) -> dict[str, str]:
    """As Heroku's command line asks."""
    connection = http.client.HTTPConnection(urlsplit(variables["HEROKU_HOST"]).netloc, timeout=TIMEOUT_S)
    try:
        connection.request(
            "GET" if body is None else "POST",
            path,
            body=None if body is None else json.dumps(body),
            headers={"Authorization": f"Bearer {variables['HEROKU_API_KEY']}", "Content-Type": "application/json"},
        )
        response = connection.getresponse()
        answer = response.read()
        assert response.status < 300, answer
        found: dict[str, str] = json.loads(answer)
        return found
    finally:
        connection.close()
