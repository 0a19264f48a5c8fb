"""One run of a dyno, as this core knows it, and the note by which the next core rebuilds it."""

import asyncio
import json
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from dynod.core.boot import Address
from dynod.core.dyno import InstanceEvent, InstanceState, RestartCause, advance_instance
from dynod.process.attachment import Attachment

SESSION: Final = "DYNOD_SESSION"  # a variable of its own: by the dyno's marks alone, the end of one would end the other


class Ending(Enum):
    """Why the slot is done with an instance."""

    EXITED = auto()
    STOP = auto()
    RESTART = auto()
    PORT_TAKEN = auto()
    BOOT_TIMEOUT = auto()
    CHECKS_FAILED = auto()
    OVER_LIMIT = auto()  # R15, or it wrote too much
    ABANDONED = auto()  # the change that it was started for is undone


class Progress(Enum):
    """How far it has come on its way up, where it has not failed."""

    WAITING = auto()
    UP = auto()


@dataclass(slots=True, kw_only=True)
class Instance:
    """Owned by the supervisor; the slot's task acts on it, the keeper's events change it."""

    id: str
    app: str
    name: str  # of its slot, "web.1"
    port: int | None
    release: int = 0  # the version that it runs
    pid: int = 0
    started_at: float = 0.0  # seconds since the epoch
    launched: float = 0.0  # the loop's clock, which is one for all cores of a boot: CLOCK_MONOTONIC
    up_since: float | None = None  # the loop's clock
    cycle_at: float | None = None  # the loop's clock; when a fresh one is to take its place
    state: InstanceState = InstanceState.LAUNCHING
    address: Address | None = None  # where the router reaches it
    exit_code: int | None = None  # of the main process; negative for a signal
    stop_asked: bool = False  # by a signal and a grace, which may run out (R12)
    hastened: bool = False  # a person cut the grace short
    in_pool: bool = False  # a web dyno whose readiness checks pass, if it has any
    over_limit: RestartCause | None = None  # R15, or what it wrote: it must go
    health: asyncio.Task[None] | None = None  # follows its checks
    attachment: Attachment | None = None  # somebody may be at its terminal or its pipes
    attachment_note: str | None = None  # by which that is rebuilt
    has_written: bool = False
    silence_said: bool = False
    kill_said: bool = False  # that its grace ran out
    vanished: asyncio.Event = field(default_factory=asyncio.Event)  # no process is left
    finished: asyncio.Event = field(default_factory=asyncio.Event)  # and its output is handed on
    accounted: bool = False  # its slot has drawn the consequences; with `finished`, the keeper may forget it
    grace_s: float = 30.0
    replaces: str | None = None  # the instance that serves until this one is up
    enters: str | None = None  # the instance in whose place it runs, with that one's environment

    @property
    def marks(self) -> list[str]:
        """What of its environment no other living instance has: how a process that fled is recognised."""
        if self.enters is not None:
            return [f"{SESSION}={self.id}"]
        return [f"DYNO={self.name}", *([f"PORT={self.port}"] if self.port is not None else [])]

    def advance(self, event: InstanceEvent) -> None:
        """Follow the table of `core.dyno`."""
        self.state = advance_instance(self.state, event)

    def end_health(self) -> None:
        """Its checks no longer matter."""
        if self.health is not None:
            self.health.cancel()

    def note(self) -> str:
        """What the next core needs, kept by the keeper."""
        return json.dumps(
            {
                "app": self.app,
                "name": self.name,
                "port": self.port,
                "release": self.release,
                "state": self.state,
                "launched": self.launched,
                "up_since": self.up_since,
                "cycle_at": self.cycle_at,
                "address": [self.address.host, self.address.port] if self.address is not None else None,
                "replaces": self.replaces,
                "enters": self.enters,
                "grace_s": self.grace_s,
                "stop_asked": self.stop_asked,
                "in_pool": self.in_pool,
                "has_written": self.has_written,
                "silence_said": self.silence_said,
                "kill_said": self.kill_said,
                "attachment": self.attachment.note() if self.attachment is not None else None,
            }
        )

    @classmethod
    def from_note(cls, instance_id: str, note: str) -> "Instance":
        """Rebuild what an earlier core noted; process id, times and exit are the keeper's to tell."""
        noted = json.loads(note)
        return cls(
            id=instance_id,
            app=noted["app"],
            name=noted["name"],
            port=noted["port"],
            release=noted.get("release", 0),
            state=InstanceState(noted["state"]),
            address=Address(*noted["address"]) if noted["address"] is not None else None,
            replaces=noted["replaces"],
            enters=noted.get("enters"),
            grace_s=noted["grace_s"],
            stop_asked=noted["stop_asked"],
            launched=noted["launched"],
            up_since=noted["up_since"],
            cycle_at=noted["cycle_at"],
            in_pool=noted["in_pool"],
            has_written=noted["has_written"],
            silence_said=noted["silence_said"],
            kill_said=noted["kill_said"],
            attachment_note=noted["attachment"],
        )
