"""The system's Chromium, driven by playwright-core: what users see of the dashboard.

with Browser() as browser:
    browser.do("open", url="http://127.0.0.1:5080/")
    browser.do("see", selector="#dynos", text="web.1")
"""

import json
import select
import subprocess
from types import TracebackType
from typing import Self

from support import installed
from support.up import clean_environment

TIMEOUT_S = 60.0


class Browser:
    """One browser; a page at a time. `complaints`: what the page has said in its console, and what went wrong in it."""

    def __init__(self) -> None:
        folder = installed.node_folder("tests/toys/browser")
        self._command = [installed.program("node"), str(folder / "look.mjs"), installed.program("chromium")]
        self.complaints: list[str] = []

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(
            self._command, env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()  # the end of its input is the end of it, and of its browser
        try:
            self._child.wait(TIMEOUT_S)
        finally:
            self._child.kill()
            self._child.wait()
            self._child.stdout.close()

    def do(self, command: str, **given: object) -> object:
        """One of the commands of `look.mjs`; what it answers."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({"command": command, **given}).encode() + b"\n")
        self._child.stdin.flush()
        ready, _, _ = select.select([self._child.stdout], [], [], TIMEOUT_S)
        assert ready, f"{command} {given} has not ended"
        line = self._child.stdout.readline()
        assert line, f"{command} {given}: the browser has ended with {self._child.wait(TIMEOUT_S)}"
        said = json.loads(line)
        self.complaints = said["complaints"]
        assert "error" not in said, f"{command} {given}: {said['error']}\n{self.complaints}"
        return said["value"]
