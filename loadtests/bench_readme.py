"""What README quotes of the last bench: a few rows of results.json, between two marks. Pure text from values.

`make bench` puts them there; a test holds README to them, so that it says nothing else about speed.
"""

from collections.abc import Mapping
from typing import Final

BEGIN: Final = "<!-- make bench writes from here -->"
END: Final = "<!-- to here -->"
QUOTED: Final = (
    "router-cpu-compiled",
    "router-cpu-plain",
    "router-cpu-envoy",
    "router-cpu-caddy",
    "router-cpu-aiohttp",
    "router-latency-4000",
    "router-idle",
    "log-file-honcho",
    "log-file-foreman",
    "ps-wall",
    "start-500",
    "idle-500",
    "keeper-memory",
    "core-memory",
)


def quoted(kept: Mapping[str, object]) -> str:
    """The table, of results.json's document."""
    rows, machine = kept["rows"], kept["machine"]
    assert isinstance(rows, list)
    assert isinstance(machine, Mapping)
    by_id = {row["id"]: row for row in rows}
    lines = [f"Measured at {machine['at']} on {machine['machine']}, Python {machine['Python']}:", ""]
    lines += ["| | dynod | lowest to highest round |", "|---|---|---|"]
    for row in (by_id[name] for name in QUOTED if name in by_id):
        unit = row["unit"]
        lines.append(f"| {row['what']} | {row['figure']:.3g} {unit} | {row['lowest']:.3g} to {row['highest']:.3g} |")
    return "\n".join(lines)


def put_into(readme: str, kept: Mapping[str, object]) -> str:
    """README's text with the present figures. Raises ValueError where the marks are missing."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README has not both {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{quoted(kept)}\n{END}{after}"
