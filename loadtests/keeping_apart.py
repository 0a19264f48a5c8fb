"""What a dyno's start costs by how it is kept apart: not at all, by a user of its own, in a container.

    PYTHONPATH=tests python -m loadtests.keeping_apart [--rounds 3] [--dynos 30] [--json FILE]

`dynod serve` with one app of sleeping dynos for each level; as root, on a machine with namespaces: who is not root has
`none` alone measured. Wall time from the wish until every dyno is up, and the CPU of keeper and core; that of the
container's own programs is theirs, and is in the wall time. Memory is what a dyno's processes take, those around it
too, each by its share of what they have in common (PSS).

Uses the tests' own `Serve`, so it needs their folder on the path.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import psutil

from loadtests.measured import Figures
from loadtests.router_cpu import cpu_s
from support.serve import Serve

LEVELS: Final = ("none", "user", "container")
SLEEPS: Final = "sleep 1000000"


def measure(folder: Path, level: str, dynos: int, figures: Figures) -> None:
    folder.chmod(0o755)
    with Serve(folder / "state", isolation=level) as serve:
        app = serve.app(folder, "apart", procfile={"worker": SLEEPS}, quantities={"worker": 0})
        app.scale("worker=1")  # whatever is made once for an app
        app.wait_until_up("worker.1")
        own = [serve.pid, serve.core_pid()]
        before, began = cpu_s(own), time.perf_counter()
        app.scale(f"worker={dynos + 1}")
        app.wait_until_up(*(f"worker.{number}" for number in range(1, dynos + 2)))
        wall, used = time.perf_counter() - began, cpu_s(own) - before
        others = (each.pid for each in psutil.Process(serve.pid).children(recursive=True))
        pss = sum(pss_kb(pid) for pid in others if pid not in own)
    scene = f"{dynos} dynos, kept apart"
    figures.add(scene, level, "start", "ms each", 1000 * wall / dynos)
    figures.add(scene, level, "cpu", "ms each, of dynod's", 1000 * used / dynos)
    figures.add(scene, level, "pss", "KB each", pss / (dynos + 1))


def pss_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1])
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dynos", type=int, default=30)
    parser.add_argument("--json", type=Path, help="append the figures to this file")
    given = parser.parse_args()
    figures = Figures()
    for _ in range(given.rounds):
        for level in LEVELS if os.geteuid() == 0 else LEVELS[:1]:
            with tempfile.TemporaryDirectory(prefix="apart-") as text:
                measure(Path(text), level, given.dynos, figures)
    figures.show()
    figures.append_to(given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
