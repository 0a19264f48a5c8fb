"""README's commands, run from its text in a fresh copy of the project, one after the other as a reader would.

Before each `sh` block stands a comment that says how it is run:

    <!-- tour -->                        to its end, with status 0
    <!-- tour: exits with 3 -->          to its end, with status 3
    <!-- tour: starts, until "TEXT" -->  left running, once it has printed a line with TEXT
    <!-- tour: Ctrl-C -->                (without a block) ends what was left running, as a terminal's Ctrl-C does
    <!-- tour: not run here, REASON -->

Folder and exported variables carry over from block to block. Where dynod printed another port than 5000, because that
one was taken, later blocks use it.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import pytest

from support import abilities, installed, processes
from support.source_tree import REPOSITORY, written_files
from support.transcript import Transcript
from support.up import clean_environment

TOUR_S: Final = 420  # `make demo` installs everything anew: minutes where nothing is cached
START_S: Final = 300
README_ADDRESS: Final = "127.0.0.1:5000"
STEP = re.compile(r"^<!-- tour(?:: (?P<how>.+?))? -->\n(?:```sh\n(?P<commands>.*?)^```$)?", re.MULTILINE | re.DOTALL)
BASH: Final = ["bash", "-euo", "pipefail", "-c"]
REMEMBER: Final = """trap 'pwd >"$TOUR/folder"; env -0 >"$TOUR/environment"' EXIT\n"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One marker of the README with the block that follows it; `how` is empty for a block that just runs."""

    how: str
    commands: str


def steps(text: str) -> list[Step]:
    return [Step(how=found["how"] or "", commands=found["commands"] or "") for found in STEP.finditer(text)]


def test_every_command_in_the_readme_says_how_it_is_run() -> None:
    text = (REPOSITORY / "README.md").read_text()
    assert len(re.findall(r"^```sh$", text, re.MULTILINE)) == sum(1 for step in steps(text) if step.commands)
    assert not re.findall(r"^```(?!sh$)\w+$", text, re.MULTILINE), "blocks of commands are marked as sh"


@pytest.mark.timeout(TOUR_S)
def test_readme_does_what_it_says(tmp_path: Path) -> None:
    installed.program("curl")
    with Reader(tmp_path) as reader:
        for step in steps((REPOSITORY / "README.md").read_text()):
            reader.follow(step)


class Reader:
    """Somebody at a terminal: a current folder, exported variables, and at most one program left running."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "clone"
        for path in written_files():
            target = self.folder / path.relative_to(REPOSITORY)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        self.notes = home / "notes"
        self.notes.mkdir()
        self.mark = uuid.uuid4().hex
        self.runtime = tempfile.mkdtemp(prefix="up-")
        own = {"TMPDIR": str(home), "XDG_RUNTIME_DIR": self.runtime, "TOUR": str(self.notes)}
        own["PIP_NO_COMPILE"] = "1"  # half of the work of an install; what is imported is compiled then
        self.environment = {**clean_environment(), **abilities.environment(own), processes.MARK: self.mark}
        self.address = README_ADDRESS
        self.running: subprocess.Popen[bytes] | None = None
        self.output = Transcript()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        left = processes.marked(self.mark)
        processes.kill_all(self.mark)
        if self.running is not None:
            self.running.wait()
        shutil.rmtree(self.runtime)
        if error[0] is None:
            assert not left, "left running:\n" + "\n".join(map(str, left))

    def follow(self, step: Step) -> None:
        commands = step.commands.replace(README_ADDRESS, self.address)
        if found := re.fullmatch(r'starts, until "(.+)"', step.how):
            self.start(commands, re.escape(found[1]))
        elif step.how == "Ctrl-C":
            self.interrupt()
        elif found := re.fullmatch(r"exits with (\d+)", step.how):
            self.run(commands, int(found[1]))
        elif not step.how:
            self.run(commands, 0)
        else:
            assert step.how.startswith("not run here, "), f"no such way to run a block: {step.how}"

    def run(self, commands: str, status: int) -> None:
        answer = subprocess.run(
            [*BASH, REMEMBER + commands],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            check=False,
        )
        printed = answer.stdout.decode(errors="replace")
        assert answer.returncode == status, f"{commands}ended with {answer.returncode}:\n{printed}{self.output}"
        self.folder = Path((self.notes / "folder").read_text().removesuffix("\n"))
        self.environment = dict(_pairs((self.notes / "environment").read_bytes()))

    def start(self, commands: str, pattern: str) -> None:
        assert self.running is None, "the block before was not ended by Ctrl-C"
        self.running = subprocess.Popen(
            [*BASH, commands],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self.running.stdout is not None
        self.output = Transcript()
        self.output.read("printed", os.dup(self.running.stdout.fileno()))
        self.running.stdout.close()
        line = self.output.wait_for_line(pattern, timeout_s=START_S)
        if found := re.search(r"listening on http://(\S+?)/?$", line.text):
            self.address = found[1]

    def interrupt(self) -> None:
        """To the whole process group, where make and the shell are too; they may die of it, dynod ends with 0."""
        assert self.running is not None, "nothing was started"
        os.killpg(self.running.pid, signal.SIGINT)
        status = self.running.wait(60)
        with contextlib.suppress(AssertionError):
            self.output.wait_for_end(10)
        assert status in {0, 2, -signal.SIGINT, 128 + signal.SIGINT}, f"ended with {status}:\n{self.output}"
        self.running = None


def _pairs(environment: bytes) -> Iterator[tuple[str, str]]:
    for entry in environment.split(b"\0"):
        name, equals, value = os.fsdecode(entry).partition("=")
        if equals:
            yield name, value
