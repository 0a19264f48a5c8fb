"""How long a person waits for `dynod ps`, and what of it is whose; and for the first line of `dynod up`.

    python -m loadtests.cli_latency [--rounds 40] [--dynos 50] [--python VENV/bin/python] [--imports] [--json FILE]

One `dynod up` with sleeping dynos answers. Alternating in one run, so that all see the same machine: the interpreter
alone, the same with `-I -S` (what no program written in Python can go below), `dynod --version` (the command line, no
daemon asked), `dynod ps`, and `dynod ps` over each of the options of `--beside COMMAND`, words for a shell. Wall time
and CPU (user and system, by wait4) of the whole process; lowest and median, since what others do to the machine only
adds. `--python` is the interpreter of a virtual environment where dynod is installed: from a wheel there is no
editable finder to be imported first. `--imports` prints the costliest imports of `dynod ps`.

`dynod up` to its first line is measured apart, in folders of their own: to "listening on" and to the first dyno's up.
"""

import argparse
import os
import platform
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from loadtests.measured import Figures
from loadtests.peers.supervisors import SLEEP

TIMEOUT_S = 60.0
COSTLIEST = 25
FIRSTS = {
    "listening": b"listening on",
    "first_up": b"starting to up",
    "web_up": b"[web.1]: State changed from starting to up",
}


class Took(NamedTuple):
    """One run of a command: milliseconds."""

    wall_ms: float
    cpu_ms: float


def run(command: Sequence[str], folder: Path) -> Took:
    """Run it to its end, as a shell would. Refuses a command that fails."""
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _pid, status, usage = os.wait4(process.pid, 0)
    wall_ms = 1000 * (time.perf_counter() - began)
    process.returncode = os.waitstatus_to_exitcode(status)  # else subprocess warns of a child that nobody awaited
    if process.returncode:
        raise SystemExit(f"{shlex.join(command)} ended with {process.returncode}")
    return Took(wall_ms, 1000 * (usage.ru_utime + usage.ru_stime))


def imports(command: Sequence[str], folder: Path) -> list[str]:
    """The costliest imports, cumulated, in microseconds (`-X importtime`)."""
    python, *rest = command
    done = subprocess.run([python, "-X", "importtime", *rest], cwd=folder, capture_output=True, text=True, check=True)
    found = re.findall(r"^import time: +(\d+) \| +(\d+) \| ( *\S+)$", done.stderr, re.MULTILINE)
    costliest = sorted(found, key=lambda each: int(each[1]), reverse=True)[:COSTLIEST]
    return [f"{int(cumulated):>8} µs  {name}" for _own, cumulated, name in costliest]


def first_lines(dynod: Sequence[str], port: int) -> dict[str, float]:
    """Milliseconds from `dynod up` to what it says first, and to the first dyno that is up."""
    with tempfile.TemporaryDirectory(prefix="cli-") as name:
        folder = Path(name)
        (folder / "Procfile").write_text(f"worker: {SLEEP}\nweb: {sys.executable} -m http.server $PORT\n")
        began = time.perf_counter()
        process = subprocess.Popen(
            [*dynod, "up", "-p", f"127.0.0.1:{port}", "worker=1", "web=1"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        found: dict[str, float] = {}
        assert process.stdout is not None
        for line in process.stdout:
            now_ms = 1000 * (time.perf_counter() - began)
            for what, text in FIRSTS.items():
                if text in line:
                    found.setdefault(what, now_ms)
            if "web_up" in found:
                break
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        process.wait(TIMEOUT_S)
        return found


def report(name: str, values: Sequence[float], unit: str = "ms") -> None:
    middle = statistics.median(values)
    print(f"{name:44} lowest {min(values):6.1f}  median {middle:6.1f}  highest {max(values):6.1f} {unit}")


def main(arguments: Iterable[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--dynos", type=int, default=50)
    parser.add_argument("--python", default=sys.executable, help="dynod is the one beside it")
    parser.add_argument("--beside", action="append", default=[], help="another command that answers like `dynod ps`")
    parser.add_argument("--imports", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(list(arguments))
    print(
        f"$ python -m loadtests.cli_latency {shlex.join(arguments)}\n{datetime.now(UTC):%F %T} UTC, "
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f} at the beginning"
    )
    dynod = [given.python, str(Path(given.python).with_name("dynod"))]  # as the `dynod` on PATH begins
    commands = {
        "python -I -S -c pass": [given.python, "-I", "-S", "-c", "pass"],
        "python -c pass": [given.python, "-c", "pass"],
        "dynod --version": [*dynod, "--version"],
        "dynod ps": [*dynod, "ps"],
        **{text: shlex.split(text) for text in given.beside},
    }
    taken: dict[str, list[Took]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory(prefix="cli-") as name:
        folder = Path(name)
        (folder / "Procfile").write_text(f"worker: {SLEEP}\n")
        log = folder / "out.log"
        with log.open("wb") as out:
            up = subprocess.Popen([*dynod, "up", f"worker={given.dynos}"], cwd=folder, stdout=out, stderr=out)
        try:
            deadline = time.monotonic() + TIMEOUT_S
            while log.read_text(errors="replace").count("starting to up") < given.dynos:
                if time.monotonic() > deadline:
                    raise SystemExit(log.read_text(errors="replace")[-2000:])
                time.sleep(0.05)
            for _ in range(given.rounds):
                for command_name, command in commands.items():
                    taken[command_name].append(run(command, folder))
            costly = imports(commands["dynod ps"], folder) if given.imports else []
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(TIMEOUT_S)
    for command_name, values in taken.items():
        report(f"{command_name}, wall", [value.wall_ms for value in values])
        report(f"{command_name}, CPU", [value.cpu_ms for value in values])
    starts = [first_lines(dynod, 17_000 + os.getpid() % 1000) for _ in range(max(1, given.rounds // 8))]
    for what in starts[0]:
        report(f"dynod up to {what}, wall", [each[what] for each in starts])
    print("\n".join(costly))
    figures = Figures()
    for command_name, values in taken.items():
        for value in values:
            figures.add("command line", command_name, "wall", "ms", value.wall_ms)
            figures.add("command line", command_name, "cpu", "ms", value.cpu_ms)
    for each in starts:
        for what, wall_ms in each.items():
            figures.add("command line", "dynod up", what, "ms", wall_ms)
    figures.append_to(given.json)


if __name__ == "__main__":
    main(sys.argv[1:])
