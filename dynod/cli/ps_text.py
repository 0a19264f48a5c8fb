"""How dynos and formations read, as Heroku's command line prints them. Pure: objects and the time in, lines out.

Form: heroku/cli `ps`, `ps:scale`, `ps:type`, and `lib/time.ts` for the ages.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from dynod.cli.terminal import header, state
from dynod.platform_api.schema import Dyno, DynoSize, Formation

ONE_OFF: Final = "run"
RELEASE: Final = "release"  # not scaled, so it is not in what `ps:scale` prints to be used again
AGES_UP_TO: Final = timedelta(hours=25)
MINUTE_S: Final = 60
HOUR_S: Final = 3600


def ago(at: datetime, now: datetime) -> str:
    """`2026/01/02 10:00:00 +0000 (~ 5s ago)`, in the time zone of `at`; after 25 hours without the age."""
    text = at.strftime("%Y/%m/%d %H:%M:%S %z")
    age = max(now - at, timedelta())
    if age >= AGES_UP_TO:
        return text
    seconds = int(age.total_seconds())
    if seconds < MINUTE_S:
        return f"{text} (~ {seconds}s ago)"
    if seconds < HOUR_S:
        return f"{text} (~ {seconds // MINUTE_S}m ago)"
    return f"{text} (~ {seconds // HOUR_S}h ago)"


def parse_time(text: str) -> datetime:
    """A time of the API, in this machine's time zone."""
    return datetime.fromisoformat(text).astimezone()


def dyno_lines(dynos: Iterable[Dyno], now: datetime) -> list[str]:
    """What `ps` prints: one-off dynos first, then each process type, numbers in order."""
    one_offs: list[Dyno] = []
    groups: dict[tuple[str, str, str], list[Dyno]] = {}
    for dyno in sorted(dynos, key=lambda dyno: (dyno["type"], _number(dyno))):
        if dyno["type"] == ONE_OFF:
            one_offs.append(dyno)
        else:
            groups.setdefault((dyno["type"], dyno["size"], dyno["command"]), []).append(dyno)
    lines: list[str] = []
    if one_offs:
        lines += [header(f"run: one-off processes ({len(one_offs)})"), ""]
        lines += [f"{each['name']} ({each['size']}): {_state(each, now)}: {each['command']}" for each in one_offs]
        lines.append("")
    for (process_type, size, command), members in groups.items():
        lines += [header(f"{process_type} ({size}): {command} ({len(members)})"), ""]
        lines += [f"{each['name']}: {_state(each, now)}{_other_release(each)}" for each in members]
        lines.append("")
    return lines


def why_lines(dyno: Dyno, now: datetime) -> list[str]:
    """What `ps --why` prints: how a dyno came to its state, oldest first."""
    extras = dyno["dynod"]
    place = [f"{name} {extras[name]}" for name in ("pid", "port") if extras[name] is not None]
    lines = [header(f"{dyno['name']}: {dyno['state']} {ago(parse_time(dyno['updated_at']), now)}"), ""]
    if place:
        lines.append(f"Process: {', '.join(place)}")
    lines.append(f"Command: {dyno['command']}")
    lines.append("")
    lines += [f"{parse_time(entry['at']):%Y/%m/%d %H:%M:%S %z}  {entry['what']}" for entry in extras["why"]]
    return lines


def quantities(formation: Iterable[Formation]) -> str:
    """`web=3:Standard-2X worker=1:Standard-1X`, which `ps:scale` takes back."""
    return " ".join(
        f"{entry['type']}={entry['quantity']}:{entry['size']}"
        for entry in sorted(formation, key=lambda entry: entry["type"])
        if entry["type"] != RELEASE
    )


def now_running(formation: Iterable[Formation]) -> str:
    """`now running web at 3:Standard-2X, worker at 1:Standard-1X`."""
    return "now running " + ", ".join(f"{entry['type']} at {entry['quantity']}:{entry['size']}" for entry in formation)


def size_lines(formation: Sequence[Formation], sizes: Iterable[DynoSize]) -> list[str]:
    """What `ps:type` prints: sizes by process type, and how many dynos there are of each. Nothing costs anything."""
    memory = {size["name"]: f"{size['memory']:g} GB" if size["memory"] else "no quota" for size in sizes}
    types = [entry for entry in sorted(formation, key=lambda entry: entry["type"]) if entry["type"] != RELEASE]
    totals: dict[str, int] = {}
    for entry in types:
        totals[entry["size"]] = totals.get(entry["size"], 0) + entry["quantity"]
    rows = [
        (entry["type"], entry["size"], str(entry["quantity"]), memory.get(entry["size"], "unknown")) for entry in types
    ]
    return [
        header("Process Types"),
        "",
        *_table(("type", "size", "qty", "memory"), rows),
        "",
        header("Dyno Totals"),
        "",
        *_table(("type", "total"), [(size, str(total)) for size, total in totals.items()]),
    ]


def not_up(formation: Iterable[Formation], dynos: Iterable[Dyno]) -> dict[str, str]:
    """The dynos that are wanted and not up, await a restart, or are not of the latest release, with what they are."""
    found = {dyno["name"]: dyno for dyno in dynos}
    missing: dict[str, str] = {}
    for entry in formation:
        for number in range(1, entry["quantity"] + 1):
            name = f"{entry['type']}.{number}"
            dyno = found.get(name)
            if dyno is None:
                missing[name] = "not there yet"
            elif dyno["state"] != "up":
                missing[name] = dyno["state"]
            elif dyno["dynod"]["restarting"]:
                missing[name] = "to be restarted"
            elif dyno["release"]["version"] < dyno["dynod"]["latest_release"]:
                missing[name] = f"of v{dyno['release']['version']}, not v{dyno['dynod']['latest_release']} yet"
            elif dyno["dynod"]["current_release"] < dyno["dynod"]["latest_release"]:
                missing[name] = f"of v{dyno['release']['version']}, which is not live yet"
    return missing


def _table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
    ruler = tuple("─" * width for width in widths)
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (titles, ruler, *rows)
    ]


def _state(dyno: Dyno, now: datetime) -> str:
    return f"{state(dyno['state'])} {ago(parse_time(dyno['updated_at']), now)}"


def _other_release(dyno: Dyno) -> str:
    """That a dyno is not of the release that is live."""
    version, current = dyno["release"]["version"], dyno["dynod"]["current_release"]
    return f" (v{version}, current is v{current})" if version != current and current else ""


def _number(dyno: Dyno) -> int:
    number = dyno["name"].rpartition(".")[2]
    return int(number) if number.isdecimal() else 0
