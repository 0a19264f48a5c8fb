"""What a change of configuration costs those who ask meanwhile: one release after the other, under load.

    PYTHONPATH=tests python -m loadtests.changes [--rounds 3] [--seconds 6] [--json FILE]

`dynod serve` with two web dynos, asked one request at a time: with two cores, more would measure the queue for them.
First as it is, then while a config var is set, over and over: each change is a release, each release a new process for
each dyno, booted beside the old one. What the new processes use of the machine while they boot is part of the answer.

Uses the tests' own `Serve`, so it needs their folder on the path.
"""

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final, Self

from loadtests.measured import Figures
from loadtests.router_cpu import load
from loadtests.router_scenes import answered
from support.serve import Serve, ServedApp

ROOT: Final = Path(__file__).parent.parent
SCENE: Final = "requests beside config changes"
CHANGE_TIMEOUT_S: Final = 60.0
LOOK_EVERY_S: Final = 0.02  # whether a release is live yet; the API has nothing to wait on


class Changes:
    """Sets a config var again whenever the release before is live, from `__enter__` to `__exit__`."""

    def __init__(self, serve: Serve, app: ServedApp) -> None:
        self.took_s: list[float] = []
        self._client = serve.client
        self._app = app.name
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._change)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _change(self) -> None:
        number = 0
        while not self._done.is_set():
            number += 1
            began = time.monotonic()
            _, version = self._client.change_config_vars(self._app, {"NUMBER": str(number)})
            assert version is not None
            while self._client.release(self._app, version)["status"] == "pending":
                assert time.monotonic() < began + CHANGE_TIMEOUT_S, f"{version} is not live"
                time.sleep(LOOK_EVERY_S)  # the assertion above ends it
            self.took_s.append(time.monotonic() - began)


def measure(folder: Path, seconds: float, figures: Figures) -> None:
    web = f"cd {ROOT} && exec {sys.executable} -m loadtests.router_scenes --answer"
    with Serve(folder / "state") as serve:
        app = serve.app(folder, "changes", procfile={"web": web}, quantities={"web": 2})
        serve.done("settings:set", "-a", app.name, "settle_s=0.5")
        app.wait_until_up("web.1", "web.2")
        host = f"{app.name}.localhost"
        answered(serve.port, host)
        load(serve.port, "same", 1, 1, folder, host=host)
        _report(figures, "quiet", load(serve.port, "same", seconds, 1, folder, host=host))
        with Changes(serve, app) as changes:
            found = load(serve.port, "same", seconds, 1, folder, host=host)
        _report(figures, "while config vars are set", found)
        figures.add(SCENE, "while config vars are set", "changes", "releases", len(changes.took_s))
        figures.add(SCENE, "while config vars are set", "slowest", "s until live", max(changes.took_s))


def _report(figures: Figures, name: str, found: tuple[int, float, float, float, int]) -> None:
    _requests, rate, p50, p99, failed = found
    figures.add(SCENE, name, "throughput", "requests/s", rate)
    figures.add(SCENE, name, "p50", "ms", p50)
    figures.add(SCENE, name, "p99", "ms", p99)
    figures.add(SCENE, name, "failed", "requests", failed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--json", type=Path, help="append the figures to this file")
    given = parser.parse_args()
    figures = Figures()
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory(prefix="changes-") as text:
            measure(Path(text), given.seconds, figures)
    figures.show()
    figures.append_to(given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
