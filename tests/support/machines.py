"""The state machines of dynos and cores as the diagrams that ARCHITECTURE.md shows.

`python tests/support/machines.py` writes them into it again; a test says when that is due.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from dynod.core.dyno import INSTANCE_TRANSITIONS, SLOT_TRANSITIONS
from dynod.keeper.succession import TRANSITIONS as CORE_TRANSITIONS

ARCHITECTURE: Final = Path(__file__).resolve().parents[2] / "ARCHITECTURE.md"
MACHINES: Final = ("dyno", "core")


State = TypeVar("State", bound=StrEnum)
Event = TypeVar("Event", bound=StrEnum)


def diagram(title: str, transitions: Mapping[tuple[State, Event], State]) -> str:
    """A machine as text: from each state, what happens and where that leads."""
    states = dict.fromkeys(state for state, _ in transitions)
    rows = [f"{title}", ""]
    for state in states:
        moves = [f"{event} → {after}" for (before, event), after in transitions.items() if before is state]
        rows.append(f"    {state:<10} {', '.join(moves)}")
    final = dict.fromkeys(after for after in transitions.values() if after not in states)
    rows += [f"    {state:<10} (the end)" for state in final]
    return "\n".join(rows)


def section(machine: str) -> str:
    """What stands between the marks of a machine."""
    if machine == "core":
        return f"{diagram('A core:', CORE_TRANSITIONS)}\n"
    slot = diagram("The slot, `web.1`:", SLOT_TRANSITIONS)
    instance = diagram("The instance, one run of it:", INSTANCE_TRANSITIONS)
    return f"{slot}\n\n{instance}\n"


def _between(machine: str) -> re.Pattern[str]:
    begin, end = f"<!-- generated: {machine} machine -->\n", f"<!-- end of generated: {machine} machine -->"
    return re.compile(f"(?<={re.escape(begin)}).*?(?={re.escape(end)})", re.DOTALL)


def written(machine: str) -> str:
    """What ARCHITECTURE.md has there now."""
    found = _between(machine).search(ARCHITECTURE.read_text(encoding="utf-8"))
    assert found, f"ARCHITECTURE.md has lost the marks of its generated section on the {machine}"
    return found[0]


if __name__ == "__main__":
    text = ARCHITECTURE.read_text(encoding="utf-8")
    for each in MACHINES:
        text = _between(each).sub(lambda _, each=each: section(each), text)  # type: ignore[misc]  # of a loop variable
    ARCHITECTURE.write_text(text, encoding="utf-8")
