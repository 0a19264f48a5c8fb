"""What a load test hands on to whoever compares: figures by contestant, and the machine that they were had on.

Every scenario prints for people and, with `--json FILE`, appends its figures to that file, an object a line. `bench`
reads them. Nothing here measures.
"""

import json
import os
import platform
import re
import shutil
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One figure of one contestant, once for each round; the rounds of all contestants alternate in one run."""

    scenario: str  # "router cpu varied"
    contestant: str  # "dynod-router", "nginx"
    measure: str  # "cpu"
    unit: str  # "µs/request"
    rounds: tuple[float, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.scenario, self.contestant, self.measure

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)


class Figures:
    """Collects figures round by round."""

    def __init__(self) -> None:
        self._rounds: dict[tuple[str, str, str, str], list[float]] = {}

    def add(self, scenario: str, contestant: str, measure: str, unit: str, value: float) -> None:
        self._rounds.setdefault((scenario, contestant, measure, unit), []).append(value)

    def rows(self) -> list[Measured]:
        return [
            Measured(scenario=scenario, contestant=contestant, measure=measure, unit=unit, rounds=tuple(rounds))
            for (scenario, contestant, measure, unit), rounds in self._rounds.items()
        ]

    def show(self) -> None:
        """For people: a line for each figure, with the spread of its rounds."""
        for row in self.rows():
            spread = f" ({min(row.rounds):.4g} to {max(row.rounds):.4g})" if len(row.rounds) > 1 else ""
            print(f"{row.scenario:38} {row.contestant:25} {row.measure:13} {row.median:.4g}{spread} {row.unit}")

    def append_to(self, path: Path | None) -> None:
        """To a file, if one was asked for."""
        if path is not None:
            with path.open("a") as file:
                file.writelines(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in self.rows())


def read(path: Path) -> list[Measured]:
    """What scenarios have appended."""
    if not path.exists():
        return []
    return [from_json(json.loads(line)) for line in path.read_text().splitlines()]


def from_json(value: Mapping[str, object]) -> Measured:
    rounds = value["rounds"]
    assert isinstance(rounds, Sequence)
    return Measured(
        scenario=str(value["scenario"]),
        contestant=str(value["contestant"]),
        measure=str(value["measure"]),
        unit=str(value["unit"]),
        rounds=tuple(map(float, rounds)),
    )


def describe_machine(programs: Iterable[Sequence[str]] = ()) -> dict[str, str]:
    """Where and with what: for the head of a report. `programs`: commands that print their version."""
    told = {
        "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": _first_line(["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_cpu_model()}",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "load at the beginning": f"{os.getloadavg()[0]:.1f}",
    }
    for command in programs:
        if shutil.which(command[0]):
            told[Path(command[0]).name] = _version(_first_line(command))
    return told


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), "?")


def _version(line: str) -> str:
    """The version in what a program says of itself; the line where there is none."""
    found = re.search(r"\d+(?:\.\d+)+[-+~.\w]*", line)
    return found[0] if found else line


def _first_line(command: Sequence[str]) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    text = (ran.stdout or ran.stderr).strip()
    return text.splitlines()[0] if text else "?"
