"""The set of dynos: a task for each slot, one for each instance's way out, and the keeper's events to both."""

import asyncio

from dynod.core.dyno import InstanceEvent, InstanceState
from dynod.core.serving import web_condition
from dynod.process.instance import Instance
from dynod.process.slot import Slot, Surroundings


class Supervisor:
    """Owned by the daemon. `surround` is given once; slots are added before `run` and run until they are stopped."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._slots: dict[str, Slot] = {}
        self._instances: dict[str, Instance] = {}
        self._shared: Surroundings | None = None

    def surround(self, shared: Surroundings) -> None:
        """What the slots share; it refers back to this supervisor, hence apart from the constructor."""
        self._shared = shared

    @property
    def shared(self) -> Surroundings:
        """What the slots share."""
        assert self._shared is not None  # noqa: S101 (surround comes first)
        return self._shared

    @property
    def instances(self) -> dict[str, Instance]:
        """Those that are not finished, by id."""
        return self._instances

    def add(self, slot: Slot) -> None:
        """Take a slot in; `start` or `Slot.run_once` gives it life."""
        self._slots[slot.name] = slot

    def remove(self, slot: Slot) -> None:
        """A one-off dyno has ended."""
        del self._slots[slot.name]

    def start(self, slot: Slot) -> asyncio.Task[None]:
        """Give a slot its task."""
        return self._group.create_task(slot.run(), name=f"dyno:{slot.name}")

    def adopt(self, instance: Instance, output: int) -> None:
        """Take over an instance that an earlier core started."""
        self.shared.output.add(instance.id, instance.name, output)
        self.attend(instance)

    def attend(self, instance: Instance) -> None:
        """See the instance out in a task of its own."""
        self._instances[instance.id] = instance
        self._group.create_task(self._see_out(instance), name=f"instance:{instance.name}:{instance.id}")

    def condition_changed(self) -> None:
        """Tell the router what the web dynos mean for a request that comes now."""
        self.shared.traffic.condition(web_condition([slot.state for slot in self._slots.values() if slot.web]))

    # --- the keeper's events ----------------------------------------------------------------------------------------

    def exited(self, instance_id: str, exit_code: int) -> None:
        """Its main process ended."""
        if (instance := self._instances.get(instance_id)) is not None and instance.exit_code is None:
            instance.exit_code = exit_code
            instance.advance(InstanceEvent.EXITED)
            self._wake(instance)

    def killed(self, instance_id: str) -> None:
        """The grace ran out (R12)."""
        instance = self._instances.get(instance_id)
        if instance is None or not instance.stop_asked:
            return
        if not instance.hastened:
            self.shared.journal.platform(
                instance.name,
                "Error R12 (Exit timeout) -> At least one process failed to exit within "
                f"{instance.grace_s:.0f} seconds of SIGTERM",
            )
        self.shared.journal.platform(instance.name, "Stopping remaining processes with SIGKILL")

    def gone(self, instance_id: str) -> None:
        """No process of it is left."""
        if (instance := self._instances.get(instance_id)) is not None:
            instance.vanished.set()

    async def _see_out(self, instance: Instance) -> None:
        await instance.vanished.wait()
        await self.shared.output.finish(instance.id)
        if instance.port is not None:
            self.shared.ports.give_back(instance.port)
        if instance.state is not InstanceState.GONE:
            instance.advance(InstanceEvent.VANISHED)
        instance.finished = True
        del self._instances[instance.id]
        self._wake(instance)
        self._forget(instance)

    def account(self, instance: Instance) -> None:
        """Its slot has drawn the consequences of its end: a core that comes after need not."""
        instance.accounted = True
        self._forget(instance)

    def _forget(self, instance: Instance) -> None:
        if instance.finished and instance.accounted:
            self.shared.placement.forget(instance.id)

    def _wake(self, instance: Instance) -> None:
        slot = self._slots.get(instance.name)
        if slot is not None:
            slot.changed()

    # --- the end ----------------------------------------------------------------------------------------------------

    def stop_all(self) -> None:
        """Every dyno gets its stop signal; slots' tasks end when their last process is gone."""
        for slot in self._slots.values():
            slot.stop()

    def hasten(self) -> None:
        """A person will not wait: what still runs is killed now."""
        for instance in self._instances.values():
            instance.hastened = True
            self.shared.placement.stop(instance.id, number=15, grace_s=0.0)
