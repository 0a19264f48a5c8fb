"""Values of config vars: in no word of dynod's own, and, where that is asked for, in nothing that the log says.

Each test hides canaries where secrets are kept and then looks everywhere that is not the dynos' own: what dynod writes,
what its API answers, what it keeps on disk, and what every user of the machine sees of its processes.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from dynod.platform_api.http_connection import UnixConnection
from support.app_folder import app_folder, toy
from support.serve import Serve
from support.up import Up, clean_environment, eventually

pytestmark = pytest.mark.timeout(120)

CANARY: Final = "canary-in-the-coal-mine-4711"
SECOND: Final = "a-second-canary-0815"
THIRD: Final = "third-canary-of-app-json"
CANARIES: Final = (CANARY, SECOND, THIRD)
URL: Final = f"postgres://me:{CANARY}@localhost/db"
ENV: Final = {"DATABASE_URL": URL, "KEY": f"-----BEGIN\n{SECOND}\nEND-----", "N": "1"}
SHOUT: Final = 'python3 -c "import os; print(os.environ)"; echo "$DATABASE_URL $KEY $SECRET_KEY_BASE"; exec sleep 1000'


def folder_with_secrets(tmp_path: Path, procfile: dict[str, str], *, toml: str = "") -> Path:
    return app_folder(
        tmp_path,
        procfile=procfile,
        env=ENV,
        app_json={"env": {"SECRET_KEY_BASE": {"value": THIRD}}},
        files={"dynod.toml": toml},
    )


def dynod(up: Up, *arguments: str) -> str:
    """A verb in the folder; all that it writes."""
    ended = subprocess.run(
        [sys.executable, "-m", "dynod", *arguments],
        env={**clean_environment(), "XDG_RUNTIME_DIR": str(up.runtime)},
        cwd=up.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.stdout + ended.stderr


def answers(up: Up) -> str:
    """Every resource that the API of `up` has."""
    (socket,) = up.runtime.rglob("*.sock")
    app = "/apps/app"
    paths = [
        "/apps",
        app,
        *(f"{app}/{name}" for name in ("dynos", "formation", "log-drains", "dynos/web.1", "nothing")),
    ]
    found = []
    for path in paths:
        connection = UnixConnection(str(socket), 30.0)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            found.append(f"{answer.status} {answer.read().decode()}")
    assert sum(each.startswith("200 ") for each in found) == len(paths) - 1, found
    return "\n".join(found)


def seen_of(pid: int) -> str:
    return "".join(
        Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace") for name in ("cmdline", "environ", "comm")
    )


def assert_no_canary(text: str) -> None:
    assert not [canary for canary in CANARIES if canary in text], text


def test_up_never_says_a_value_in_words_of_its_own(tmp_path: Path) -> None:
    """Through a life with crashes, a killed core, verbs that succeed and verbs that do not."""
    folder = folder_with_secrets(
        tmp_path, {"web": toy("web_server"), "worker": "exit 3", "silent": toy("waits"), "broken": "./missing-program"}
    )
    checked = subprocess.run(
        [sys.executable, "-m", "dynod", "check", "-C", str(folder)], capture_output=True, text=True, check=False
    )
    assert "missing-program" in checked.stdout + checked.stderr
    assert_no_canary(checked.stdout + checked.stderr)
    with Up(folder, "web", "worker", "silent") as up:
        up.wait_until_up("web.1", "silent.1")
        up.wait_for_line(r"heroku\[worker\.1\]: Process exited with status 3")
        assert up.get("/").status == 200
        core = up.core_pid()
        os.kill(core, 9)
        core = up.core_pid(other_than=core)
        said = [answers(up), seen_of(up.pid), seen_of(core)]
        verbs = ("ps", "ps --json", "ps --why worker.1", "ps:scale nothing=1", "drains", "logs", "apps:info")
        said += [dynod(up, *verb.split()) for verb in verbs]
        said.append(dynod(up, "run", "--no-tty", "--", "sh", "-c", "exit 7"))
        files = [path for top in (up.runtime, folder / ".dynod") for path in top.rglob("*") if path.is_file()]
        said += [path.read_bytes().decode(errors="replace") for path in files]
        for text in said:
            assert_no_canary(text)
        assert up.stop() == 0
    assert_no_canary(str(up.output))


@contextlib.contextmanager
def dumps_wanted() -> Iterator[None]:
    """What is started meanwhile may write its memory to disk at a crash, as much as it likes."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def dump_limit(pid: int) -> str:
    text = Path(f"/proc/{pid}/limits").read_text()
    return next(line for line in text.splitlines() if line.startswith("Max core file size")).split("size")[1].strip()


def dumps(*folders: Path) -> list[Path]:
    """Where a kernel of the usual `core_pattern` puts them: the working folder."""
    return [path for folder in folders for path in folder.glob("core*") if path.read_bytes()[:4] == b"\x7fELF"]


