"""The instances that the keeper holds: started, signalled, stopped, reaped, and forgotten when the core says so.

Flow: core → keeper → **instances** → fork, control groups, process table. On its own this does what must happen even
while no core lives: reap, run the deadline of a stop under way, and end what is left of a dyno whose main process has
ended (a container ends with its first process). Standard library only; waits for nothing.
"""

import contextlib
import errno
import math
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from dynod.keeper import cgroups, controllers, own_port, processes
from dynod.keeper.features import Features
from dynod.keeper.inheritance import request_of
from dynod.keeper.launches import AT_ONCE_S, Launch, Launches, can_tell
from dynod.keeper.limits import Limits
from dynod.keeper.protocol import Confined, Exited, Gone, Instance, Killed, Message, Spawn, Spawned, SpawnFailed
from dynod.keeper.requests import inside, terminal_size
from dynod.keeper.said import say
from dynod.keeper.spawn import SpawnRefusedError, fork, outcome

SWEEP_S = 0.05  # between rounds of SIGKILL while processes are still being forked
SWEEP_UNTOLD_S = 0.25  # between looks for the end of processes where no SIGCHLD tells, and a look may be a run of ps
LOOKS = 10  # at the process table, one after the other, before the keeper turns to other things
PORTS: Final = "ports"  # among the folders of `Confined`, where `own_port` can be had
_PROBE: Final = "probe"
SPARE_FDS = 64  # of dynod's own: sockets, wake-up pipe, a look at /proc


# Of an instance, what is as it is in JSON.
_STATE: Final = (
    *("id", "pid", "ends", "stop_signal", "grace_s", "state", "watches", "started_at", "exit_code", "exited_at"),
    *("found_empty", "gone", "stopping", "kill_at", "killed"),
)


class KeptInstance:
    """A dyno's processes as the keeper sees them."""

    def __init__(self, request: Spawn, pid: int, ends: list[int]) -> None:
        self.id = request.id
        self.pid = pid
        self.ends = ends  # of its output, and of its stdin where that is a pipe
        self.owner = processes.Owner(pid, tuple(os.fsencode(mark) for mark in request.marks))
        self.stop_signal = request.stop_signal
        self.grace_s = request.grace_s
        self.state = request.state
        self.watches = request.watches
        self.started_at = time.time()
        self.exit_code: int | None = None
        self.exited_at: float | None = None
        self.found_empty = False  # no process of it was found when they were looked for last
        self.gone = False
        self.stopping = False
        self.kill_at: float | None = None  # monotonic; set while a stop runs
        self.killed = False

    @property
    def deadline(self) -> float:
        """When SIGKILL is due, monotonic seconds. Whoever seems to be gone already is given the second look."""
        return math.inf if self.kill_at is None or self.killed or self.found_empty else self.kill_at

    def as_state(self) -> dict[str, object]:
        """For a keeper of another version, which this one becomes."""
        plain = {name: getattr(self, name) for name in _STATE}
        return {**plain, "marks": [os.fsdecode(mark) for mark in self.owner.marks], "reaped": self.owner.reaped}

    @classmethod
    def from_state(cls, found: Mapping[str, Any]) -> "KeptInstance":
        """What `as_state` wrote."""
        instance = cls(request_of(found), found["pid"], found["ends"])
        for name in _STATE:
            setattr(instance, name, found[name])
        instance.owner = instance.owner._replace(reaped=found["reaped"])
        return instance

    def as_message(self) -> Instance:
        """As a core is told of it."""
        return Instance(
            id=self.id,
            pid=self.pid,
            started_at=self.started_at,
            state=self.state,
            exit_code=self.exit_code,
            exited_at=self.exited_at,
            gone=self.gone,
            killed=self.killed,
            stopping=self.stopping,
        )


class Tell(Protocol):
    """Tells the core, if there is one that listens."""

    def __call__(self, message: Message, fds: Sequence[int] = (), /) -> None: ...


