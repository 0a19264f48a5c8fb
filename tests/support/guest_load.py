"""Starts `load_in_guest` in the network of a booted guest, and has its outcomes at the end."""

import json
import os
import subprocess
import sys
from typing import Self

from support.booted import Booted
from support.source_tree import REPOSITORY
from support.steady_load import CONNECTIONS


class Load:
    """The load of contracts 9 on the app of this host, from `__enter__`, after `first` answers, to `__exit__`."""

    def __init__(self, vm: Booted, host: str, *, first: int = 100) -> None:
        self._command = [
            *(*vm.in_network, sys.executable, str(REPOSITORY / "tests/support/load_in_guest.py")),
            *("80", host, "7", str(first)),
        ]
        self.outcomes: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(
            self._command,
            env={**os.environ, "PYTHONPATH": f"{REPOSITORY / 'tests'}:{REPOSITORY}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._child.stdout is not None
        assert self._child.stdout.readline().strip().isdigit(), "the load has not begun"
        return self

    def __exit__(self, *error: object) -> None:
        self.outcomes = json.loads(self._child.communicate("", timeout=120)[0])
        print("sent", sum(self.outcomes.values()), self.outcomes)

    @property
    def failed(self) -> dict[str, int]:
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != "ok"}

    def assert_nobody_refused(self, *, ends: int = 1) -> None:
        """No more has failed than was in flight at so many ends of a core, and nothing but what was."""
        assert sum(self.failed.values()) <= CONNECTIONS * ends, self.failed
        assert not [outcome for outcome in self.failed if "Refused" in outcome or "status" in outcome], self.failed