@pytest.mark.skipif(sys.platform != "linux", reason="NOT TESTED: /proc")
@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_CORE)[1] == 0, reason="NOT TESTED: nobody may dump here")
def test_a_crash_in_serve_leaves_no_memory_on_disk(tmp_path: Path) -> None:
    """Neither dynod's own nor a dyno's, whatever limit dynod was started with, and whatever becomes of a dump."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    here = Path.cwd()
    before = set(dumps(here))
    with dumps_wanted():
        if pattern.startswith("core"):  # else it goes elsewhere, and only the limits tell
            subprocess.run(["sh", "-c", "kill -SEGV $$"], cwd=tmp_path, check=False)
            (control,) = dumps(tmp_path)
            control.unlink()
        serve = Serve(tmp_path / "state")
        serve.__enter__()
    with contextlib.ExitStack() as stack:
        stack.push(serve.__exit__)
        serve.wait_until_ready()
        app = serve.app(tmp_path, "shop", procfile={"worker": "exec sleep 100000"}, quantities={"worker": 1})
        app.wait_until_up("worker.1")
        serve.done("config:set", f"KEY={CANARY}", "--no-wait")
        app.wait()
        core, dyno = serve.core_pid(), app.pids()["worker.1"]
        assert dyno is not None
        assert dump_limit(dyno).split() == ["1", "1", "bytes"], "nor can it raise that"
        for pid in (core, serve.pid):
            assert dump_limit(pid).split()[0] == "1"
        os.kill(dyno, signal.SIGSEGV)
        app.wait_for_log(r"heroku\[worker\.1\]: Process exited with status 139")
        os.kill(core, signal.SIGSEGV)
        serve.core_pid(other_than=core)
        assert set(dumps(here)) == before
        assert dumps(tmp_path, tmp_path / "shop", serve.state) == []


@pytest.mark.skipif(sys.platform != "linux", reason="NOT TESTED: /proc")
def test_a_dyno_of_up_has_the_limit_of_whoever_started_it(tmp_path: Path) -> None:
    with dumps_wanted():
        up = Up(app_folder(tmp_path, procfile={"worker": toy("waits")}))
        expected = dump_limit(os.getpid())
        up.__enter__()
    with contextlib.ExitStack() as stack:
        stack.push(up.__exit__)
        up.wait_until_up("worker.1")
        assert dump_limit(up.dyno_pids()["worker.1"][0]) == expected
        assert dump_limit(up.core_pid()).split()[0] in {"0", "1"}


def test_an_env_file_that_is_not_understood_is_not_quoted(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": toy("web_server")})
    (folder / ".env").write_text(f"GOOD=1\nKEY='{CANARY}\n{SECOND}\n=  {THIRD}\n")
    with Up(folder) as up:
        assert up.wait() == 1
    assert ".env" in str(up.output)
    assert_no_canary(str(up.output))


def test_up_hides_the_values_of_config_vars_where_that_is_asked_for(tmp_path: Path) -> None:
    """In what dynos print, in paths and in commands; on stdout, for tails, in drains, over a killed core."""
    folder = folder_with_secrets(
        tmp_path,
        {"web": toy("web_server"), "worker": SHOUT, "told": f"sleep 1000 # {CANARY}"},
        toml="[app]\nmask_config_vars = true\n",
    )
    # Whole values are hidden: this one is whole only in the second variable.
    with (folder / ".env").open("a") as env:
        env.write(f"PASSWORD={CANARY}\n")
    drained = tmp_path / "drained"
    with Up(folder) as up:
        up.wait_for_line(r"not hidden in the log, for being short: the values of N$", stream="stderr")
        up.wait_until_up("web.1", "worker.1", "told.1")
        assert "Successfully" in dynod(up, "drains:add", f"file://{drained}")
        core = up.core_pid()
        os.kill(core, 9)
        up.core_pid(other_than=core)
        assert up.get(f"/?key={CANARY}").status == 200
        up.wait_for_line(r'heroku\[router\]: .* path="/\?key=\[FILTERED\]"')
        assert "Successfully" not in dynod(up, "ps:restart", "nothing")
        dynod(up, "ps:restart", "worker.1")
        hidden = b"app[worker.1]: [FILTERED] [FILTERED]"
        eventually(lambda: drained.exists() and hidden in drained.read_bytes(), what="it is drained")
        assert_no_canary(dynod(up, "logs", "-n", "1500"))
        assert_no_canary(drained.read_text())
        assert up.stop() == 0
    assert_no_canary(str(up.output))


def test_nothing_is_hidden_unless_that_is_asked_for(tmp_path: Path) -> None:
    folder = folder_with_secrets(tmp_path, {"worker": SHOUT})
    with Up(folder) as up:
        up.wait_for_line(rf"app\[worker\.1\]: .*{SECOND}")
        listed = json.loads(dynod(up, "ps", "--json"))
        assert listed
        assert up.stop() == 0


def test_serve_hides_them_from_the_moment_on_that_it_is_asked_to_and_over_a_killed_core(tmp_path: Path) -> None:
    says = 'while read x <gate; do echo "$x $SECRET_KEY_BASE"; done'
    with Serve(tmp_path / "state") as serve:
        serve.wait_until_ready()
        manifest = {"env": {"SECRET_KEY_BASE": {"value": THIRD}}, "formation": {"worker": {"quantity": 1}}}
        folder = serve.folder_of(tmp_path, "shop", procfile={"worker": says}, app_json=manifest)
        os.mkfifo(folder / "gate")
        serve.done("apps:create", "shop", "--dir", str(folder))
        shop = serve.known_app("shop")
        shop.wait_until_up("worker.1")

        def said(word: str) -> str:
            (folder / "gate").write_text(f"{word}\n")
            return shop.wait_for_log(rf"app\[worker\.1\]: {word} ").rpartition(" ")[2]

        assert said("one") == THIRD
        serve.done("settings:set", "mask_config_vars=true")
        assert said("two") == "[FILTERED]"
        core = serve.core_pid()
        os.kill(core, 9)
        core = serve.core_pid(other_than=core)
        assert said("three") == "[FILTERED]"
        assert_no_canary(seen_of(serve.pid) + seen_of(core))
        serve.done("settings:set", "mask_config_vars=false")
        assert said("four") == THIRD
    assert_no_canary(str(serve.output))
