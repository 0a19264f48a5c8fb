"""What a process finds when the keeper starts it (contracts 1 and 5), and what is said when it cannot be started."""

import errno
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from dynod.keeper.protocol import Exited, Gone, Spawned, SpawnFailed
from support.keeper import Core, KeeperRun, read_all

# Prints what it finds itself to be, as JSON.
REPORT = """
import json, os, resource, signal, stat, sys
def kind(fd):
    mode = os.fstat(fd).st_mode
    return "pipe" if stat.S_ISFIFO(mode) else "null" if stat.S_ISCHR(mode) else oct(mode)
fds = {}
for fd in range(3, 1000):
    try: fds[fd] = os.readlink(f"/proc/self/fd/{fd}")
    except OSError: pass
blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "pid": os.getpid(), "parent": os.getppid(), "session": os.getsid(0), "group": os.getpgrp(),
    "stdin": kind(0), "stdout": kind(1), "one pipe": os.fstat(1).st_ino == os.fstat(2).st_ino,
    "fds": fds, "blocked": sorted(blocked), "ignored": int(status["SigIgn"], 16), "cwd": os.getcwd(),
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE), "argv": sys.argv[1:], "input": sys.stdin.read(),
}))
"""
# Python itself ignores these two; a shell in front of it does not, and is looked at for what it was given.
PYTHON_IGNORES = {signal.SIGPIPE, signal.SIGXFSZ}


def report(keeper: KeeperRun, core: Core) -> dict[str, object]:
    core.send(keeper.spawn("r", [sys.executable, "-IS", "-c", REPORT, "one two", "ü\udcff"]))
    _, output = core.expect_with_fd(Spawned, "r")
    core.expect(Exited, "r", 0)
    core.expect(Gone, "r")
    found = json.loads(read_all(output))
    assert isinstance(found, dict)
    return found


def test_a_dyno_starts_clean() -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        found = report(keeper, core)
        assert found["pid"] == found["session"] == found["group"], "its own session and group"
        assert found["parent"] == keeper.pid, "no shell in between"
        assert (found["stdin"], found["input"]) == ("null", "")
        assert (found["stdout"], found["one pipe"]) == ("pipe", True)
        assert found["fds"] == {}
        assert found["blocked"] == []
        assert found["argv"] == ["one two", "ü\udcff"]
        assert found["cwd"] == str(keeper.folder)
        assert found["nofile"] == list(resource.getrlimit(resource.RLIMIT_NOFILE)), "as whoever started dynod has it"


def test_no_signal_is_ignored_in_a_dyno() -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        core.send(keeper.spawn("a", ["sh", "-c", "grep -E 'Sig(Ign|Blk)' /proc/self/status"]))
        _, output = core.expect_with_fd(Spawned, "a")
        masks = dict(line.split() for line in read_all(output).decode().splitlines())
        # 32 and 33 are the C library's own (nptl(7)), which no program can set.
        settable = ~(1 << 32 - 1 | 1 << 33 - 1)
        assert {name: int(mask, 16) & settable for name, mask in masks.items()} == {"SigBlk:": 0, "SigIgn:": 0}


def test_the_environment_is_exactly_what_was_asked_for() -> None:
    env = {"DYNO": "web.1", "EMPTY": "", "EQUALS": "a=b", "LINES": "a\nb", "LATIN": "caf\udce9", "NOTIFY": "ü"}
    with KeeperRun(env={"NOTIFY_SOCKET": "/run/x", "SECRET_OF_THE_CALLER": "x"}) as keeper:
        core = keeper.next_core()
        core.be_ready()
        request = keeper.spawn("x", ["env", "-0"], env=env)
        core.send(request)
        _, output = core.expect_with_fd(Spawned, "x")
        found = sorted(os.fsdecode(read_all(output)).split("\0")[:-1])
        assert found == sorted(f"{name}={value}" for name, value in request.env.items())


def test_descriptors_of_whoever_started_dynod_do_not_reach_a_dyno() -> None:
    prefix = ["sh", "-c", 'exec 7</dev/null 9>&2; exec "$@"', "sh"]
    with KeeperRun(prefix=prefix) as keeper:
        core = keeper.next_core()
        core.be_ready()
        assert report(keeper, core)["fds"] == {}


