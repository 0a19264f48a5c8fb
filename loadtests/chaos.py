"""Everything that can go wrong, drawn from a seed, against one `dynod serve` under load; then the losses are counted.

    make chaos CHAOS_ARGS='[--seed N] [--seconds 1800] [--pause 4]'

An app of web and worker dynos, the load of contracts 9 in small, a log drain. Every few seconds one of: a dyno killed,
a dyno stopped for a while (SIGSTOP), the core killed, the drain's receiver gone silent, the disk filled, descriptors of
the router used up, the wall clock stepped, a config var set, the formation changed. The same seed draws the same
faults, with the same pauses; what the machine makes of them is its own. At the end everything is put right again, and
has to come to rest as it was asked for:

- every dyno of the formation is up, the newest release is live, requests are answered;
- nobody was refused a connection but while descriptors were used up; a request failed only for a cause: each fault
  that kills a core or a web dyno may cost those that were in flight;
- every line that a worker has written came to the drain, or is in a count of dropped ones (L10, L12);
- keeper and core have no more descriptors than before, and little more memory.

Uses the tests' own `Serve` and receivers, so it needs their folder on the path.
"""

import argparse
import contextlib
import os
import random
import re
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from loadtests.measured import Figures
from support.app_folder import toy
from support.serve import Serve, ServedApp
from support.small_disk import OnSmallDisk
from support.steady_load import SteadyLoad
from support.stepped_clock import SteppedClock
from support.up import eventually

WEB: Final = 3
WORKERS: Final = 2
CONNECTIONS: Final = 16
DISK_MB: Final = 48
# How long a fault lasts (a drain's receiver, a stopped dyno, a full disk, used up descriptors): that nothing happens
# meanwhile is the fault, so there is nothing to wait for. The next one is up to `--pause` later, drawn from the seed.
SILENT_S: Final = 3.0
MOST_CONNECTIONS: Final = 3000
STEPS: Final = (-86_400, -60, 3600, 7 * 86_400)  # seconds of the wall clock
GROWN_MB: Final = 25.0  # that a core may have grown: caches and buffers, and a history that is longer
REST_S: Final = 120.0  # to come to rest: the crash ladder is the longest part
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


# --- those who count --------------------------------------------------------------------------------------------------


