"""The seams of the supervisor, declared where they are consumed: where dynos run, where they write, who sends traffic.

`daemon` passes the real ones in: the keeper's client, the output pump, the router. More than one machine (design 8)
would be another `Placement`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from dynod.core.boot import Address
from dynod.core.serving import WebCondition


class Launched(Protocol):
    """A started instance; whoever launched it owns `output` and `input`.

    They are the read end of one pipe and the write end of another, or a terminal's master and nothing.
    """

    @property
    def pid(self) -> int: ...
    @property
    def started_at(self) -> float: ...  # seconds since the epoch
    @property
    def output(self) -> int: ...
    @property
    def input(self) -> int | None: ...


class Placement(Protocol):
    """Starts and ends instances somewhere, and remembers for the next core."""

    async def launch(
        self,
        *,
        instance_id: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        marks: Sequence[str],
        stop_signal: int,
        grace_s: float,
        state: str,
        terminal: tuple[int, int] | None = None,
        stdin: bool = False,
        watches: bool = False,
        owner: tuple[int, int] | None = None,
        shown_as: tuple[str, str] | None = None,
        files: Sequence[int] = (),
        limits: Mapping[str, int] | None = None,
        as_owner: bool = False,
        confined: bool = False,
        filtered: bool = False,
    ) -> Launched:
        """Start it; raises OSError when the operating system refuses.

        `terminal`: on one of so many rows and columns; `stdin`: with one to write to. `watches`: it makes a container
        and watches over what runs in there, whose user `owner` is; `shown_as` and `files`: `container.Enclosed`.
        `limits`: what it may take, as `core.dyno_limits` has it. `as_owner`: without a container, it is that user.
        `filtered`, `confined`: as `container.Enclosed` has them.
        """
        ...

    def stop(self, instance_id: str, *, number: int, grace_s: float) -> None:
        """Signal every process; SIGKILL what is left after `grace_s` seconds. Again: only tightens the deadline."""
        ...

    def send_signal(self, instance_id: str, number: int) -> None: ...  # to every process; nothing follows from it
    def end_input(self, instance_id: str) -> None: ...  # whoever reads its stdin meets the end
    def set_state(self, instance_id: str, state: str) -> None: ...
    def forget(self, instance_id: str) -> None: ...
    def put(self, key: str, value: str | None) -> None: ...


class Output(Protocol):
    """What dynos write. `handed_on`: how many pieces of it, of all dynos, the log's reader has taken so far."""

    @property
    def handed_on(self) -> int: ...
    def awaits_reader(self, instance_id: str) -> bool: ...  # whoever could write has ended, and something is still here
    def add(self, instance_id: str, ps: str, fd: int, *, has_written: bool = False) -> None: ...  # takes `fd` over
    async def finish(self, instance_id: str) -> None: ...  # its processes are gone: hand on what is left


class Journal(Protocol):
    """The platform's own lines in the app's log stream."""

    def platform(self, ps: str, message: str) -> None: ...


class Traffic(Protocol):
    """The router, as far as web dynos are concerned."""

    def join(self, instance_id: str, name: str, address: Address) -> None: ...
    async def drain(self, instance_id: str) -> None: ...  # no new requests; returns when those in flight are answered
    def leave(self, instance_id: str) -> None: ...
    def condition(self, condition: WebCondition) -> None: ...


class Listening(Protocol):
    """Who listens where."""

    async def sight(self, instances: Mapping[str, int]) -> "Mapping[str, Sighting]":
        """For each instance id (with the PORT it was given): what its processes and strangers listen on."""
        ...


class Sighting(Protocol):
    """Listening sockets, as `core.boot.judge` wants them."""

    @property
    def own(self) -> Collection[Address]: ...
    @property
    def strangers(self) -> Collection[Address]: ...