def test_dynod_started_without_standard_streams_gives_dynos_all_three() -> None:
    prefix = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    with KeeperRun(prefix=prefix) as keeper:
        core = keeper.next_core()
        core.be_ready()
        found = report(keeper, core)
        assert (found["stdin"], found["stdout"], found["one pipe"], found["fds"]) == ("null", "pipe", True, {})


def test_limits_and_signals_of_whoever_started_dynod_are_not_dynods_own() -> None:
    prefix = ["sh", "-c", "trap '' INT HUP USR1; ulimit -S -n 100; exec \"$@\"", "sh"]
    with KeeperRun(prefix=prefix) as keeper:
        core = keeper.next_core()
        core.be_ready()
        found = report(keeper, core)
        assert found["nofile"] == [100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]]
        ignored = found["ignored"]
        assert isinstance(ignored, int)
        assert {number for number in signal.valid_signals() if ignored >> (number - 1) & 1} == PYTHON_IGNORES
        limits = Path(f"/proc/{keeper.pid}/limits").read_text()
        assert f"{resource.getrlimit(resource.RLIMIT_NOFILE)[1]}" in limits.split("Max open files")[1].split()[0]


def test_its_output_can_be_opened_again_by_name() -> None:
    """Programs log to /dev/stdout: a socket could not be reopened."""
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        script = "echo one; echo two >/dev/stdout; echo three >/dev/stderr; echo four >>/proc/self/fd/1"
        core.send(keeper.spawn("a", ["sh", "-c", script]))
        _, output = core.expect_with_fd(Spawned, "a")
        assert read_all(output) == b"one\ntwo\nthree\nfour\n"


def test_a_full_pipe_holds_back_the_dyno_and_nobody_else() -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        core.send(keeper.spawn("floods", ["sh", "-c", "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done"]))
        core.expect(Spawned, "floods")
        core.send(keeper.spawn("other", ["true"]))
        core.expect(Exited, "other", 0)


# --- what cannot be started ------------------------------------------------------------------------------------------


def refusal(
    keeper: KeeperRun,
    argv: Sequence[str] = ("true",),
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
) -> tuple[str, str]:
    """errno's name, and the step."""
    core = keeper.next_core()
    core.be_ready()
    core.send(keeper.spawn("a", argv, env=env, cwd=cwd))
    failed = core.expect(SpawnFailed, "a")
    core.send(keeper.spawn("b", ["true"]))
    core.expect(Exited, "b", 0)  # and the keeper goes on
    core.expect(Gone, "b")
    assert [process.pid for process in keeper.processes() if process.pid not in {keeper.pid, core.pid}] == []
    return errno.errorcode[failed.errno], failed.during


@pytest.mark.parametrize("argv", [["no-such-program"], ["/no/such/program"], ["./no-such-program"]])
def test_a_command_that_is_not_found(argv: list[str]) -> None:
    with KeeperRun() as keeper:
        assert refusal(keeper, argv) == ("ENOENT", "exec")


def test_a_command_that_may_not_be_executed() -> None:
    with KeeperRun() as keeper:
        (keeper.folder / "script").write_text("#!/bin/sh\n")
        assert refusal(keeper, ["./script"]) == ("EACCES", "exec")


def test_a_folder_as_a_command() -> None:
    with KeeperRun() as keeper:
        assert refusal(keeper, ["/tmp"]) == ("EACCES", "exec")


def test_a_script_whose_interpreter_is_missing() -> None:
    with KeeperRun() as keeper:
        script = keeper.folder / "script"
        script.write_text("#!/no/such/interpreter\n")
        script.chmod(0o755)
        assert refusal(keeper, ["./script"]) == ("ENOENT", "exec")


def test_a_folder_that_is_missing() -> None:
    with KeeperRun() as keeper:
        assert refusal(keeper, cwd="/no/such/folder") == ("ENOENT", "chdir")


def test_a_folder_that_is_a_file() -> None:
    with KeeperRun() as keeper:
        (keeper.folder / "file").touch()
        assert refusal(keeper, cwd=str(keeper.folder / "file")) == ("ENOTDIR", "chdir")


@pytest.mark.parametrize("argv", [["true", "a\0b"], ["true", "\ud800"], ["a\0b"]])
def test_an_argument_that_no_process_can_be_given(argv: list[str]) -> None:
    with KeeperRun() as keeper:
        assert refusal(keeper, argv) == ("EINVAL", "exec")


