"""One slot's life: start, boot, stay up, end, start again. One task a slot, which is the only one to change its state.

Everything that may matter to it (exit, boot verdict, request) sets one event; the task wakes, looks, decides by the
tables of `core`, and acts. Cancelling the task touches no dyno: that is how a core ends that others take over from.
"""

import asyncio
import contextlib
import json
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from dynod.core.boot import BOOT_TIMEOUT_S, ElsewhereOnly, Listening, PortTaken, TimedOut, Verdict, Waiting
from dynod.core.command import expand_port_for_display
from dynod.core.dyno import (
    InstanceEvent,
    InstanceState,
    SlotEvent,
    SlotState,
    StopRule,
    advance_slot,
    exit_status,
)
from dynod.core.ports import PortAllotment
from dynod.core.restart import RestartPolicy
from dynod.process.boot_watch import BootWatch
from dynod.process.instance import Instance
from dynod.process.placement import Journal, Output, Placement, Traffic

SILENT_AFTER_S = 10.0  # up this long without a word: most often a program that buffers its output
READ_OUT_S = 1.0  # how long the line about an exit waits for the dyno's own last lines


class Command(NamedTuple):
    """How the dynos of a process type are started."""

    argv: Sequence[str]
    shown: str  # as the Procfile has it
    cwd: str
    environment: Callable[[str, int | None], Mapping[str, str]]  # dyno name, port → its variables
    stop: StopRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the supervisor goes by."""

    restart: RestartPolicy
    enforce_boot_timeout: bool  # `up` only reports R10: a breakpoint is not a timeout (contracts 8)
    boot_timeout_s: float = BOOT_TIMEOUT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every slot shares."""

    placement: Placement
    output: Output
    journal: Journal
    traffic: Traffic
    boots: BootWatch
    ports: PortAllotment
    port_is_free: Callable[[int], bool]
    rules: Rules
    attend: Callable[[Instance], None]  # see the instance out: the supervisor's task for it
    account: Callable[[Instance], None]  # the slot has drawn the consequences of its end
    state_changed: Callable[[], None]
    exited: Callable[[str, int], None]  # a dyno ended by itself: name, exit code


class Ending(Enum):
    """Why an instance is no longer the slot's."""

    EXITED = auto()
    STOP = auto()
    PORT_TAKEN = auto()
    BOOT_TIMEOUT = auto()