class Means(NamedTuple):
    """With what instances are started."""

    features: Features
    stdin: int  # what they read
    limits: Limits
    launch_s: float  # how long one may take between fork and exec
    most_fds: int  # of the keeper's own


class Instances:
    """All of one keeper. `poll` is its own: `finish_launches` once a descriptor of it is readable that nobody knows."""

    def __init__(
        self,
        poll: select.poll,
        means: Means,
        *,
        groups: cgroups.Groups | None,
        tell: Tell,
        not_mine: Callable[[int, int], bool],
    ) -> None:
        """`not_mine` is asked first of each status, and takes those of cores: process id, exit code."""
        self._means = means
        self._features = means.features
        self._groups = groups
        self._tell = tell
        self._not_mine = not_mine
        self._instances: dict[str, KeptInstance] = {}
        self._launches = Launches(poll)
        self._controllers: controllers.Controllers | None = None
        self._saw_all = True  # with the last look at the process table
        self._sweep_at: float | None = None
        self._to_signal: list[tuple[KeptInstance, int]] = []

    def inherit(self, states: Iterable[Mapping[str, Any]]) -> None:
        """Those of the keeper that this one was before."""
        self._instances = {each["id"]: KeptInstance.from_state(each) for each in states}
        self._sweep_in(0.0)  # whatever has ended meanwhile

    def bequeath(self) -> list[dict[str, object]]:
        """For the keeper that this one is about to become."""
        self.make_all_known()
        return [instance.as_state() for instance in self]

    def __iter__(self) -> Iterator[KeptInstance]:
        return iter(self._instances.values())

    @property
    def are_gone(self) -> bool:
        """Nothing of any is left."""
        return all(instance.gone for instance in self)

    # --- what is due ------------------------------------------------------------------------------------------------

    def act(self, now: float) -> None:
        """End those whose grace is over, and look again for what could not be told before."""
        for instance, count in self._kill([each for each in self if each.deadline <= now]):
            self._tell(Killed(instance.id, count))
        for request in self._launches.give_up(now):
            self._tell(SpawnFailed(request.id, errno.ETIMEDOUT, "launch"))
        if self._sweep_at is not None and now >= self._sweep_at:
            self._sweep_at = None
            self._settle()

    def due(self) -> float:
        """When `act` has something to do next: monotonic seconds."""
        sweep_at = self._sweep_at if self._sweep_at is not None else math.inf
        return min([self._launches.due(), sweep_at, *(instance.deadline for instance in self)])

    # --- what the core asks -----------------------------------------------------------------------------------------

    def start(self, request: Spawn, fds: list[int]) -> None:
        """Fork it; the core hears of it now or later. One that is there, or on its way, is not started twice.

        Raises ProtocolError for what makes no sense. The descriptors stay the caller's.
        """
        terminal, enclosed = terminal_size(request), inside(request, fds)
        if (instance := self._instances.get(request.id)) is not None:
            self._tell(Spawned(instance.id, instance.pid, instance.started_at), instance.ends)
            return
        if self._launches.holds(request.id):
            return  # whoever asked is told when it is done
        if self._is_full():
            self._tell(SpawnFailed(request.id, errno.EMFILE, "pipe"))
            return
        try:
            forked = fork(
                request.argv,
                env=request.env,
                cwd=request.cwd,
                stdin=self._means.stdin,
                limits=self._means.limits,
                groups=self._make_groups(request),
                features=self._features,
                terminal=terminal,
                own_stdin=request.stdin,
                inside=enclosed,
            )
        except SpawnRefusedError as error:
            self._refused(request, error)
            return
        launch = Launch(request, forked, time.monotonic() + self._means.launch_s)
        if can_tell(forked.report, AT_ONCE_S):
            self._launched(launch)
        else:
            self._launches.add(launch)

    def finish_launches(self) -> None:
        """Those whose outcome is known by now."""
        for launch in self._launches.take_reported():
            self._launched(launch)

    def make_all_known(self) -> None:
        """A core asks for everything: what is on its way is an instance from now on, and its exit tells if it fails.

        To end it and have it started once more would be no better for the program, and run a release command twice.
        """
        self.finish_launches()
        for launch in self._launches.make_known():
            self._instances[launch.request.id] = KeptInstance(launch.request, launch.forked.pid, launch.forked.ends)

    def _launched(self, launch: Launch) -> KeptInstance | None:
        """Of one whose outcome is known; None where it was refused."""
        instance = self._instances.get(launch.request.id)
        if instance is not None and launch.is_known:
            os.close(launch.forked.report)
        elif (error := outcome(launch.forked)) is not None:
            self._refused(launch.request, error)
            return None
        else:
            instance = KeptInstance(launch.request, launch.forked.pid, launch.forked.ends)
            self._instances[instance.id] = instance
        self._tell(Spawned(instance.id, instance.pid, instance.started_at), instance.ends)
        return instance

    def _refused(self, request: Spawn, error: SpawnRefusedError) -> None:
        self._remove_groups(request.id)
        self._tell(SpawnFailed(request.id, error.errno, error.during))

    def _is_full(self) -> bool:
        """Whether another instance would leave too few descriptors: each of them once more, for the next core."""
        held = sum(len(each.ends) for each in self) + self._launches.descriptors
        return 2 * held + SPARE_FDS > self._means.most_fds

    def stop(self, id_: str, number: int, grace_s: float) -> None:
        """Signal it and give it its grace, once `signal_all` is called; nothing where there is none of that id."""
        if (instance := self._instances.get(id_)) is not None:
            self._stop(instance, number, grace_s)

    def stop_all(self) -> None:
        """Each with its own signal and its own grace."""
        for instance in self:
            self._stop(instance, instance.stop_signal, instance.grace_s)
        self.signal_all()

    def hasten(self, number: int) -> None:
        """No grace for any; `number` is what is asked for."""
        for instance in self:
            self._stop(instance, number, 0.0)

    def signal(self, id_: str, number: int) -> None:
        """To every process of it, whatever follows."""
        if (instance := self._instances.get(id_)) is not None and not instance.gone:
            _send(instance, self._members([instance])[id_], number)

    def end_input(self, id_: str) -> None:
        """Whoever reads its stdin shall meet the end of it."""
        if (instance := self._instances.get(id_)) is not None:
            for fd in instance.ends[1:]:
                os.close(fd)
            del instance.ends[1:]

    def set_state(self, id_: str, state: str) -> None:
        """What the next core is to know of it."""
        if (instance := self._instances.get(id_)) is not None:
            instance.state = state

    def forget(self, id_: str) -> None:
        """Its end is written down everywhere; one that is not gone stays."""
        instance = self._instances.get(id_)
        if instance is not None and instance.gone:
            for fd in instance.ends:
                os.close(fd)
            del self._instances[id_]
            self._remove_groups(id_)

    def confine(self, limits: Mapping[str, int]) -> Confined:
        """What all may take together from now on; where the groups are that hold them to it."""
        if self._controllers is None and self._features.cgroup:
            self._controllers = controllers.find(os.getpid(), self._groups)
        if self._controllers is not None:
            self._controllers.limit_all(limits)
        folders = dict(self._controllers.folders) if self._controllers is not None else {}
        if self._groups is not None and self._guards():
            folders[PORTS] = self._groups.root
        return Confined(folders)

    def _guards(self) -> bool:
        """Whether ports of others can be kept from instances: tried with a group for which there is none."""
        assert self._groups is not None  # noqa: S101 (asked by whoever has looked)
        try:
            own_port.guard(self._groups.make(_PROBE), {own_port.OWN: 0, own_port.FIRST: 1, own_port.LAST: 1})
        except OSError:
            return False
        finally:
            self._groups.remove(_PROBE)
        return True

    # --- control groups ---------------------------------------------------------------------------------------------

    def _make_groups(self, request: Spawn) -> list[str]:
        """Without one, as where the machine has too many, the process table tells whose a process is."""
        made: list[str] = []
        try:
            if self._groups is not None:
                made.append(self._groups.make(request.id))
                with contextlib.suppress(OSError):  # where it cannot be had, `confine` has said so
                    own_port.guard(made[0], request.limits or {})
            if self._controllers is not None and request.limits is not None:
                made += self._controllers.make(request.id, request.limits)
        except OSError as error:
            say(f"no control group for an instance: {error}")
        return made

    def _remove_groups(self, id_: str) -> None:
        if self._groups is not None:
            self._groups.remove(id_)
        if self._controllers is not None:
            self._controllers.remove(id_)

    # --- processes --------------------------------------------------------------------------------------------------

    def reap(self) -> None:
        """Take every status there is, and see what follows from it."""
        if self._take_statuses():
            self._settle()

    def _take_statuses(self) -> bool:
        """Take every status there is: of the core, of dynos, of orphans that fell to us; False when there was none."""
        by_pid = {instance.pid: instance for instance in self if instance.exit_code is None}
        taken = False
        left_behind: list[KeptInstance] = []
        for pid, exit_code in self._statuses():
            taken = True
            if self._not_mine(pid, exit_code):
                continue
            instance = by_pid.get(pid)
            if (launch := self._launches.take_ended(pid)) is not None:
                instance = self._launched(launch)
            if instance is not None:
                instance.exit_code = exit_code
                instance.exited_at = time.time()
                instance.owner = instance.owner._replace(reaped=True)
                self._tell(Exited(instance.id, exit_code, instance.exited_at))
                if not instance.stopping:
                    left_behind.append(instance)
            elif (id_ := self._launches.buried(pid)) is not None:
                self._remove_groups(id_)
        self._kill(left_behind)
        return taken

    def _statuses(self) -> Iterable[tuple[int, int]]:
        """Every status there is; whose it is the caller knows. Nobody else in this process waits for children."""
        while True:
            try:
                if self._features.waitid:
                    seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                    pid = seen.si_pid if seen is not None else 0
                    status = os.waitpid(pid, 0)[1] if pid else 0
                else:
                    pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            yield pid, os.waitstatus_to_exitcode(status)

    def _members(self, instances: Iterable[KeptInstance]) -> dict[str, list[int]]:
        """Of the instances that have a control group it knows; of the others the process table."""
        found: dict[str, list[int]] = {}
        owners: dict[str, processes.Owner] = {}
        for instance in instances:
            grouped = self._groups.members(instance.id) if self._groups is not None else None
            if grouped is not None:
                found[instance.id] = grouped
            else:
                owners[instance.id] = instance.owner
        self._saw_all = True
        if owners:
            by_table, self._saw_all = processes.find(owners, keeper=os.getpid(), features=self._features)
            found |= by_table
        return found

    def _is_surely_empty(self, id_: str) -> bool:
        return self._groups is not None and self._groups.is_surely_empty(id_)

    def _stop(self, instance: KeptInstance, number: int, grace_s: float) -> None:
        if instance.gone:
            return
        kill_at = time.monotonic() + grace_s
        if instance.stopping and instance.kill_at is not None:
            instance.kill_at = min(instance.kill_at, kill_at)
            return
        instance.stopping = True
        instance.kill_at = kill_at
        if grace_s > 0:
            self._to_signal.append((instance, number))

    def signal_all(self) -> None:
        """Every process of the instances that are to be stopped; with one look at the process table for all of them."""
        if self._to_signal:
            todo, self._to_signal = self._to_signal, []
            began = time.monotonic()
            self._hold_still(instance for instance, _ in todo)
            members = self._members(instance for instance, _ in todo)
            for instance, number in todo:
                _send(instance, members[instance.id], number)
                if instance.kill_at is not None:  # the grace begins with the signal, however long the look has taken
                    instance.kill_at += time.monotonic() - began
            self._settle()

    def _hold_still(self, instances: Iterable[KeptInstance]) -> None:
        """Who is about to be signalled must not fork on while ps takes its time: the signal sets it going again."""
        if not self._features.proc:
            for instance in instances:
                if instance.exit_code is None:
                    processes.freeze(instance.pid)

    def _kill(self, instances: list[KeptInstance]) -> list[tuple[KeptInstance, int]]:
        """SIGKILL every process of these; returns how many of each there were."""
        if not instances:
            return []
        self._hold_still(instances)
        members = self._members(instances)
        self._sweep_in(SWEEP_S)
        counts = []
        for instance in instances:
            instance.killed = True
            counts.append((instance, len(members[instance.id])))
            self._kill_members(instance, members[instance.id])
        return counts

    def _kill_members(self, instance: KeptInstance, members: list[int]) -> None:
        if self._groups is not None:
            self._groups.kill(instance.id)
        processes.send(members, signal.SIGKILL, leader=instance.pid)

    def _settle(self) -> None:
        """Find out which instances have no process left; go on killing those whose time is over.

        A look at the process table is not made in one moment: of a chain of processes that each fork and exit, it may
        meet none. But then one has ended meanwhile and fallen to us, or is about to. So nothing is gone until a look
        found nothing and nobody has ended during it. What the kernel itself counts needs no such care, and that saves
        the look at every process there is: an end and a new start beside 300 dynos cost 5 ms of CPU, not 20.
        Where orphans fall to others (no subreaper) nothing tells of their ends: there it takes two looks.
        """
        for _ in range(LOOKS):
            open_ones = [each for each in self._instances.values() if each.exit_code is not None and not each.gone]
            if not open_ones:
                return
            members = self._members(open_ones)
            doubtful = any(not members[each.id] and not self._is_surely_empty(each.id) for each in open_ones)
            changes = doubtful and processes.someone_changes(os.getpid(), self._features)
            unsettled = doubtful and self._take_statuses()
            if not unsettled and not changes:
                break
        for instance in open_ones:
            left = members[instance.id]
            sure = not unsettled and self._saw_all
            if not left and sure and (instance.found_empty or self._features.subreaper):
                instance.gone = True
                instance.kill_at = None
                self._tell(Gone(instance.id))
                continue
            instance.found_empty = not left and sure
            if instance.killed:
                self._kill_members(instance, left)
            if instance.killed or unsettled or instance.found_empty:
                self._sweep_in(SWEEP_S)
            elif not self._features.subreaper:
                self._sweep_in(SWEEP_UNTOLD_S)

    def _sweep_in(self, seconds: float) -> None:
        at = time.monotonic() + seconds
        self._sweep_at = at if self._sweep_at is None else min(at, self._sweep_at)

    # --- the end ----------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Nothing outlives the keeper: kill what is left, its orphans included, and take every status."""
        self._launches.give_up()
        while True:
            left = {pid for pids in self._members(self).values() for pid in pids}
            if self._features.subreaper:
                table = processes.table(self._features)
                left.update(process.pid for process in table.values() if process.parent == os.getpid())
            within_reach = [pid for pid in left if processes.signal_one(pid, signal.SIGKILL)]
            for _ in self._statuses():
                pass
            if not within_reach:
                break
            time.sleep(SWEEP_S)  # until nobody is left to be killed: whoever forks meanwhile is found by the next round
        if left:
            say(f"not allowed to end {', '.join(map(str, sorted(left)))}")
        if self._groups is not None:
            self._groups.remove_all()
        if self._controllers is not None:
            self._controllers.remove_all()


def _send(instance: KeptInstance, members: list[int], number: int) -> None:
    """To every process of it that is the dyno's own."""
    if instance.watches:
        processes.send_past(instance.pid, members, number)
    else:
        processes.send(members, number, leader=instance.pid)