@pytest.mark.parametrize("env", [{"A": "b\0c"}, {"A=B": "c"}, {"": "c"}])
def test_a_variable_that_no_process_can_be_given(env: dict[str, str]) -> None:
    with KeeperRun() as keeper:
        assert refusal(keeper, env=env) == ("EINVAL", "exec")


def test_a_folder_that_no_process_can_be_in() -> None:
    with KeeperRun() as keeper:
        assert refusal(keeper, cwd="/tmp/a\0b") == ("EINVAL", "chdir")


def test_no_command_at_all() -> None:
    with KeeperRun() as keeper:
        assert refusal(keeper, [])[1] == "exec"


def test_arguments_that_are_too_long() -> None:
    with KeeperRun() as keeper:
        assert refusal(keeper, ["true", "x" * 200_000]) == ("E2BIG", "exec")


@pytest.mark.parametrize("command", ["./script", "script"])
def test_a_script_without_a_first_line_is_run_by_the_shell(command: str) -> None:
    """As every shell and execvp(3) do it; found on PATH it must be run from where it was found."""
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        folder = keeper.folder if command.startswith(".") else keeper.folder / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "script").write_text('echo "$1-$2"\n')
        (folder / "script").chmod(0o755)
        env = {"PATH": f"{folder}:{os.environ['PATH']}"}
        core.send(keeper.spawn("a", [command, "one", "two"], env=env))
        _, output = core.expect_with_fd(Spawned, "a")
        assert read_all(output) == b"one-two\n"
        core.expect(Exited, "a", 0)


def test_a_program_that_may_not_be_executed_does_not_hide_one_that_may() -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        for folder, mode in (("first", 0o644), ("second", 0o755)):
            (keeper.folder / folder).mkdir()
            program = keeper.folder / folder / "program"
            program.write_text(f"#!/bin/sh\necho {folder}\n")
            program.chmod(mode)
        path = f"{keeper.folder}/first:{keeper.folder}/second"
        core.send(keeper.spawn("a", ["program"], env={"PATH": path}))
        _, output = core.expect_with_fd(Spawned, "a")
        assert read_all(output) == b"second\n"
        core.send(keeper.spawn("b", ["program"], env={"PATH": f"{keeper.folder}/first:/nowhere"}))
        assert core.expect(SpawnFailed, "b").errno == errno.EACCES


def test_the_dynos_own_path_finds_its_command() -> None:
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        (keeper.folder / "only-here").write_text("#!/bin/sh\necho found\n")
        (keeper.folder / "only-here").chmod(0o755)
        core.send(keeper.spawn("a", ["only-here"], env={"PATH": f"/nowhere:{keeper.folder}"}))
        _, output = core.expect_with_fd(Spawned, "a")
        assert read_all(output) == b"found\n"


def test_a_keeper_that_runs_out_of_descriptors_refuses_and_lives() -> None:
    prefix = ["sh", "-c", 'ulimit -n 80; exec "$@"', "sh"]
    with KeeperRun(prefix=prefix) as keeper:
        core = keeper.next_core()
        core.be_ready()
        started = 0
        while True:
            core.send(keeper.spawn(f"i{started}", ["sleep", "1000"]))
            if core.next_of(Spawned, SpawnFailed) is SpawnFailed:
                break
            started += 1
        assert started > 4
        core.kill()
        core = keeper.next_core()
        assert len(core.be_ready().instances) == started, "and can hand over what it has"


@pytest.mark.parametrize("without", ["cgroup", "pdeathsig", "waitid", "subreaper", "cgroup,subreaper,pdeathsig,waitid"])
def test_statuses_come_without_linux_too(without: str) -> None:
    with KeeperRun(env={"DYNOD_WITHOUT": without}) as keeper:
        core = keeper.next_core()
        core.be_ready()
        for status in range(20):
            core.send(keeper.spawn(f"i{status}", ["sh", "-c", f"exit {status}"]))
        for status in range(20):
            core.expect(Exited, f"i{status}", status)
            core.expect(Gone, f"i{status}")


def test_an_ability_nobody_has_heard_of_is_refused() -> None:
    with KeeperRun(env={"DYNOD_WITHOUT": "subreaper,magic"}) as keeper:
        assert keeper.wait() == 1
        keeper.output.wait_for_line("dynod: DYNOD_WITHOUT names magic; known are ")
