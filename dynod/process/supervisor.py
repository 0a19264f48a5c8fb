"""The set of an app's dynos: a task for each slot, one for each instance's way out, and the keeper's events to both."""

import asyncio
import random
import secrets
import signal
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Final

from dynod.core.dyno import InstanceEvent, InstanceState, RestartCause, SlotState, StopRule, exit_status
from dynod.core.histogram import BOOT_BOUNDS_S, Histogram
from dynod.core.memory_quota import R15
from dynod.core.serving import web_condition
from dynod.process.attachment import SECRET_BYTES, Attachment, Window
from dynod.process.container import Encloses
from dynod.process.instance import Instance
from dynod.process.slot import Slot
from dynod.process.slot_note import slot_note
from dynod.process.surroundings import Command, Rules, Surroundings

WEB: Final = "web"
LINGER_S: Final = 5.0  # for whoever is attached to read what is left, when the daemon ends
LARGEST_ONE_OFF_NUMBER: Final = 9999  # Heroku: run.NNNN


class Supervisor:
    """Owned by the daemon; its tasks live in the daemon's group. Everything but `restart` is synchronous."""

    def __init__(self, group: asyncio.TaskGroup, shared: Surroundings, commands: Mapping[str, Command]) -> None:
        """`commands` by process type; types that have no dyno now are there too."""
        self._group = group
        self._shared = shared
        self._commands = commands
        self._slots: dict[str, Slot] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._instances: dict[str, Instance] = {}
        self._boots: dict[str, Histogram] = {}
        self._hastened = False
        self._quantities: dict[str, int] | None = None  # None: the formation is not known yet, a release runs first

    @property
    def note_prefix(self) -> str:
        """Of the keys under which the keeper keeps what slots note; the dyno's name follows."""
        return f"slot:{self._shared.app}:"

    @property
    def types(self) -> Collection[str]:
        """Every process type, also those without a dyno."""
        return self._commands.keys()

    @property
    def quantities(self) -> Mapping[str, int]:
        """The formation: how many dynos of each type are wanted."""
        return self._quantities or {}

    @property
    def instances(self) -> Mapping[str, Instance]:
        """Those that are not finished, by id."""
        return self._instances

    @property
    def slots(self) -> Collection[Slot]:
        """In the order in which they were made; those that still stop included."""
        return self._slots.values()

    @property
    def boots(self) -> Mapping[str, Histogram]:
        """How long dynos took until they were up, in seconds, by process type; of types that there are."""
        return {name: self._boots[name] for name in self._commands if name in self._boots}

    # --- formation --------------------------------------------------------------------------------------------------

    def scale(self, quantities: Mapping[str, int], why: str) -> None:
        """Bring each named type to its number of dynos; the others, and those that already run, are left alone.

        Scaling down stops the highest numbers.
        """
        self._quantities = {**(self._quantities or {}), **quantities}
        for process_type, quantity in quantities.items():
            wanted = {f"{process_type}.{number}" for number in range(1, quantity + 1)}
            for name in wanted.difference(self._slots):
                self._slots[name] = self._slot(name, process_type)
                self._slots[name].log.add(why)
            for slot in self._of_type(process_type):
                if slot.name in wanted:
                    slot.want(why)
                else:
                    slot.stop(why)
        self._slots = dict(sorted(self._slots.items(), key=lambda item: self._rank(item[0])))
        for name in self._slots:
            if name not in self._tasks and _type_of(name) in quantities:
                self._tasks[name] = self._group.create_task(self._keep(self._slots[name]), name=f"dyno:{name}")
        self.state_changed()

    def restore(
        self,
        name: str,
        note: str,
        instances: Sequence[Instance],
        commands: Mapping[int, Mapping[str, Command]] | None = None,
    ) -> None:
        """Make a slot as an earlier core noted it; `scale` gives it life.

        `commands` by release, for a slot that goes by another one than new slots do: a change was under way.
        """
        process_type = _type_of(name)
        slot = self._slots[name] = self._slot(name, process_type)
        others = (commands or {}).get(slot_note(note).release, {})
        if process_type in others:
            slot.command = others[process_type]
        slot.restore(note, instances)

    def discard(self, name: str, instances: Sequence[Instance]) -> None:
        """A slot that an earlier core has noted, and of a type that is no more: stop what is left of it."""
        self._shared.placement.put(self.note_prefix + name, None)
        for instance in instances:
            instance.accounted = True
            self._shared.placement.stop(instance.id, number=signal.SIGTERM, grace_s=instance.grace_s)

    def go_by(self, commands: Mapping[str, Command]) -> None:
        """New slots are made by these commands from now on; those of another release go on with theirs."""
        self._commands = commands
        for slot in self._slots.values():
            command = commands.get(_type_of(slot.name))
            if command is not None and command.release == slot.command.release:
                slot.command = command  # its rules may be others

    def hold_to(self, rules: Callable[[str], tuple[StopRule, Rules]]) -> None:
        """Treat the dynos of each type by other rules from now on; what runs, runs on."""
        self._commands = {name: _held_to(command, *rules(name)) for name, command in self._commands.items()}
        for slot in self._slots.values():
            slot.command = _held_to(slot.command, *rules(_type_of(slot.name)))
            slot.changed()

    async def restart(self, names: Iterable[str], why: str) -> bool:
        """Restart these dynos as a release does: web dynos one after the other, the other types each on its own.

        True when every one came up again.
        """
        return await self._roll(self._to_restart(names), why)

    def resume_restarts(self) -> None:
        """Go on with what an earlier core had been asked for and had not come to."""
        waiting = [slot for slot in self._slots.values() if slot.awaits_restart]
        for slot in waiting:
            if slot.is_replaced:
                slot.await_restart(awaits=False)  # its successor boots already
        if names := [slot.name for slot in waiting if slot.awaits_restart]:
            self.restart_in_background(names, "restart goes on")

    def restart_in_background(self, names: Iterable[str], why: str) -> None:
        """As `restart`, for somebody who does not wait; from now on these dynos say that they await it."""

        async def work(slots: list[Slot]) -> None:
            await self._roll(slots, why)

        self.in_background(work(self._to_restart(names)), "restart")

    def put_on_terminal(self, slot: Slot, window: Window, why: str) -> Attachment:
        """Restart the dyno on a terminal that somebody may attach to, unless it has one; its output is logged too."""
        found = next((each for each in slot.attachments if each.window is not None), None)
        if found is None:
            secret = secrets.token_urlsafe(SECRET_BYTES)
            found = slot.attachment = Attachment(slot.name, secret, window, self, self._shared.attach, stays=True)
            self.restart_in_background([slot.name], why)
        return found

    def _to_restart(self, names: Iterable[str]) -> list[Slot]:
        slots = [slot for name in names if (slot := self._slots.get(name)) is not None and slot.wanted]
        for slot in slots:
            slot.await_restart(awaits=True)
        return slots

    async def _roll(self, slots: Sequence[Slot], why: str) -> bool:
        async def one_by_one(slots: Sequence[Slot]) -> bool:
            came_up = True
            for slot in slots:
                came_up &= await slot.restart(why)
                slot.await_restart(awaits=False)
            return came_up

        by_type: dict[str, list[Slot]] = {}
        for slot in slots:
            by_type.setdefault(_type_of(slot.name), []).append(slot)
        return all(await asyncio.gather(*(one_by_one(group) for group in by_type.values())))

    async def run_once(
        self,
        name: str,
        command: Command,
        *,
        done: Callable[[int], None] = lambda _code: None,
        note: str | None = None,
        instances: Sequence[Instance] = (),
    ) -> int:
        """Run a one-off dyno to its end; returns its exit code, which `done` hears before it is forgotten.

        `note` and `instances` come from an earlier core.
        """
        slot = self.add_one_off(name, command, note, instances)
        code = await slot.run_once(done)
        self.remove_one_off(slot)
        return code

    def add_one_off(
        self, name: str, command: Command, note: str | None = None, instances: Sequence[Instance] = ()
    ) -> Slot:
        """A slot that whoever asks runs once, and removes."""
        slot = self._slots[name] = Slot(name, command, self._shared, self, one_off=True)
        if note is not None:
            slot.restore(note, instances)
        return slot

    def remove_one_off(self, slot: Slot) -> None:
        """It has ended, and everything that was to be kept of it is kept."""
        del self._slots[slot.name]
        self._shared.placement.put(self.note_prefix + slot.name, None)

    def one_off_name(self, kind: str) -> str:
        """A free name such as `run.4217`."""
        while True:
            name = f"{kind}.{random.randint(1, LARGEST_ONE_OFF_NUMBER)}"  # noqa: S311 (a name)
            if name not in self._slots:
                return name

    def _slot(self, name: str, process_type: str) -> Slot:
        return Slot(name, self._commands[process_type], self._shared, self, web=process_type == WEB)

    def _of_type(self, process_type: str) -> list[Slot]:
        return [slot for slot in self._slots.values() if _type_of(slot.name) == process_type]

    def _rank(self, name: str) -> tuple[int, int]:
        process_type, _, number = name.rpartition(".")
        order = list(self._commands)
        return (order.index(process_type) if process_type in order else len(order), int(number))

    async def _keep(self, slot: Slot) -> None:
        await slot.run()  # also if it is unwanted by now: an earlier core may have left it an instance to stop
        while slot.wanted:  # it may be wanted again while it still stops
            await slot.run()
        del self._slots[slot.name], self._tasks[slot.name]
        self._shared.reports.gone(slot.name)
        self._shared.placement.put(self.note_prefix + slot.name, None)
        self.state_changed()

    # --- what slots tell (Attendant) --------------------------------------------------------------------------------

    def attend(self, instance: Instance) -> None:
        """See the instance out in a task of its own."""
        self._instances[instance.id] = instance
        self.in_background(self._see_out(instance), f"instance:{instance.name}:{instance.id}")

    def account(self, instance: Instance) -> None:
        """Its slot has drawn the consequences of its end: a core that comes after need not."""
        instance.accounted = True
        self._forget(instance)

    def in_background(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        """Work that the daemon's group owns."""
        return self._group.create_task(work, name=name)

    def state_changed(self) -> None:
        """Tell the router what the web dynos mean for a request that comes now."""
        if self._quantities is None:
            return
        serving = any(
            instance.in_pool and instance.address is not None and instance.state is InstanceState.UP
            for instance in self._instances.values()
        )
        states = [SlotState.UP]  # while one serves, which is seen soon, nobody looks at hundreds of others
        if not serving:
            web = self._of_type(WEB)
            states = [SlotState.STARTING if slot.is_about_to_start else slot.state for slot in web]
        self._shared.traffic.condition(web_condition(states))

    def booted(self, name: str, took_s: float) -> None:
        """Count how long it took until it was up."""
        self._boots = {name: boots for name, boots in self._boots.items() if name in self._commands}
        if (process_type := _type_of(name)) in self._commands:
            self._boots.setdefault(process_type, Histogram(BOOT_BOUNDS_S)).observe(took_s)

    # --- what attachments tell (Host) -------------------------------------------------------------------------------

    def client_came(self, name: str) -> None:
        """Somebody is attached to the dyno."""
        if (slot := self._slots.get(name)) is not None:
            slot.changed()

    def say(self, name: str, message: str) -> None:
        """A platform line of the dyno."""
        self._shared.journal.platform(name, message)

    def send_signal(self, instance_id: str, number: int) -> None:
        """To every process of the instance."""
        self._shared.placement.send_signal(instance_id, number)

    def end_input(self, instance_id: str) -> None:
        """Whoever reads the instance's stdin meets the end."""
        self._shared.placement.end_input(instance_id)

    def publish(self, ps: str, lines: bytes, on_handed_on: Callable[[], None], /) -> bool:
        """What an attached dyno writes while nobody is there, into the log stream."""
        return self._shared.publish(ps, lines, on_handed_on)

    # --- the keeper's events ----------------------------------------------------------------------------------------

    def adopt(self, instance: Instance, output: int, stdin: int | None = None) -> None:
        """Take over an instance that an earlier core started."""
        if instance.attachment_note is not None:
            instance.attachment = Attachment.from_note(
                instance.name, instance.attachment_note, self, self._shared.attach
            )
            instance.attachment.open(instance.id, output, stdin)
            if instance.exit_code is not None:
                instance.attachment.exited()
        else:
            self._shared.output.add(instance.id, instance.name, output, has_written=instance.has_written)
        self.attend(instance)

    def exited(self, instance_id: str, exit_code: int) -> None:
        """Its main process ended."""
        if (instance := self._instances.get(instance_id)) is not None and instance.exit_code is None:
            instance.exit_code = exit_code
            instance.end_health()
            if instance.attachment is not None:
                instance.attachment.exited()
            instance.advance(InstanceEvent.EXITED)
            self._shared.traffic.leave(instance.id)
            self._wake(instance)

    def killed(self, instance_id: str) -> None:
        """The grace ran out (R12)."""
        instance = self._instances.get(instance_id)
        if instance is None or not instance.stop_asked or instance.kill_said:
            return
        instance.kill_said = True
        self._shared.placement.set_state(instance.id, instance.note())
        if not instance.hastened:
            slot = self._slots.get(instance.name)
            number = slot.command.stop.signal if slot is not None else signal.SIGTERM
            error = (
                "Error R12 (Exit timeout) -> At least one process failed to exit within "
                f"{instance.grace_s:g} seconds of {signal.Signals(number).name}"
            )
            self.happened(instance.name, error)
            self._shared.journal.platform(instance.name, error)
        self._shared.journal.platform(instance.name, "Stopping remaining processes with SIGKILL")

    def wrote(self, instance_id: str) -> None:
        """Its first byte of output has been seen."""
        if (instance := self._instances.get(instance_id)) is not None and not instance.has_written:
            instance.has_written = True
            self._shared.placement.set_state(instance.id, instance.note())

    def happened(self, name: str, what: str) -> None:
        """Something that explains the state of a dyno, for its history."""
        if (slot := self._slots.get(name)) is not None:
            slot.log.add(what)

    def over_memory(self, instance_id: str) -> None:
        """R15: it must go."""
        self._over_limit(instance_id, RestartCause.MEMORY, R15)

    def over_disk(self, instance_id: str, why: str) -> None:
        """It wrote more than it may: it must go, and what it wrote with it."""
        self._over_limit(instance_id, RestartCause.DISK, why)

    def _over_limit(self, instance_id: str, cause: RestartCause, why: str) -> None:
        if (instance := self._instances.get(instance_id)) is not None and instance.over_limit is None:
            instance.over_limit = cause
            self.happened(instance.name, why)
            self._wake(instance)

    def gone(self, instance_id: str) -> None:
        """No process of it is left."""
        if (instance := self._instances.get(instance_id)) is not None:
            instance.vanished.set()

    async def _see_out(self, instance: Instance) -> None:
        await instance.vanished.wait()
        if instance.attachment is not None:
            await instance.attachment.finish(exit_status(instance.exit_code or 0))
        else:
            await self._shared.output.finish(instance.id)
        if instance.port is not None:
            self._shared.ports.give_back(instance.port)
        if self._shared.containers is not None:
            await self._say_discarded(instance, self._shared.containers)
        if instance.state is not InstanceState.GONE:
            instance.advance(InstanceEvent.VANISHED)
        instance.finished.set()
        del self._instances[instance.id]
        self._wake(instance)
        self._forget(instance)

    async def _say_discarded(self, instance: Instance, containers: Encloses) -> None:
        """What it wrote goes with it, which is said once: before the keeper forgets it, and never after."""
        line = (await asyncio.to_thread(containers.discard, instance.id)).line
        if line is not None:
            self._shared.journal.platform(instance.name, line)

    def _forget(self, instance: Instance) -> None:
        if instance.finished.is_set() and instance.accounted:
            self._shared.placement.forget(instance.id)

    def _wake(self, instance: Instance) -> None:
        slot = self._slots.get(instance.name)
        if slot is not None:
            slot.changed()

    # --- the end ----------------------------------------------------------------------------------------------------

    def stop_one_offs(self, why: str) -> None:
        """One-off dynos are not waited for when the daemon ends."""
        for slot in self._slots.values():
            if slot.name not in self._tasks:
                slot.stop(why)

    def stop_slots(self, why: str) -> None:
        """As `stop_all`, without waiting."""
        for slot in self._slots.values():
            slot.stop(why)

    @property
    def hastened(self) -> bool:
        """A person will not wait for anybody's grace."""
        return self._hastened

    async def stop_all(self, why: str) -> None:
        """Every dyno gets its stop signal; returns when no process of any is left and its output is handed on."""
        self.stop_slots(why)
        for instance in self._instances.values():
            if instance.attachment is not None:
                instance.attachment.hurry(LINGER_S)
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        for instance in list(self._instances.values()):
            await instance.finished.wait()

    def hasten(self) -> None:
        """A person will not wait: what still runs, or is being started, is killed now."""
        self._hastened = True
        for instance in self._instances.values():
            instance.hastened = True
            if instance.attachment is not None:
                instance.attachment.hurry(0.0)
            self._shared.placement.stop(instance.id, number=signal.SIGKILL, grace_s=0.0)


def _held_to(command: Command, stop: StopRule, rules: Rules) -> Command:
    return command._replace(stop=stop, rules=rules)


def _type_of(name: str) -> str:
    return name.rpartition(".")[0]
