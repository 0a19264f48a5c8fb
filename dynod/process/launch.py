"""Launches a dyno: its port, its instance, its processes. R99 where it cannot be, and not by the app's fault.

Flow: slot → **launch** → placement. What to make of an error is `core.launch`'s business, what follows the slot's.
"""

import asyncio
import errno
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from dynod.core.command import expand_port_for_display
from dynod.core.dyno import InstanceEvent
from dynod.core.dyno_limits import port_limits
from dynod.core.dyno_metadata import DYNO_ID
from dynod.core.formation import RELEASE
from dynod.core.launch import R99, is_platform_fault, next_try_s, refused_status
from dynod.core.ports import FIRST_PORT, LAST_PORT
from dynod.process.attachment import Attachment
from dynod.process.container import Enclosed, Wanted, not_enclosed
from dynod.process.instance import SESSION, Instance
from dynod.process.placement import Launched
from dynod.process.surroundings import Command, Surroundings

Got = TypeVar("Got")


class LaunchFailedError(Exception):
    """It has been said; `status` is what a shell would exit with, `why` what its user is told."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class NoPortError(OSError):
    """Dynos and strangers have them all."""

    during = "port"

    def __init__(self) -> None:
        super().__init__(errno.EADDRINUSE, f"none from {FIRST_PORT} to {LAST_PORT} is free")


class NothingToEnterError(ProcessLookupError):
    """The dyno that was to be entered has ended."""

    during = "exec"

    def __init__(self) -> None:
        super().__init__(errno.ESRCH, "the dyno does not run")


class Launcher:
    """Of one slot, whose command may change."""

    def __init__(
        self,
        name: str,
        command: Callable[[], Command],
        shared: Surroundings,
        *,
        say: Callable[[str], None],
        until: Callable[[float], Awaitable[None]],
        wanted: Callable[[], bool],
    ) -> None:
        """`until` waits for that time of the loop, or for news; nothing is tried again once it is not `wanted`."""
        self._name = name
        self._command = command
        self._shared = shared
        self._say = say
        self._until = until
        self._wanted = wanted

    async def launch(
        self,
        attachment: Attachment | None,
        replaces: Instance | None,
        begun: Callable[[Instance], None],
    ) -> Instance | None:
        """Its processes, whose output goes to the log or to the attachment; None where nobody wants it any more.

        `begun` hears of the instance before the placement does. Raises LaunchFailedError.
        """
        shared, command = self._shared, self._command()
        names = {"exec": command.argv[0], "chdir": command.cwd}
        port = None
        if not self._name.startswith(f"{RELEASE}.") and command.enters is None:
            port = await self._persist(self._take_port, names)
            if port is None:
                return None
        instance = Instance(
            id=str(uuid.uuid4()),
            app=shared.app,
            name=self._name,
            port=port,
            release=command.release,
            grace_s=command.stop.grace_s,
            replaces=replaces.id if replaces is not None else None,
            enters=command.enters,
        )
        instance.attachment = attachment
        environment = command.environment(self._name, port)
        if DYNO_ID in environment:
            environment = {**environment, DYNO_ID: command.enters or instance.id}
        if command.enters is not None:
            environment = {**environment, SESSION: instance.id}

        async def attempt() -> Launched:
            instance.launched = asyncio.get_running_loop().time()
            terminal = attachment is not None and attachment.window is not None
            enclosed = self._enclosed(instance.id, command, Wanted(command.argv, environment, terminal))
            try:
                return await place(enclosed)
            finally:
                for fd in enclosed.files:
                    os.close(fd)

        async def place(enclosed: Enclosed) -> Launched:
            return await shared.placement.launch(
                instance_id=instance.id,
                argv=enclosed.argv,
                env=enclosed.env,
                cwd=enclosed.cwd,
                marks=instance.marks,
                stop_signal=command.stop.signal,
                grace_s=command.stop.grace_s,
                state=instance.note(),
                terminal=attachment.window if attachment is not None else None,
                stdin=attachment is not None and attachment.window is None,
                watches=enclosed.watches,
                owner=enclosed.owner,
                as_owner=enclosed.as_owner,
                confined=enclosed.confined,
                filtered=enclosed.filtered,
                shown_as=enclosed.shown_as,
                files=enclosed.files,
                limits=self._limits(command, port),
            )

        begun(instance)
        self._say(f"Starting process with command `{expand_port_for_display(command.shown, port)}`")
        try:
            launched = await self._persist(attempt, names)
        except LaunchFailedError:
            self._never_ran(instance)
            raise
        if launched is None:
            self._never_ran(instance)
            return None
        instance.pid, instance.started_at = launched.pid, launched.started_at
        if attachment is not None:
            attachment.open(instance.id, launched.output, launched.input)
        else:
            shared.output.add(instance.id, self._name, launched.output)
        return instance

    def _limits(self, command: Command, port: int | None) -> Mapping[str, int] | None:
        """A dyno that is kept apart keeps off the ports of others, too."""
        limits = self._shared.limits(self._name)
        if limits is None or command.container is None or self._shared.containers is None:
            return limits
        return {**limits, **port_limits(port)}

    def _enclosed(self, instance_id: str, command: Command, wanted: Wanted) -> Enclosed:
        """What is to be executed, in a container if it has one. Raises OSError."""
        containers, container = self._shared.containers, command.container
        outer = self._shared.pid_of(command.enters) if command.enters is not None else None
        if command.enters is not None and not outer:
            raise NothingToEnterError
        if container is None or containers is None:
            return not_enclosed(wanted, command.cwd)
        if outer and command.enters is not None:
            return containers.enter(command.enters, outer, container, wanted)
        return containers.enclose(instance_id, container, wanted)

    async def _take_port(self) -> int:
        port = self._shared.ports.take_first(self._shared.port_is_free)
        if port is None:
            raise NoPortError
        return port

    def _never_ran(self, instance: Instance) -> None:
        instance.advance(InstanceEvent.REFUSED)
        if self._shared.containers is not None:
            self._shared.containers.discard(instance.id)
        if instance.port is not None:
            self._shared.ports.give_back(instance.port)

    async def _persist(self, attempt: Callable[[], Awaitable[Got]], names: Mapping[str, str]) -> Got | None:
        """What `attempt` returns, once it raises no OSError; None where nobody wants it any more.

        An error's `during` names the step that was refused, `names` what that was about.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        tries = 0
        while True:
            try:
                return await attempt()
            except OSError as error:
                tries += 1
                during = getattr(error, "during", "")
                number = error.errno or 0
                why = f"{names.get(during, during)}: {error.strerror}"
                pause_s = next_try_s(number, during, tries=tries, elapsed_s=loop.time() - began)
                if pause_s is None:
                    self._say(f"Process could not be started: {why}")
                    if is_platform_fault(number, during):
                        self._say(R99)
                    raise LaunchFailedError(refused_status(number), why) from error
            if tries == 1:
                self._say(f"Process could not be started yet: {why}")
            again_at = loop.time() + pause_s
            while self._wanted() and loop.time() < again_at:
                await self._until(again_at)
            if not self._wanted():
                return None