class Slot:
    """`web.1`. `run` is its task."""

    def __init__(self, name: str, command: Command, shared: Surroundings, *, web: bool) -> None:
        self.name = name
        self.web = web
        self.state = SlotState.DOWN
        self.instance: Instance | None = None
        self._command = command
        self._shared = shared
        self._crashes = 0
        self._retry_at = 0.0  # seconds since the epoch, so that the next core keeps to it
        self._wanted = True
        self._verdicts: list[Verdict] = []
        self._changed = asyncio.Event()

    # --- what others tell it ----------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Something about the slot's instance is new: look."""
        self._changed.set()

    def stop(self) -> None:
        """Stop the dyno and end the task."""
        self._wanted = False
        self._changed.set()

    def restore(self, note: str, instance: Instance | None) -> None:
        """Go on where an earlier core was: its note of the slot, and the instance that is the slot's."""
        noted = json.loads(note)
        self.state = SlotState(noted["state"])
        self._crashes = noted["crashes"]
        self._retry_at = noted["retry_at"]
        self.instance = instance

    # --- its life ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the dyno running until `stop`; returns when its last process is gone."""
        while True:
            if self.state is SlotState.CRASHED:
                await self._back_off()
            if not self._wanted:
                break
            instance = self.instance or await self._start()
            if instance is None:
                self._crash(0.0)
                continue
            await self._end(instance, await self._live(instance))
        if self.state is not SlotState.DOWN:
            self._advance(SlotEvent.STOP)

    async def run_once(self) -> int:
        """Run a one-off dyno, never restarted; returns its exit code once everything it wrote is handed on."""
        instance = self.instance or await self._start()
        if instance is None:
            self._advance(SlotEvent.COMPLETED)
            return 127
        ending = await self._live(instance)
        if ending is Ending.STOP:
            await self._stop_instance(instance)
        else:
            await self._read_out(instance)
            self._say_exit(instance)
        if self.state is not SlotState.DOWN:
            self._advance(SlotEvent.COMPLETED)
        self._shared.account(instance)
        return instance.exit_code if instance.exit_code is not None else 0

    async def _start(self) -> Instance | None:
        if self.state is not SlotState.STARTING:
            self._advance(SlotEvent.START, silently=self.state is SlotState.DOWN)
        shared = self._shared
        port = shared.ports.take_first(shared.port_is_free) if self.name.partition(".")[0] != "release" else None
        instance = Instance(id=str(uuid.uuid4()), name=self.name, port=port, grace_s=self._command.stop.grace_s)
        instance.launched = asyncio.get_running_loop().time()
        environment = self._command.environment(self.name, port)
        shown = expand_port_for_display(self._command.shown, port)
        shared.journal.platform(self.name, f"Starting process with command `{shown}`")
        try:
            launched = await shared.placement.launch(
                instance_id=instance.id,
                argv=self._command.argv,
                env=environment,
                cwd=self._command.cwd,
                marks=[f"{name}={environment[name]}" for name in ("DYNO", "PORT") if name in environment],
                stop_signal=self._command.stop.signal,
                grace_s=self._command.stop.grace_s,
                state=instance.note(),
            )
        except OSError as error:
            instance.advance(InstanceEvent.REFUSED)
            if port is not None:
                shared.ports.give_back(port)
            shared.journal.platform(self.name, f"Process could not be started: {error.strerror}")
            return None
        instance.pid, instance.started_at = launched.pid, launched.started_at
        shared.output.add(instance.id, self.name, launched.output)
        self.instance = instance
        shared.attend(instance)
        return instance

    async def _live(self, instance: Instance) -> Ending:
        """From launch, or wherever an earlier core was, to its end."""
        if instance.state is InstanceState.LAUNCHING:
            ending = await self._boot(instance) if self.web else None
            if ending is not None:
                return ending
            self._ready(instance)
        elif self.web and instance.address is not None and instance.state is InstanceState.UP:
            self._shared.traffic.join(instance.id, self.name, instance.address)
        while True:
            if instance.exit_code is not None:
                return Ending.EXITED
            if not self._wanted:
                return Ending.STOP
            await self._until(self._silence_deadline(instance))
            self._name_silence(instance)

    async def _boot(self, instance: Instance) -> Ending | None:
        """None when it is up; meanwhile what is wrong is said."""
        shared = self._shared
        assert instance.port is not None  # noqa: S101 (web dynos have one)
        self._verdicts.clear()
        shared.boots.watch(
            instance.id,
            port=instance.port,
            launched=instance.launched,
            timeout_s=shared.rules.boot_timeout_s,
            tell=self._judged,
        )
        try:
            while True:
                while self._verdicts:
                    match self._verdicts.pop(0):
                        case Listening(address):
                            instance.address = address
                            return None
                        case ElsewhereOnly(addresses):
                            places = ", ".join(str(address) for address in addresses)
                            self._say(f"{self.name} listens on {places}, PORT is {instance.port}")
                        case PortTaken():
                            return Ending.PORT_TAKEN
                        case TimedOut():
                            self._say(
                                "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within "
                                f"{shared.rules.boot_timeout_s:.0f} seconds of launch"
                            )
                            if shared.rules.enforce_boot_timeout:
                                return Ending.BOOT_TIMEOUT
                        case Waiting():
                            pass
                if instance.exit_code is not None:
                    return Ending.EXITED
                if not self._wanted:
                    return Ending.STOP
                await self._until(None)
        finally:
            shared.boots.forget(instance.id)

    def _judged(self, verdict: Verdict) -> None:
        self._verdicts.append(verdict)
        self._changed.set()

    def _ready(self, instance: Instance) -> None:
        instance.advance(InstanceEvent.READY)
        self._shared.placement.set_state(instance.id, instance.note())
        if instance.address is not None:
            self._shared.traffic.join(instance.id, self.name, instance.address)
        self._advance(SlotEvent.READY)

    async def _end(self, instance: Instance, ending: Ending) -> None:
        match ending:
            case Ending.EXITED:
                self._shared.traffic.leave(instance.id)
                await self._read_out(instance)
                self._say_exit(instance)
                self._crash(time.time() - instance.started_at if instance.state is not InstanceState.LAUNCHING else 0.0)
                self._shared.exited(self.name, instance.exit_code or 0)
            case Ending.STOP:
                self._advance(SlotEvent.STOP)
                await self._stop_instance(instance)
            case Ending.PORT_TAKEN:
                self._say(f"port {instance.port} was taken by another program meanwhile; trying another port")
                await self._kill(instance)
            case Ending.BOOT_TIMEOUT:
                self._say("Stopping process with SIGKILL")
                await self._kill(instance)
                self._say_exit(instance)
                self._crash(0.0)
                self._shared.exited(self.name, instance.exit_code or 0)
        self.instance = None
        self._shared.account(instance)

    async def _stop_instance(self, instance: Instance) -> None:
        await self._shared.traffic.drain(instance.id)
        rule = self._command.stop
        if not instance.stop_asked:
            instance.stop_asked = True
            if instance.exit_code is None:
                instance.advance(InstanceEvent.STOP)
            self._shared.placement.set_state(instance.id, instance.note())
            self._say("Stopping all processes with SIGTERM")
        self._shared.placement.stop(instance.id, number=rule.signal, grace_s=0.0 if instance.hastened else rule.grace_s)
        while not instance.finished:
            await self._until(None)
        self._shared.traffic.leave(instance.id)
        self._say_exit(instance)

    async def _kill(self, instance: Instance) -> None:
        if instance.exit_code is None:
            instance.advance(InstanceEvent.STOP)
        self._shared.placement.stop(instance.id, number=9, grace_s=0.0)
        while not instance.finished:
            await self._until(None)

    async def _read_out(self, instance: Instance) -> None:
        """Let the dyno's own last lines go before the line about its exit, unless the reader of the log is stuck."""
        deadline = asyncio.get_running_loop().time() + READ_OUT_S
        while not instance.finished and asyncio.get_running_loop().time() < deadline:
            await self._until(deadline)

    async def _back_off(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + max(0.0, self._retry_at - time.time())
        while self._wanted and loop.time() < deadline:
            await self._until(deadline)

    def _crash(self, up_s: float) -> None:
        policy = self._shared.rules.restart
        self._crashes = policy.crashes_after(self._crashes, up_s)
        delay_s = policy.delay_s(self._crashes, random.random)
        self._retry_at = time.time() + delay_s
        self._advance(SlotEvent.EXITED)
        if delay_s and self._wanted:
            self._say(f"Starting again in {delay_s:.0f} s (crash {self._crashes} in a row)")

    # --- small things -----------------------------------------------------------------------------------------------

    def _advance(self, event: SlotEvent, *, silently: bool = False) -> None:
        was, self.state = self.state, advance_slot(self.state, event)
        if was is not self.state and not silently:
            self._say(f"State changed from {was} to {self.state}")
        self._shared.placement.put(
            f"slot:{self.name}",
            json.dumps({"state": self.state, "crashes": self._crashes, "retry_at": self._retry_at}),
        )
        self._shared.state_changed()

    def _silence_deadline(self, instance: Instance) -> float | None:
        if instance.silence_said or self._shared.output.has_written(instance.id):
            return None
        return instance.launched + SILENT_AFTER_S

    def _name_silence(self, instance: Instance) -> None:
        deadline = self._silence_deadline(instance)
        if deadline is not None and instance.exit_code is None and asyncio.get_running_loop().time() >= deadline:
            instance.silence_said = True
            self._shared.placement.set_state(instance.id, instance.note())
            self._say(
                f"{self.name} has run for {SILENT_AFTER_S:.0f} s and written nothing: if it logs, does it log to a "
                "file, or hold its output back in a buffer?"
            )

    def _say_exit(self, instance: Instance) -> None:
        if instance.exit_code is not None:
            self._say(f"Process exited with status {exit_status(instance.exit_code)}")

    def _say(self, message: str) -> None:
        self._shared.journal.platform(self.name, message)

    async def _until(self, deadline: float | None) -> None:
        """Wait for news, or for the deadline (the loop's clock)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._changed.wait()
        self._changed.clear()
