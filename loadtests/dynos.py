"""Dynos by the hundred, side by side: `dynod up`, supervisord, circus and honcho, alternating in one run.

    python -m loadtests.dynos start   [--dynos 500] [--web] [--rounds 3]   until all are up; CPU of the supervisor
    python -m loadtests.dynos idle    [--dynos 50]  [--seconds 20]         CPU, RSS and PSS while nothing happens
    python -m loadtests.dynos restart [--rounds 5]                         a dyno killed, and an operator's restart
    python -m loadtests.dynos takeover [--dynos 50] [--rounds 5]           the core killed (dynod alone)
    python -m loadtests.dynos rounds  [--times 1000]                       starts and stops; what is left (dynod alone)

    each with [--peers VENV/bin] [--dynod COMMAND] [--beside COMMAND] [--json FILE]

`--peers` is where supervisord, circusd and honcho are installed; without it dynod runs alone. `--beside` is a second
dynod, for a before and an after that saw the same machine: "env PYTHONPATH=/other/tree .venv/bin/python -P -m dynod".

What counts as up is seen from outside and in the same way for all: the dynos' processes are there, or, with `--web`,
each has said that it listens. CPU is the operating system's account (/proc/PID/stat, in ticks of 10 ms) of every
process that the supervisor started and that is no dyno, its helpers and shells included. Wall time on a machine that
does other things at the same time says little; CPU says more. Median (lowest to highest) of the rounds.
"""

import argparse
import contextlib
import http.client
import json
import os
import platform
import re
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loadtests.measured import Figures as Measures
from loadtests.peers.supervisors import REPORTING, SLEEP, Contestant, Make, Work, circus, dynod, honcho, supervisord

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
TIMEOUT_S = 120.0
LOOK_S = 0.05
SETTLE_S = 15.0  # after the last dyno is up, before "idle" begins: what is said of silent dynos has been said
KNOWN_UP = "State changed from starting to up"  # in dynod's output, once for each dyno
DYNO = re.compile(rb"sleep\0|.*reporting_dyno\.py", re.DOTALL)  # at the beginning of a dyno's command line

Figures = dict[str, float]