class Reports:
    """What workers say they have written, by instance."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.numbers: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while data := self._socket.recv(200):
            number, _, name = data.decode().partition(" ")
            self.numbers[name] = max(int(number), self.numbers.get(name, 0))


class Collector:
    """A syslog receiver that can go silent: it neither takes connections nor reads."""

    LINE: Final = re.compile(rb"n=(\d+) id=([0-9a-f-]{36})")
    DROPPED: Final = re.compile(rb"Error (L10 \(output buffer overflow\)|L12): (\d+) messages dropped")

    def __init__(self) -> None:
        self.got: dict[str, set[int]] = {}
        self.dropped = 0
        self._speaks = threading.Event()
        self._speaks.set()
        self._done = False
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        self._speaks.clear()
        try:
            yield
        finally:
            self._speaks.set()

    def close(self) -> None:
        self._done = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def missing(self, written: Mapping[str, int]) -> dict[str, int]:
        """By instance: how many of its lines have not come."""
        with self._lock:
            each = {
                name: most - sum(number <= most for number in self.got.get(name, ())) for name, most in written.items()
            }
        return {name: count for name, count in each.items() if count}

    def _accept(self) -> None:
        while not self._done:
            self._speaks.wait()
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._read, args=(connection,), daemon=True)
            thread.start()

    def _read(self, connection: socket.socket) -> None:
        rest = b""
        with connection, contextlib.suppress(OSError):
            while self._speaks.wait() and (data := connection.recv(1 << 16)):
                lines = (rest + data).split(b"\n")
                rest = lines.pop()
                with self._lock:
                    for line in lines:
                        self._take(line)

    def _take(self, line: bytes) -> None:
        if found := self.LINE.search(line):
            self.got.setdefault(found[2].decode(), set()).add(int(found[1]))
        elif dropped := self.DROPPED.search(line):
            self.dropped += int(dropped[2])


# --- faults -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class World:
    """What a fault may touch."""

    serve: Serve
    app: ServedApp
    load: SteadyLoad
    collector: Collector
    rng: random.Random
    clock: SteppedClock | None
    formation: dict[str, int] = field(default_factory=lambda: {"web": WEB, "worker": WORKERS})
    excused: int = 0  # requests that may have failed for what was done
    config: int = 0  # the number that was set and acknowledged last

    def pid_of(self, kinds: str) -> tuple[str, int] | None:
        """A dyno of these types that runs now, drawn."""
        running = sorted((name, pid) for name, pid in self.app.pids().items() if pid and re.match(kinds, name))
        return self.rng.choice(running) if running else None


def kill_dyno(world: World) -> str:
    chosen = world.pid_of("web|worker")
    if chosen is None:
        return "no dyno to kill"
    name, pid = chosen
    world.excused += CONNECTIONS if name.startswith("web") else 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return f"killed {name}"


def stop_dyno(world: World) -> str:
    chosen = world.pid_of("web|worker")
    if chosen is None:
        return "no dyno to stop"
    name, pid = chosen
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(SILENT_S)
        os.kill(pid, signal.SIGCONT)
    return f"stopped {name} for {SILENT_S:g} s"


def kill_core(world: World) -> str:
    core = world.serve.core_pid()
    world.excused += CONNECTIONS
    os.kill(core, signal.SIGKILL)
    world.serve.core_pid(other_than=core)
    return "killed the core"


def silence_drain(world: World) -> str:
    with world.collector.silent():
        time.sleep(SILENT_S)
    return f"the drain's receiver silent for {SILENT_S:g} s"


def fill_disk(world: World) -> str:
    if not isinstance(world.serve, OnSmallDisk):
        return "no disk of our own to fill"
    filler = world.serve.fill()
    time.sleep(SILENT_S)
    filler.unlink()
    return f"the disk full for {SILENT_S:g} s"


def use_up_descriptors(world: World) -> str:
    """Connections that say nothing, as many as the router takes or this process has."""
    with contextlib.ExitStack() as stack:
        count = 0
        with contextlib.suppress(OSError):
            while count < MOST_CONNECTIONS:
                stack.enter_context(socket.create_connection(("127.0.0.1", world.serve.port), 2))
                count += 1
        time.sleep(SILENT_S)
    return f"{count} connections that say nothing for {SILENT_S:g} s"


def step_clock(world: World) -> str:
    if world.clock is None:
        return "no clock to step"
    step = world.rng.choice(STEPS)
    world.clock.set(step)
    return f"the wall clock stepped by {step} s"


def set_config(world: World) -> str:
    number = world.config + 1
    ended = world.serve.dynod("config:set", "-a", world.app.name, f"CHAOS={number}", "--no-wait")
    if ended.returncode == 0:
        world.config = number
        return f"set CHAOS={number}"
    return f"config:set was refused: {ended.stderr.strip()[:100]}"


def scale(world: World) -> str:
    web, workers = world.rng.randint(2, WEB + 1), world.rng.randint(1, WORKERS + 1)
    ended = world.serve.dynod("ps:scale", "-a", world.app.name, f"web={web}", f"worker={workers}")
    if ended.returncode == 0:
        world.formation = {"web": web, "worker": workers}
        return f"scaled to web={web} worker={workers}"
    return f"ps:scale was refused: {ended.stderr.strip()[:100]}"


FAULTS: Final[tuple[Callable[[World], str], ...]] = (
    kill_dyno,
    stop_dyno,
    kill_core,
    silence_drain,
    fill_disk,
    use_up_descriptors,
    step_clock,
    set_config,
    scale,
)


# --- one run ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of it."""

    seed: int
    faults: Counter[str]
    requests: Counter[str]
    excused: int
    written: int
    missing: dict[str, int]
    dropped: int
    dynos_missing: list[str]
    config: tuple[str, str]  # what `config:get` says, and what a dyno was given
    descriptors: tuple[int, int]  # of keeper and core: before, after
    core_mb: tuple[float, float]

    @property
    def failed(self) -> int:
        return self.requests.total() - self.requests["ok"]

    def broken(self) -> list[str]:
        """What did not hold."""
        found = []
        refused = sum(count for outcome, count in self.requests.items() if "ConnectionRefused" in outcome)
        if refused:
            found.append(f"{refused} connections were refused")
        if self.failed > self.excused:
            found.append(f"{self.failed} requests failed, where the faults excuse {self.excused}: {self.requests}")
        if sum(self.missing.values()) > self.dropped:
            found.append(f"lines are missing from the drain, and {self.dropped} said to be dropped: {self.missing}")
        if self.dynos_missing:
            found.append(f"not as was asked for: {self.dynos_missing}")
        if not self.config[0] or self.config[0] != self.config[1]:
            found.append(f"CHAOS is {self.config[0]!r}, and a dyno was given {self.config[1]!r}")
        if self.descriptors[1] > self.descriptors[0] + CONNECTIONS:
            found.append(f"descriptors: {self.descriptors[0]} before, {self.descriptors[1]} after")
        if self.core_mb[1] - self.core_mb[0] > GROWN_MB:
            found.append(f"the core grew from {self.core_mb[0]:.1f} to {self.core_mb[1]:.1f} MB")
        return found

    def __str__(self) -> str:
        lines = [
            f"seed {self.seed}: {self.faults.total()} faults ({', '.join(f'{n} {c}' for n, c in self.faults.items())})",
            f"requests: {self.requests.total()} sent, {self.failed} failed, {self.excused} excused",
            f"lines: {self.written} written, {sum(self.missing.values())} missing, {self.dropped} said to be dropped",
            f"descriptors of keeper and core: {self.descriptors[0]} before, {self.descriptors[1]} after",
            f"RSS of the core: {self.core_mb[0]:.1f} MB before, {self.core_mb[1]:.1f} MB after",
        ]
        return "\n".join([*lines, *(f"BROKEN: {each}" for each in self.broken())])


