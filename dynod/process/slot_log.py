"""What is told of a slot: its lines in the log, and the history that `ps --why` prints.

slot.py says here what it has decided; nothing here decides anything about the dyno. May import `core` and the seams
beside it.
"""

import asyncio
from collections import deque
from typing import NamedTuple

from dynod.core.dyno import exit_status
from dynod.core.failure_cause import PREFIX, Failure, cause_of
from dynod.process.instance import Instance
from dynod.process.surroundings import Surroundings

HISTORY_LENGTH = 30  # entries of a slot's history
SILENT_AFTER_S = 10.0  # up this long without a word: most often a program that buffers its output
OUT_OF_MEMORY = "out of memory"  # as `core/memory_quota` says it of a dyno that the kernel has ended
ERROR = "Error R"  # how Heroku's codes begin: what explains a state belongs to its history


class Happening(NamedTuple):
    """An entry of the slot's history, the causal chain that `ps --why` prints."""

    at: float  # seconds since the epoch
    what: str


class SlotLog:
    """Of one slot, by its name."""

    def __init__(self, name: str, shared: Surroundings, *, one_off: bool = False) -> None:
        self.history: deque[Happening] = deque(maxlen=HISTORY_LENGTH)
        self._name = name
        self._shared = shared
        self._one_off = one_off

    def add(self, what: str) -> None:
        """To the history alone."""
        self.history.append(Happening(self._shared.clock(), what))

    def say(self, message: str) -> None:
        """A line of the platform's; one that explains a state is an entry of the history too."""
        if message.startswith((ERROR, PREFIX, f"{self._name} listens on ")):
            self.add(message)
        self._shared.journal.platform(self._name, message)

    def exited(self, instance: Instance) -> None:
        """With which status, if it has exited."""
        if instance.exit_code is not None:
            status = exit_status(instance.exit_code)
            self.add(f"process exited with status {status}")
            self.say(f"Process exited with status {status}")

    def explain_exit(self, instance: Instance) -> None:
        """One line that says why it exited, where that can be told."""
        if instance.exit_code is None or instance.stop_asked or instance.hastened:
            return
        if any(entry.at >= instance.started_at and OUT_OF_MEMORY in entry.what for entry in self.history):
            return  # the kernel's reason has been said
        wrote = self._shared.last_lines(self._name, instance.started_at)
        cause = cause_of(
            Failure(
                status=exit_status(instance.exit_code),
                lived_s=asyncio.get_running_loop().time() - instance.launched,
                lines=wrote.lines,
                silent_s=self._shared.clock() - wrote.at,
            )
        )
        if cause is not None:
            self.say(PREFIX + cause.text)

    def silence_deadline(self, instance: Instance) -> float | None:
        """When, by the loop's clock, it is to be said that the instance has written nothing; None if it need not be."""
        if instance.silence_said or instance.has_written or instance.up_since is None:
            return None
        return None if self._one_off or instance.attachment is not None else instance.up_since + SILENT_AFTER_S

    def name_silence(self, instance: Instance) -> None:
        """Say so once, if that time has come."""
        deadline = self.silence_deadline(instance)
        if deadline is not None and instance.exit_code is None and asyncio.get_running_loop().time() >= deadline:
            instance.silence_said = True
            self._shared.placement.set_state(instance.id, instance.note())
            self.say(
                f"{self._name} has been up for {SILENT_AFTER_S:.0f} s and written nothing: if it logs, does it log to "
                "a file, or hold its output back in a buffer?"
            )

    def why_crashed(self) -> str:
        """What the history says of a crash just now, in one line; empty if it says nothing."""
        said = [entry.what for entry in self.history]
        if not said:
            return ""
        why = said[-1]
        if why.startswith(PREFIX) and len(said) > 1:
            return f"{said[-2]} ({why.removeprefix(PREFIX)})"
        return why
