"""That real shells agree with `dynod.core.command`: the same words, the same effects, and no shell left standing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynod.core.command import analyse

SHELLS = [path for path in (shutil.which("bash"), shutil.which("dash")) if path]
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PORT": "20001", "X": "a b", "EMPTY": ""}
TIMEOUT_S = 20


def who_answers(command: str, shell: str, folder: Path) -> list[str]:
    """The pid that was started, and the pid and parent of the program `whoami` of the folder, as it writes them."""
    program = folder / "me"
    program.write_text('#!/bin/sh\nread stat < /proc/$$/stat\nset -- $stat\necho "$1 $4" > answer\n')
    program.chmod(0o755)
    child = subprocess.Popen(analyse(command, shell=shell).argv, cwd=folder, env=ENVIRONMENT)
    assert child.wait(TIMEOUT_S) == 0
    return [str(child.pid), *(folder / "answer").read_text().split()]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "command",
    [
        "./me a b",
        "exec ./me $PORT",
        "./me $PORT",
        "./me ${PORT:-5000} 2>&1",
        "FOO=1 ./me $PORT > f",
        "FOO=1 BAR=\"$X\" ./me '$PORT' >> f 2>&1",
        "> f ./me",
        "true && ./me > f",
        "false || ./me < /dev/null",
        "cd . && ./me",
        "true; ./me > f",
        "true | cat; ./me > f",
        "./me $(echo 1) > f;",
    ],
)
def test_no_shell_stands_between_the_signal_and_the_program(command: str, shell: str, tmp_path: Path) -> None:
    started, program, parent = who_answers(command, shell, tmp_path)
    assert program == started
    assert parent == str(os.getpid())


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("command", ["./me | cat", "(./me; true)", "./me; true", "trap '' TERM; ./me > f"])
def test_where_something_comes_after_the_program_the_shell_stays(command: str, shell: str, tmp_path: Path) -> None:
    started, program, parent = who_answers(command, shell, tmp_path)
    assert program != started
    assert parent == started or command.startswith("(")  # a subshell may stand between


def outcome(argv: tuple[str, ...], folder: Path) -> tuple[int, bytes, dict[str, bytes]]:
    """Status, output and files of a command run in an empty folder."""
    for old in folder.iterdir():
        old.unlink()
    done = subprocess.run(
        argv, cwd=folder, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
    )
    return done.returncode, done.stdout, {path.name: path.read_bytes() for path in folder.iterdir()}


WORDS = st.sampled_from(
    [
        "a", "b=c", "--x=1", "$PORT", "${PORT:-1}", '"$X"', "$X", "$EMPTY", '""', "'$X'", "'it\"s'", '"it\'s"', "a\\ b",
        "$(printenv PORT)", "\\$X", "a#b", "$", "{a,b}", "é", "%", "'x;y'", '"a|b"', "[a]", "!",
    ]
)  # fmt: skip
REDIRECTIONS = st.sampled_from(["", "", "", " > out", " 2>&1", " >> out", " 2> err", " < /dev/null"])
# Programs, not builtins: `env printf` so that what is written does not depend on the shell's own printf.
CALL = st.builds(
    "{}{} {}".format,
    st.sampled_from(["", "", "FOO=1 ", 'FOO="$X" BAR= ']),
    st.sampled_from(["env printf [%s]", "/bin/echo", "/bin/false", "cat /dev/null", "exec /bin/echo", "env nothere"]),
    st.lists(WORDS, max_size=3).map(" ".join),
)
REDIRECTED = st.builds("{}{}".format, CALL, REDIRECTIONS)
# What reads from a pipe is not redirected: two members of one pipeline that write to one file race with each other.
FURTHER = st.builds("{}{}".format, st.sampled_from([" && ", " || ", "; "]), REDIRECTED) | CALL.map(" | {}".format)
COMMANDS = st.builds("{}{}".format, REDIRECTED, st.lists(FURTHER, max_size=2).map("".join))


@pytest.mark.parametrize("shell", SHELLS)
def test_a_planned_command_does_what_the_shell_alone_would_do(
    shell: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("commands")

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(COMMANDS)
    def same(command: str) -> None:
        plan = analyse(command, shell=shell)
        if plan.through_shell or shutil.which(plan.argv[0], path=ENVIRONMENT["PATH"]):  # "not found" is told elsewhere
            assert outcome(plan.argv, folder) == outcome((shell, "-c", command), folder)

    same()