class Chaos:
    """One run in a folder of its own."""

    def __init__(self, folder: Path, seed: int, *, alone: bool = True) -> None:
        """`alone`: with a file system of its own and a clock that can be stepped, for which root and a compiler are."""
        self._folder = folder
        self.seed = seed
        self._may = alone
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, seconds: float, pause_s: float, *, say: Callable[[str], None] = print) -> Outcome:
        """Draw and do faults for so long; then put everything right and count."""
        rng = random.Random(self.seed)
        collector, reports = Collector(), Reports()
        self._stack.callback(collector.close)
        self._stack.callback(reports.close)
        clock = SteppedClock(self._folder / "clock") if self._may else None
        serve = self._serve(clock)
        app = serve.app(
            self._folder,
            "chaos",
            procfile={"web": f"{toy('web_server')} --counts", "worker": toy("reports_lines")},
            app_json={"env": {"REPORTS": {"value": str(reports.port)}, "CHAOS": {"value": "0"}}},
            quantities={"web": WEB, "worker": 0},
        )
        serve.done("settings:set", "-a", "chaos", "restart=0,0.5,1", "restart_jitter=0", "settle_s=0.5")
        serve.done("drains:add", f"syslog://127.0.0.1:{collector.port}", "-a", "chaos")
        serve.done(
            "ps:scale", f"worker={WORKERS}", "-a", "chaos"
        )  # not before: a drain begins with what comes after it
        app.wait_until_up(*(f"web.{n + 1}" for n in range(WEB)), *(f"worker.{n + 1}" for n in range(WORKERS)))
        load = SteadyLoad(serve.port, "chaos.localhost", seed=self.seed, connections=CONNECTIONS)
        faults: Counter[str] = Counter()
        with load:
            load.wait_for(CONNECTIONS, timeout_s=30)
            before = self._usage(serve)
            world = World(serve=serve, app=app, load=load, collector=collector, rng=rng, clock=clock)
            until = time.monotonic() + seconds
            began = time.monotonic()
            while time.monotonic() < until:
                fault = rng.choice(FAULTS)
                said = fault(world)
                faults[fault.__name__] += 1
                say(f"{time.monotonic() - began:7.1f} s  {said}")
                time.sleep(rng.uniform(0.2, pause_s))
            if clock is not None:
                clock.set(0)
            wrong = self._rest(world)
            written = self._drained(world, reports, wrong)
            after = self._usage(serve)
        ran = serve.dynod("run", "-a", "chaos", "--no-tty", "echo $CHAOS").stdout.strip().splitlines()
        kept = serve.dynod("config:get", "-a", "chaos", "CHAOS").stdout.strip()
        return Outcome(
            seed=self.seed,
            faults=faults,
            requests=load.outcomes,
            excused=world.excused,
            written=sum(written.values()),
            missing=collector.missing(written),
            dropped=collector.dropped,
            dynos_missing=wrong,
            config=(kept, ran[-1] if ran else ""),
            descriptors=(before[0], after[0]),
            core_mb=(before[1], after[1]),
        )

    def _serve(self, clock: SteppedClock | None) -> Serve:
        state = self._folder / "state"
        env = clock.env if clock is not None else {}
        serve = OnSmallDisk(state, size_mb=DISK_MB, env=env) if self._may else Serve(state)
        self._stack.enter_context(serve)
        serve.wait_until_ready()
        return serve

    def _rest(self, world: World) -> list[str]:
        """Wait until the formation is as it was asked for; returns what is not."""
        wanted = {f"{kind}.{n + 1}" for kind, count in world.formation.items() for n in range(count)}

        def settled() -> bool | None:
            with contextlib.closing(world.serve.client) as client:
                statuses = {release["status"] for release in client.releases(world.app.id)}
            return "pending" not in statuses or None

        def as_wanted() -> bool | None:
            states = world.app.states()
            return {name for name, state in states.items() if state == "up"} == wanted == set(states) or None

        try:
            # A release whose dyno was killed while it settled fails, and is undone: that too has to come to its end.
            eventually(settled, what="an end of every release", timeout_s=REST_S)
            eventually(as_wanted, what="the formation that was asked for", timeout_s=REST_S)
            answered = world.load.outcomes["ok"]
            world.load.wait_for(world.load.sent + 2 * CONNECTIONS, timeout_s=REST_S)
        except AssertionError as error:
            return [str(error), str(world.app.states())]
        return [] if world.load.outcomes["ok"] > answered else ["no request is answered"]

    def _drained(self, world: World, reports: Reports, wrong: list[str]) -> dict[str, int]:
        """Wait until what was written so far is at the drain, or said to be dropped; returns what that is."""
        written = dict(reports.numbers)

        def there() -> bool | None:
            return sum(world.collector.missing(written).values()) <= world.collector.dropped or None

        try:
            eventually(there, what="every line at the drain", timeout_s=REST_S)
        except AssertionError as error:
            wrong.append(str(error))
        return written

    def _usage(self, serve: Serve) -> tuple[int, float]:
        """Descriptors of keeper and core together, memory of the core in MB."""
        core = serve.core_pid()
        count = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (serve.pid, core))
        return count, int(Path(f"/proc/{core}/statm").read_text().split()[1]) * PAGE / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--pause", type=float, default=4.0, help="at most so many seconds between two faults")
    parser.add_argument("--json", type=Path, help="append the figures to this file")
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.seconds:g} s, pauses up to {given.pause:g} s", flush=True)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="chaos-") as text, Chaos(Path(text), given.seed) as chaos:
        outcome = chaos.run(given.seconds, given.pause, say=lambda line: print(line, flush=True))
    print(outcome)
    figures = Figures()
    figures.add("chaos", "dynod", "failed beyond the excused", "requests", max(0, outcome.failed - outcome.excused))
    figures.add("chaos", "dynod", "lost", "lines", max(0, sum(outcome.missing.values()) - outcome.dropped))
    figures.append_to(given.json)
    return 1 if outcome.broken() else 0


if __name__ == "__main__":
    sys.exit(main())
