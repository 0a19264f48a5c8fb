"""Lines per second from a dyno of `dynod serve` through the history on disk to drains; and a soak with a dead one.

    python loadtests/log_drains.py [--lines 500000] [--drains 1,5]           how fast numbered lines reach every drain
    python loadtests/log_drains.py --soak MINUTES [--rate 20000]             memory and accounts, at a steady rate

Receivers are syslog over TCP, each a process of its own that only counts (this file with --receiver), so that what is
measured is dynod: CPU is that of its core alone, from /proc. The soak has one drain that takes everything, one that
refuses connections and one that accepts and never reads; at the end, sent + dropped + waiting = produced for each, and
the growth of the core's memory after the first tenth is what matters.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

HERE = Path(__file__).resolve()
LAST = b"the last line of all\n"
LINE = b"line %09d of a dyno that has rather a lot to say just now\n"
PER_WRITE = 1000
SAMPLES_A_LINE = 12  # one a minute is shown
MOST_GROWTH_MB = 16.0  # of the core, after the first tenth of a soak
MOST_PLATFORM_LINES = 100


def child(lines: int, rate: int) -> None:
    """Numbered lines, as fast as they are taken or at a rate, and a last one."""
    start = time.monotonic()
    for first in range(0, lines, PER_WRITE):
        count = min(PER_WRITE, lines - first)
        data = LINE * count % tuple(range(first, first + count))
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]
        if rate:
            time.sleep(max(start + (first + count) / rate - time.monotonic(), 0.0))
    os.write(1, LAST)
    time.sleep(86_400)


def receiver(port: int, reads: bool) -> None:
    """Count what comes; prints a line when the last one has."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        print("ready", flush=True)
        connections = []
        while True:
            connection, _ = listener.accept()
            connections.append(connection)
            end = b""
            while reads and (data := connection.recv(1 << 18)):
                end = (end + data)[-200:]
                if end.endswith(LAST):
                    print("done", flush=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return cast("int", listener.getsockname()[1])


@contextlib.contextmanager
def receivers(count: int, *, reads: bool = True) -> Iterator[list[tuple[int, subprocess.Popen[str]]]]:
    found = []
    try:
        for _ in range(count):
            port = free_port()
            process = subprocess.Popen(
                [sys.executable, str(HERE), "--receiver", str(port), *([] if reads else ["--deaf"])],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            process.stdout.readline()
            found.append((port, process))
        yield found
    finally:
        for _, process in found:
            process.kill()
            process.wait()


class Daemon:
    """A `dynod serve` with one app whose worker is this file's child."""

    def __init__(self, folder: Path, lines: int, rate: int) -> None:
        self.folder = folder
        self.socket = str(folder / "s")
        self.urls: list[str] = []
        app = folder / "shop"
        app.mkdir()
        (app / "Procfile").write_text(f"worker: {sys.executable} {HERE} --child --lines {lines} --rate {rate}\n")
        command = [sys.executable, "-m", "dynod", "serve", "--state", str(folder / "state"), "--socket", self.socket]
        (folder / "dynod.toml").write_text('[container]\nisolation = "none"\n')
        self.process = subprocess.Popen(
            [*command, "--config", str(folder / "dynod.toml"), "--listen", f"127.0.0.1:{free_port()}"],
            stderr=(folder / "said").open("wb"),
        )
        wait_until(lambda: "control socket" in (folder / "said").read_text())
        try:
            self.verb("apps:create", "shop", "--dir", str(app))
        except BaseException:
            self.end()
            raise

    def verb(self, *arguments: str) -> str:
        ended = subprocess.run(
            [sys.executable, "-m", "dynod", *arguments],
            env={**os.environ, "DYNOD_SOCKET": self.socket},
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            raise SystemExit(f"dynod {' '.join(arguments)}: {ended.stderr}{(self.folder / 'said').read_text()}")
        return ended.stdout

    def drains(self) -> list[dict[str, int]]:
        """How each drain does, in the order in which they were added."""
        found = {drain["url"]: drain["dynod"] for drain in json.loads(self.verb("drains", "--json"))}
        return [found[url] | {"url": url} for url in self.urls]

    def add_drain(self, port: int) -> None:
        self.urls.append(f"syslog://127.0.0.1:{port}")
        self.verb("drains:add", self.urls[-1])

    @property
    def core(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        found = [int(pid) for pid in children if b"dynod.daemon" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return found[0]

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.core}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        return int(Path(f"/proc/{self.core}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(90)


def wait_until(holds: Callable[[], object], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit("it takes too long")
        time.sleep(0.05)


@contextlib.contextmanager
def daemon(lines: int, rate: int) -> Iterator[Daemon]:
    folder = Path(tempfile.mkdtemp(prefix="drains-"))
    running = Daemon(folder, lines, rate)
    try:
        yield running
    finally:
        running.end()
        shutil.rmtree(folder)


def throughput(lines: int, counts: list[int]) -> None:
    for count in counts:
        with receivers(count) as listening, daemon(lines, 0) as running:
            for port, _ in listening:
                running.add_drain(port)
            before = running.cpu_s()
            start = time.perf_counter()
            running.verb("ps:scale", "worker=1")
            for _, process in listening:
                assert process.stdout is not None
                process.stdout.readline()
            wall = time.perf_counter() - start
            cpu = running.cpu_s() - before
            dropped = sum(health["dropped"] for health in running.drains())
            print(
                f"{count} drain{'s' if count != 1 else ''}: {lines / wall:10,.0f} lines/s to each, "
                f"{cpu / lines * 1e6:.2f} us of the core's CPU a line, {dropped} dropped, {running.rss_mb():.0f} MB",
                flush=True,
            )


def soak(minutes: float, rate: int) -> None:
    """Exit status 1 where memory goes on growing, or a drain's account does not come out."""
    lines = int(minutes * 60 * rate)
    with receivers(1) as good, receivers(1, reads=False) as deaf, daemon(lines, rate) as running:
        for port in (good[0][0], deaf[0][0], free_port()):
            running.add_drain(port)
        running.verb("ps:scale", "worker=1")
        samples = []
        before, start = running.cpu_s(), time.monotonic()
        end = start + minutes * 60
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(5.0, left))
            samples.append(running.rss_mb())
            if len(samples) % SAMPLES_A_LINE == 1:
                drains = running.drains()
                accounts = ", ".join(f"{d['sent']:,}/{d['dropped']:,}/{d['lag_lines']:,}" for d in drains)
                passed = time.monotonic() - start
                print(f"{passed:6.0f} s  core {samples[-1]:.1f} MB  sent/dropped/waiting {accounts}", flush=True)
        assert good[0][1].stdout is not None
        good[0][1].stdout.readline()
        wait_until(lambda: running.drains()[0]["lag_lines"] == 0)  # its kernel has it; the core is still to notice
        cpu = running.cpu_s() - before
        settled = samples[len(samples) // 10 :]
        print(
            f"core: {settled[0]:.1f} MB after a tenth, {max(settled):.1f} MB at most, {settled[-1]:.1f} MB at the end; "
            f"{cpu / lines * 1e6:.2f} us of its CPU a line"
        )
        faults = []
        if max(settled) - settled[0] > MOST_GROWTH_MB:
            faults.append(f"memory grew by more than {MOST_GROWTH_MB:.0f} MB")
        health = running.drains()
        totals = [each["sent"] + each["dropped"] + each["lag_lines"] for each in health]
        for each, total in zip(health, totals, strict=True):
            print(
                f"{each['url']}: {each['sent']:,} sent, {each['dropped']:,} dropped, "
                f"{each['lag_lines']:,} wait; together {total:,}"
            )
        # The dyno's lines, its last one, and what the platform says: every drain is told of the ones added after it.
        said = totals[0] - lines - 1
        if not 0 < said < MOST_PLATFORM_LINES or totals != [totals[0] - place for place in range(len(totals))]:
            faults.append(f"{lines + 1:,} lines were written, and the accounts do not come out")
        if health[0]["dropped"] or health[0]["lag_lines"]:
            faults.append("the drain that takes everything did not get everything")
        if faults:
            raise SystemExit("; ".join(faults))
        print(f"every account comes out: {lines + 1:,} lines of the dyno and {said} of the platform")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=500_000)
    parser.add_argument("--drains", default="1,5")
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    parser.add_argument("--rate", type=int, default=0)
    parser.add_argument("--receiver", type=int, metavar="PORT")
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--child", action="store_true")
    asked = parser.parse_args()
    if asked.child:
        child(asked.lines, asked.rate)
    elif asked.receiver is not None:
        receiver(asked.receiver, reads=not asked.deaf)
    else:
        print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
        if asked.soak is not None:
            soak(asked.soak, asked.rate or 20_000)
        else:
            throughput(asked.lines, [int(count) for count in asked.drains.split(",")])


if __name__ == "__main__":
    main()
