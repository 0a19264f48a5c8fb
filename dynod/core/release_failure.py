"""Why a release did not go live, in words for people: which dyno, what was said of it, its last lines. Pure."""

from collections.abc import Sequence
from typing import Final

from dynod.core.failure_cause import PREFIX
from dynod.core.log_line import LogBatch

LAST_LINES: Final = 5
LONGEST_LINE: Final = 300  # characters
# What the dyno manager says of every dyno, and explains nothing.
_START: Final = "Starting process with command"
_ROUTINE: Final = (
    "State changed",
    "Starting process",
    "Stopping all",
    "Restarting",
    "Stopping remaining",
    "Stopping process",
)


def explain(name: str, log: Sequence[LogBatch], *, since: float, what: str = "") -> str:
    """The first line says it in short; the last lines that the dyno wrote follow. `since`: seconds since the epoch.

    `what` is known already, instead of what the dyno manager said last.
    """
    said: list[str] = []
    wrote: list[str] = []
    is_started = False
    for batch in log:
        if batch.ps != name or batch.time < since:
            continue
        lines = batch.text.decode("utf-8", "replace").splitlines()
        if batch.source == "heroku":
            if not is_started and any(line.startswith(_START) for line in lines):
                said, wrote, is_started = [], [], True  # what was before is the old process's end
            said += [line for line in lines if not line.startswith(_ROUTINE)]
        else:
            wrote += [line for line in lines if line.strip()]
    causes = [line.removeprefix(PREFIX) for line in said if line.startswith(PREFIX)]
    said = [line for line in said if not line.startswith(PREFIX)]
    reasons = what or "; ".join(dict.fromkeys(_decisive(said, name))) or "it did not stay up"
    last = [line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…" for line in wrote[-LAST_LINES:]]
    cause = f" ({causes[0]})" if causes else ""
    return "\n".join([f"{name}: {reasons}{cause}", *last])


def _decisive(said: Sequence[str], name: str) -> list[str]:
    """Of what was said up to the first exit: later ones are those of the old process, or of a next try."""
    found: list[str] = []
    for line in said:
        if line.startswith((f"{name} goes on with its old process", "Starting again")):
            break
        found.append(line[0].lower() + line[1:] if line.startswith("Process exited") else line.removeprefix(f"{name} "))
        if line.startswith("Process exited"):
            break
    return found