class ProcessTree:
    """Everything below one process, told apart into the supervisor's own and dynos."""

    def __init__(self, root: int) -> None:
        self.root = root

    def pids(self) -> tuple[list[int], list[int]]:
        """The supervisor's processes, and its dynos."""
        own: list[int] = []
        dynos: list[int] = []
        todo = [self.root]
        while todo:
            pid = todo.pop()
            command = _read(f"/proc/{pid}/cmdline")
            (dynos if DYNO.match(command) else own).append(pid)
            with contextlib.suppress(OSError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    todo += map(int, _read(f"{thread}/children").split())
        return own, dynos

    def usage(self) -> Figures:
        """Of the supervisor alone: CPU seconds so far, its processes, memory in MB, open descriptors."""
        own, dynos = self.pids()
        return {
            "cpu_s": sum(map(cpu_s, own)),
            "processes": len(own),
            "rss_mb": sum(map(rss_mb, own)),
            "pss_mb": sum(map(pss_mb, own)),
            "fds": sum(map(fds, own)),
            "dynos": len(dynos),
        }


def cpu_s(pid: int) -> float:
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS if fields else 0.0


def rss_mb(pid: int) -> float:
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * PAGE / 1e6 if fields else 0.0


def pss_mb(pid: int) -> float:
    found = re.search(rb"^Pss: +(\d+) kB", _read(f"/proc/{pid}/smaps_rollup"), re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def fds(pid: int) -> int:
    with contextlib.suppress(OSError):
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return 0


def _read(path: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(path).read_bytes()
    return b""


class Reports:
    """The datagrams of `reporting_dyno.py`."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])

    def next(self) -> tuple[int, int, float]:
        """Pid and port of the next dyno that lives, and when that was heard."""
        self._socket.settimeout(TIMEOUT_S)
        pid, port = map(int, self._socket.recv(100).split())
        return pid, port, time.perf_counter()

    def forget(self) -> None:
        """Those that have come so far."""
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(100)

    def close(self) -> None:
        self._socket.close()


class Run:
    """One supervisor at work."""

    def __init__(self, make: Make, work: Work, reports: Reports) -> None:
        self.work = work
        self.reports = reports
        self._folder = tempfile.TemporaryDirectory(prefix="dynos-")
        self.folder = Path(self._folder.name)
        self.contestant: Contestant = make(self.folder, work)
        environment = {**_environment(), **self.contestant.environment, "REPORT": str(reports.port)}
        self._out = (self.folder / "out.log").open("wb")
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            self.contestant.start, cwd=self.folder, env=environment, stdout=self._out, stderr=self._out
        )
        self.tree = ProcessTree(self.process.pid)

    def wait_until_up(self) -> float:
        """Seconds from the start until every dyno is there."""
        if self.work.command == REPORTING:
            at = self.began
            for _ in range(self.work.dynos):
                _pid, _port, at = self.reports.next()
            return at - self.began
        wait_for(lambda: len(self.tree.pids()[1]) >= self.work.dynos)
        return time.perf_counter() - self.began

    def output(self) -> str:
        return (self.folder / "out.log").read_text(errors="replace")

    def wait_for_output(self, text: str, times: int) -> None:
        wait_for(lambda: self.output().count(text) >= times)

    def command(self, words: Sequence[str]) -> None:
        done = subprocess.run(words, cwd=self.folder, env=_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{shlex.join(words)}: {done.stdout}{done.stderr}")

    def stop(self) -> float:
        """Ask it to end; returns how many seconds that took. What it leaves behind is ended too."""
        dynos = self.tree.pids()[1]
        began = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        took = time.perf_counter() - began
        for pid in dynos:
            if DYNO.match(_read(f"/proc/{pid}/cmdline")):
                os.kill(pid, signal.SIGKILL)
        self._out.close()
        self._folder.cleanup()
        return took


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("DYNOD_", "PORT"))}


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit("it did not come about in time")
        time.sleep(LOOK_S)


@contextlib.contextmanager
def running(make: Make, work: Work) -> Iterator[Run]:
    reports = Reports()
    run = Run(make, work, reports)
    try:
        yield run
    except BaseException:
        sys.stderr.write(run.output()[-2000:])
        raise
    finally:
        run.stop()
        reports.close()


# --- scenarios --------------------------------------------------------------------------------------------------------


def start(make: Make, given: argparse.Namespace) -> Figures:
    """Until every dyno is up, and what the supervisor has spent by then."""
    with running(make, _work(given)) as run:
        wall_s = run.wait_until_up()
        usage = run.tree.usage()
        figures = {"wall_s": wall_s, "cpu_s": usage["cpu_s"], "rss_mb": usage["rss_mb"], "pss_mb": usage["pss_mb"]}
        if (pair := keeper_and_core(run)) is not None:
            run.wait_for_output(KNOWN_UP, given.dynos)
            figures |= {"known_up_s": time.perf_counter() - run.began}
            figures |= {"keeper_cpu_s": cpu_s(pair[0]), "core_cpu_s": cpu_s(pair[1])}
        return {**figures, "stop_s": run.stop()}


def idle(make: Make, given: argparse.Namespace) -> Figures:
    """CPU as a share of one core, and memory, from a few seconds after the last dyno came up."""
    with running(make, _work(given)) as run:
        run.wait_until_up()
        time.sleep(SETTLE_S)
        before, began = run.tree.usage(), time.perf_counter()
        time.sleep(given.seconds)
        after, seconds = run.tree.usage(), time.perf_counter() - began
        figures = {
            "cpu_percent": 100 * (after["cpu_s"] - before["cpu_s"]) / seconds,
            "rss_mb": after["rss_mb"],
            "pss_mb": after["pss_mb"],
            "processes": after["processes"],
            "fds": after["fds"],
        }
        if (pair := keeper_and_core(run)) is not None:
            for name, pid in zip(("keeper", "core"), pair, strict=True):
                figures |= {f"{name}_rss_mb": rss_mb(pid), f"{name}_pss_mb": pss_mb(pid)}
        return figures


def restart(make: Make, given: argparse.Namespace) -> Figures:
    """One dyno: SIGKILL until its successor lives; and the operator's command, from its start, until that."""
    del given
    with running(make, Work(command=REPORTING, dynos=1)) as run:
        pid, _port, _at = run.reports.next()
        figures = {}
        time.sleep(1.5)
        if run.contestant.restarts_crashed:
            began = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            pid, _port, at = run.reports.next()
            figures["crash_ms"] = 1000 * (at - began)
        if run.contestant.restart is not None:
            time.sleep(1.5)
            began = time.perf_counter()
            run.command(run.contestant.restart)
            _pid, _port, at = run.reports.next()
            figures["operator_ms"] = 1000 * (at - began)
        return figures


def takeover(make: Make, given: argparse.Namespace) -> Figures:
    """From kill -9 of the core to the next answered request, and to the next answer of the API, asked side by side."""
    with running(make, Work(command=REPORTING, dynos=given.dynos, web=True)) as run:
        run.wait_until_up()
        run.wait_for_output(KNOWN_UP, given.dynos)
        port = int(run.contestant.start[run.contestant.start.index("-p") + 1].rpartition(":")[2])
        control = json.loads((run.folder / ".dynod" / "up.json").read_text())["socket"]
        _get(port)
        _dynos(control)
        _keeper, core = keeper_and_core(run) or (0, 0)
        began = time.perf_counter()
        os.kill(core, signal.SIGKILL)

        def until_answered(ask: Callable[[], None]) -> float:
            while True:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    ask()
                    return 1000 * (time.perf_counter() - began)
                time.sleep(0.001)

        with ThreadPoolExecutor(2) as threads:
            request = threads.submit(until_answered, lambda: _get(port))
            api = threads.submit(until_answered, lambda: _dynos(control))
        figures = {"request_ms": request.result(), "api_ms": api.result()}
        _keeper, core = keeper_and_core(run) or (0, 0)
        return {**figures, "core_cpu_ms": 1000 * cpu_s(core), "dynos_kept": len(run.tree.pids()[1])}


def rounds(make: Make, given: argparse.Namespace) -> Figures:
    """Starts and stops, by crashes (a ladder of [0]) and by `ps:scale`, three to one; what is left at three points."""
    with running(make, Work(command=REPORTING, dynos=1)) as run:
        pid, _port, _at = run.reports.next()
        scale = [*run.contestant.start[: run.contestant.start.index("up")], "ps:scale"]
        figures: Figures = {}
        done = 0
        for label, until in (("first", given.times // 20), ("middle", given.times // 2), ("last", given.times)):
            rescaled = (until - done) // 4
            for _ in range(until - done - rescaled):
                os.kill(pid, signal.SIGKILL)
                pid, _port, _at = run.reports.next()
            for _ in range(rescaled):
                run.command([*scale, "worker=0"])
                wait_for(lambda: not run.tree.pids()[1])
                run.command([*scale, "worker=1"])
                pid, _port, _at = run.reports.next()
            done = until
            figures |= {f"{name}_{label}": value for name, value in _left(run).items()}
        return figures


def _left(run: Run) -> Figures:
    """What could grow."""
    time.sleep(2)
    own = run.tree.pids()[0]
    keeper, core = keeper_and_core(run) or (0, 0)
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounts = [Path(line.split()[4]) for line in lines if " - cgroup" in line]
    groups = [each for mount in mounts for each in mount.glob(f"**/dynod-{keeper}/*") if each.is_dir()]
    sockets = Path(json.loads((run.folder / ".dynod" / "up.json").read_text())["socket"]).parent
    return {
        "keeper_rss_mb": rss_mb(keeper),
        "core_rss_mb": rss_mb(core),
        "keeper_fds": fds(keeper),
        "core_fds": fds(core),
        "processes": len(own) + len(run.tree.pids()[1]),
        "control_groups": len(groups),
        "files": len(list(sockets.iterdir())) + len(list((run.folder / ".dynod").rglob("*"))),
    }


def _get(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        if answer.status != 200:
            raise http.client.HTTPException(f"{answer.status}")
        answer.read()
    finally:
        connection.close()


def _dynos(control: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(control)
        sock.sendall(
            b"GET /apps HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Accept: application/vnd.heroku+json; version=3\r\n\r\n"
        )
        if not sock.recv(100).startswith(b"HTTP/1.1 200"):
            raise http.client.HTTPException("no answer")


def keeper_and_core(run: Run) -> tuple[int, int] | None:
    """Their pids, if it is dynod that runs."""
    for pid in run.tree.pids()[0]:
        if b"dynod.daemon" in _read(f"/proc/{pid}/cmdline"):
            return run.process.pid, pid
    return None


def _work(given: argparse.Namespace) -> Work:
    return Work(command=REPORTING if given.web else SLEEP, dynos=given.dynos, web=given.web)


# --- running and reporting --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`alone`: only dynod can do this."""

    run: Callable[[Make, argparse.Namespace], Figures]
    alone: bool = False


SCENARIOS: Mapping[str, Scenario] = {
    "start": Scenario(run=start),
    "idle": Scenario(run=idle),
    "restart": Scenario(run=restart),
    "takeover": Scenario(run=takeover, alone=True),
    "rounds": Scenario(run=rounds, alone=True),
}


def contestants(given: argparse.Namespace) -> dict[str, Make]:
    made = {"dynod": dynod(given.dynod)}
    if given.beside:
        made["beside"] = dynod(given.beside)
    if given.peers is not None and not SCENARIOS[given.scenario].alone:
        made |= {make.__name__: make(given.peers) for make in (supervisord, circus, honcho)}
    return {name: make for name, make in made.items() if not given.only or name in given.only}


def report(results: Mapping[str, Sequence[Figures]]) -> None:
    for name, figures in results.items():
        columns = dict.fromkeys(key for each in figures for key in each)
        texts = []
        for column in columns:
            values = [each[column] for each in figures if column in each]
            spread = f" ({min(values):.4g} to {max(values):.4g})" if len(values) > 1 else ""
            texts.append(f"{column} {statistics.median(values):.4g}{spread}")
        print(f"{name:12} {', '.join(texts)}", flush=True)


def main(arguments: Iterable[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--dynos", type=int, default=50)
    parser.add_argument("--web", action="store_true", help="Python programs that bind PORT, in place of sleep")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--dynod", default=f"{shlex.quote(sys.executable)} -P -m dynod")
    parser.add_argument("--beside", default="")
    parser.add_argument("--only", action="append", help="a contestant's name; may be given several times")
    parser.add_argument("--json", type=Path, help="append the figures to this file")
    given = parser.parse_args(list(arguments))
    print(
        f"$ python -m loadtests.dynos {shlex.join(arguments)}\n{datetime.now(UTC):%F %T} UTC, {platform.platform()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the beginning"
    )
    if given.peers is not None:
        given.peers = given.peers.resolve()
    results: dict[str, list[Figures]] = {}
    makes = contestants(given)
    for _ in range(given.rounds):
        for name, make in makes.items():
            results.setdefault(name, []).append(SCENARIOS[given.scenario].run(make, given))
    report(results)
    kept = Measures()
    scenario = f"{given.dynos} {'web ' if given.web else ''}dynos, {given.scenario}"
    for name, rounds_of in results.items():
        for each in rounds_of:
            for measure, value in each.items():
                what, _, unit = measure.rpartition("_")
                kept.add(scenario, name, what or measure, {"percent": "% of a core"}.get(unit, unit), value)
    kept.append_to(given.json)


if __name__ == "__main__":
    main(sys.argv[1:])
