"""Watches booting web dynos until each listens on its PORT, or something else must be said.

One task for all of them, looking at the kernel's listening sockets a few times a second while any dyno boots and not at
all otherwise: nothing announces a listen(2) to others, so this is a stated exception to "nothing polls".
Where the kernel does not list its listening sockets (macOS) an attempt to connect is the first hint, and whose socket
it is gets looked up when one succeeds, in a thread: that takes a run of ps.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from dynod.core.boot import Address, Listening, PortTaken, Verdict, Waiting, judge
from dynod.process import sockets
from dynod.process.placement import Sighting

LOOK_EVERY_S = 0.05
LOOK_CLOSER_EVERY_S = 1.0  # who listens elsewhere needs a walk over the processes: not at every look
REST_SHARE = 4  # a look that took long is followed by a rest of so many times as long
TAKEN_LOOKS = 2  # a socket handed from one process to another between two readings is nobody's for a moment

Result = TypeVar("Result")
Members = Callable[[Collection[str]], Mapping[str, Collection[int]]]  # instance ids → the processes of each


class Seen(NamedTuple):
    """A `Sighting`."""

    own: Collection[Address]
    strangers: Collection[Address]


class SocketTable:
    """Whose the listening sockets are: by netlink and /proc, or by connecting and asking psutil for each process."""

    def __init__(
        self, members: Members, *, by_netlink: bool, user_of: Callable[[str], int | None] = lambda _id: None
    ) -> None:
        """`user_of` an instance: the user that its app's processes, and no others, are; None: there is none such."""
        self._members = members
        self._user_of = user_of
        self._by_netlink = by_netlink
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sockets")
        if not by_netlink:
            self._thread.submit(time.monotonic)  # started now: a machine at its limits has no thread to give

    async def anyone_on(self, ports: Collection[int]) -> bool:
        """Cheap first look: whether anything at all listens on one of the ports."""
        if self._by_netlink:
            return any(listener.address.port in ports for listener in sockets.listeners())
        return await self._aside(lambda: any(sockets.answering(port) for port in ports))

    async def sight(self, instances: Mapping[str, int]) -> Mapping[str, Sighting]:
        """As `look`, while the loop goes on where a look is slow."""
        return self.look(instances) if self._by_netlink else await self._aside(lambda: self.look(instances))

    async def _aside(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def look(self, instances: Mapping[str, int]) -> Mapping[str, Sighting]:
        """For each instance id, with the PORT it was given: where its processes and, on that port, strangers listen."""
        if not self._by_netlink:
            members = self._members(instances)
            return {id_: self._ask(members[id_], port) for id_, port in instances.items()}
        # Sockets first: whoever holds one that is in the list already lived when the processes are listed.
        listeners = sockets.listeners()
        members = self._members(instances)
        seen = {}
        for id_, port in instances.items():
            inodes = sockets.socket_inodes(members[id_])
            if (user := self._user_of(id_)) is not None:
                # Whose sockets another user's processes hold, not even root may see without CAP_SYS_PTRACE.
                inodes |= {each.inode for each in listeners if each.user == user and each.address.port == port}
            seen[id_] = Seen(
                [listener.address for listener in listeners if listener.inode in inodes],
                [
                    listener.address
                    for listener in listeners
                    if listener.address.port == port and listener.inode not in inodes
                ],
            )
        return seen

    def _ask(self, pids: Collection[int], port: int) -> Seen:
        """A socket that answers and is no process's of the dyno is a stranger's, if all of them could be asked."""
        asked = sockets.listening_by_psutil(pids)
        is_surely_not_own = asked.of_all and all(address.port != port for address in asked.addresses)
        return Seen(asked.addresses, sockets.answering(port) if is_surely_not_own else ())


@dataclass(slots=True)
class _Booting:
    port: int
    launched: float  # the loop's time
    timeout_s: float
    tell: Callable[[Verdict], None]
    taken_looks: int = 0
    said: set[type[Verdict]] = field(default_factory=set)


class BootWatch:
    """`run` is the task; `watch` registers a dyno and names who is told."""

    def __init__(self, table: SocketTable) -> None:
        self._table = table
        self._booting: dict[str, _Booting] = {}
        self._some = asyncio.Event()

    def watch(
        self, instance_id: str, *, port: int, launched: float, timeout_s: float, tell: Callable[[Verdict], None]
    ) -> None:
        """Look out for the instance, `launched` on the loop's clock.

        `tell` hears each kind of verdict but Waiting once; Listening and PortTaken end the watch.
        """
        self._booting[instance_id] = _Booting(port, launched, timeout_s, tell)
        self._some.set()

    def forget(self, instance_id: str) -> None:
        """No longer of interest."""
        self._booting.pop(instance_id, None)

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        closer_at = loop.time()
        while True:
            if not self._booting:
                self._some.clear()
                await self._some.wait()
            began = loop.time()
            closer = began >= closer_at
            if closer or await self._table.anyone_on({booting.port for booting in self._booting.values()}):
                await self._look(loop.time)
            if closer:
                closer_at = loop.time() + LOOK_CLOSER_EVERY_S
            await asyncio.sleep(max(LOOK_EVERY_S, (loop.time() - began) * REST_SHARE))

    async def _look(self, clock: Callable[[], float]) -> None:
        looked_at = dict(self._booting)
        seen = await self._table.sight({id_: booting.port for id_, booting in looked_at.items()})
        now = clock()
        for id_, booting in looked_at.items():
            if self._booting.get(id_) is not booting:
                continue  # forgotten meanwhile
            verdict = judge(
                port=booting.port,
                own=seen[id_].own,
                strangers=seen[id_].strangers,
                elapsed_s=now - booting.launched,
                timeout_s=booting.timeout_s,
            )
            self._tell(id_, booting, verdict)

    def _tell(self, id_: str, booting: _Booting, verdict: Verdict) -> None:
        booting.taken_looks = booting.taken_looks + 1 if isinstance(verdict, PortTaken) else 0
        if isinstance(verdict, Waiting) or type(verdict) in booting.said:
            return
        if isinstance(verdict, PortTaken) and booting.taken_looks < TAKEN_LOOKS:
            return
        booting.said.add(type(verdict))
        if isinstance(verdict, (Listening, PortTaken)):
            self.forget(id_)
        booting.tell(verdict)
