"""One-off dynos (`run.4217`): a command beside the formation, run once, never restarted, gone when it has ended.

Each has a note with the keeper from the moment it is asked for until nothing of it is left, so that the next core goes
on where an earlier one was, be it with waiting for the client. What an operator may ask for is decided elsewhere.

A session (`ps:exec`) is one that runs where a dyno does, with that dyno's environment, and no longer than it.
"""

import asyncio
import json
import secrets
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from dynod.core.dyno import StopRule
from dynod.core.dyno_sizes import SIZES, UNSIZED, DynoSize
from dynod.process.attachment import SECRET_BYTES, Attachment, Window
from dynod.process.instance import Instance
from dynod.process.slot import Slot
from dynod.process.supervisor import Supervisor
from dynod.process.surroundings import Command, Surroundings

KIND: Final = "run"
# What a session's shell ends by: SIGTERM means nothing to one on a terminal. Nobody waits longer than that for it.
SESSION_STOP: Final = StopRule(signal=signal.SIGHUP, grace_s=5.0)

MakeCommand = Callable[[str, Mapping[str, str]], Command]  # a command line and its extra variables


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOff:
    """What was asked for."""

    command: str
    environment: Mapping[str, str]
    attach: bool
    window: Window | None  # None without a terminal
    size: str
    ends_at: float | None  # the loop's clock, which is one for all cores of a boot; None: when it wants to
    enters: str | None = None  # the instance in whose place it is to run


def detached(command: str) -> OneOff:
    """One that nobody is attached to and that takes as long as it takes."""
    return OneOff(command=command, environment={}, attach=False, window=None, size=UNSIZED.name, ends_at=None)


class OneOffs:
    """Those of one app. Owned by it; the tasks live in the daemon's group."""

    def __init__(
        self,
        supervisor: Supervisor,
        shared: Surroundings,
        group: asyncio.TaskGroup,
        command: MakeCommand,
        sizes: dict[str, DynoSize],
        *,
        command_of: Callable[[Instance], Command | None],
    ) -> None:
        """`sizes` is told each dyno's own size, by its name. `command_of`: by which an instance was started."""
        self._supervisor = supervisor
        self._shared = shared
        self._group = group
        self._command = command
        self._sizes = sizes
        self._command_of = command_of
        self._attachments: dict[str, Attachment] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def note_prefix(self) -> str:
        """Of the keys under which the keeper keeps what was asked for; the dyno's name follows."""
        return f"one-off:{self._shared.app}:"

    def start(self, asked: OneOff) -> tuple[Slot, Attachment | None]:
        """Begin with one; it is listed from now on."""
        name = self._supervisor.one_off_name(KIND)
        secret = secrets.token_urlsafe(SECRET_BYTES) if asked.attach else None
        self._shared.placement.put(self.note_prefix + name, json.dumps({**asdict(asked), "secret": secret}))
        return self._begin(name, asked, secret, None, ())

    def resume(
        self,
        notes: Mapping[str, str],
        slot_notes: Mapping[str, str],
        adopted: Mapping[str, Sequence[Instance]],
    ) -> None:
        """Go on with those of an earlier core: what was asked for, how far it came, and what runs, each by name."""
        for name, note in notes.items():
            noted = json.loads(note)
            secret = noted.pop("secret")
            window = noted.pop("window")
            asked = OneOff(window=Window(*window) if window is not None else None, **noted)
            self._begin(name, asked, secret, slot_notes.get(name), adopted.get(name, ()))
        for name in slot_notes:
            if name.startswith(f"{KIND}.") and name not in notes and KIND not in self._supervisor.types:
                # The last thing that an earlier core did was to forget what was asked for.
                self._shared.placement.put(self._supervisor.note_prefix + name, None)

    def attachment(self, name: str) -> Attachment | None:
        """Of the dyno, if it has one."""
        return self._attachments.get(name)

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """Of every dyno that has one."""
        return tuple(self._attachments.values())

    async def wait(self) -> None:
        """Until none is left."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(
        self, name: str, asked: OneOff, secret: str | None, note: str | None, instances: Sequence[Instance]
    ) -> tuple[Slot, Attachment | None]:
        attachment = next((each.attachment for each in instances if each.attachment is not None), None)
        if attachment is None and secret is not None:
            attachment = Attachment(name, secret, asked.window, self._supervisor, self._shared.attach)
        if attachment is not None:
            self._attachments[name] = attachment
        self._sizes[name] = SIZES.get(asked.size, UNSIZED)
        slot = self._supervisor.add_one_off(name, self._made(asked), note, instances)
        task = self._group.create_task(self._run(slot, attachment, asked, instances), name=f"dyno:{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return slot, attachment

    def _made(self, asked: OneOff) -> Command:
        """How it is started."""
        made = self._command(asked.command, asked.environment)
        if asked.enters is None:
            return made
        made = made._replace(stop=SESSION_STOP, enters=asked.enters)
        entered = self._supervisor.instances.get(asked.enters)
        known = self._command_of(entered) if entered is not None else None
        if entered is None or known is None:
            return made  # there is nothing to be entered any more, as its launch will find out
        its = known.environment(entered.name, entered.port)
        who = {name: its[name] for name in ("DYNO", "PORT") if name in its}
        return made._replace(
            shown=f"{made.shown} (in {entered.name})",
            cwd=known.cwd,
            environment=lambda _name, _port: {**its, **asked.environment, **who},
            release=known.release,
            container=known.container,
        )

    async def _leave_with(self, slot: Slot, instance_id: str) -> None:
        """A session ends with the dyno that it is in. Of a container, the kernel has seen to that by then."""
        if (entered := self._supervisor.instances.get(instance_id)) is not None:
            await entered.vanished.wait()
        slot.stop("the dyno that it was in has ended")

    async def _run(
        self, slot: Slot, attachment: Attachment | None, asked: OneOff, instances: Sequence[Instance]
    ) -> None:
        """To its end, and that of its attachment; only then it is forgotten."""
        loop = asyncio.get_running_loop()
        cap = None
        if asked.ends_at is not None:
            cap = loop.call_at(asked.ends_at, slot.stop, "its time to live is over")
        leave = None
        if asked.enters is not None:
            leave = self._group.create_task(self._leave_with(slot, asked.enters), name=f"session:{slot.name}")
        try:
            await slot.run_once(lambda _code: None, attachment)
        finally:
            if cap is not None:
                cap.cancel()
            if leave is not None:
                leave.cancel()
        for instance in {each.id: each for each in (*instances, slot.instance) if each is not None}.values():
            await instance.finished.wait()
        self._attachments.pop(slot.name, None)
        self._sizes.pop(slot.name, None)
        self._shared.placement.put(self.note_prefix + slot.name, None)
        self._supervisor.remove_one_off(slot)
