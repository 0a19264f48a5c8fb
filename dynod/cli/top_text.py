"""What `dynod top` shows: two looks at apps in, lines of text out. No terminal, no clock."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from dynod.core.log_line import LogBatch
from dynod.core.traffic import BOUNDS_MS, DynoTraffic, quantile_ms
from dynod.platform_api.schema import Stats, StatsDyno, StatsTraffic

_RATES: Final = ("REQ/S", "5XX/S", "IN FL", "P50", "P95", "P99", "CPU", "MEMORY")
TITLES: Final = ("DYNO", "STATE", "UP", "RESTARTS", *_RATES, "LAST")
APP_TITLES: Final = ("APP", "RELEASE", "DYNOS", *_RATES, "LAST")
BLOCKS: Final = "▁▂▃▄▅▆▇█"
MB: Final = 1024 * 1024
# Where there is no room for LAST, in this order.
SPARED: Final = ("P50", "P99", "IN FL", "UP", "RELEASE", "5XX/S", "CPU")
LEAST_LAST: Final = 24  # columns of a terminal, so that it tells something
RIGHT: Final = frozenset({"UP", "RESTARTS", "DYNOS", *_RATES})  # columns that are aligned to the right
NOTHING: Final = DynoTraffic(requests=0, failed=0, buckets=(0,) * (len(BOUNDS_MS) + 1), in_flight=0)
ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")


class Tone(Enum):
    """What a row says at a glance, where there are colours."""

    PLAIN = auto()
    BAD = auto()
    WARN = auto()
    QUIET = auto()
    ASK = auto()


TONES: Final = {"crashed": Tone.BAD, "starting": Tone.WARN, "down": Tone.QUIET}  # of a dyno, by its state


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is shown of one moment. `names` are those of the rows, in their order, and `tones` how they are shown."""

    head: tuple[str, ...]
    titles: str
    rows: tuple[str, ...]
    names: tuple[str, ...]
    tones: tuple[Tone, ...] = ()

    @property
    def lines(self) -> list[str]:
        """All of it as plain text."""
        return [*self.head, "", self.titles, *self.rows]


def of_app(
    now: Stats, before: Stats | None, seconds: float, p95s: Sequence[float | None] = (), *, width: int | None = None
) -> Look:
    """An app's dynos. `before` was `seconds` ago; `p95s` are the whole app's, oldest first.

    `width`: of the terminal, where there is one; columns that matter less are left out of a narrow one.
    """
    rates = _rates(now, before)
    rows = [_dyno_row(dyno, rates[dyno["name"]], seconds) for dyno in now["dynos"]]
    release = f"  v{now['release']}" if now["release"] else ""
    wanted = "  ".join(f"{name}={count}" for name, count in now["formation"].items())
    state = "  MAINTENANCE" if now["maintenance"] else ""
    head = f"{now['app']['name']}{release}  {wanted}  {_whole(_sum(rates.values()), seconds)}{state}"
    spark = sparkline(p95s)
    titles, *table = _aligned(TITLES, rows, width)
    return Look(
        head=(head, f"p95 {spark}") if spark else (head,),
        titles=titles,
        rows=tuple(table),
        names=tuple(dyno["name"] for dyno in now["dynos"]),
        tones=tuple(TONES.get(dyno["state"], Tone.PLAIN) for dyno in now["dynos"]),
    )


def of_apps(now: Sequence[Stats], before: Sequence[Stats], seconds: float, *, width: int | None = None) -> Look:
    """A row for each app; what it was before is found by its id."""
    past = {each["app"]["id"]: each for each in before}
    rates = [_sum(_rates(each, past.get(each["app"]["id"])).values()) for each in now]
    rows = [_app_row(each, rate, seconds) for each, rate in zip(now, rates, strict=True)]
    dynos = sum(len(each["dynos"]) for each in now)
    titles, *table = _aligned(APP_TITLES, rows, width)
    return Look(
        head=(f"{_count(len(now), 'app')}  {_count(dynos, 'dyno')}  {_whole(_sum(rates), seconds)}",),
        titles=titles if now else "No app yet: `dynod apps:create` makes one.",
        rows=tuple(table),
        names=tuple(each["app"]["name"] for each in now),
        tones=tuple(map(_tone, now)),
    )


def whole_p95(now: Stats, before: Stats | None) -> float | None:
    """Of all dynos together, between the two looks."""
    return quantile_ms(_sum(_rates(now, before).values()).buckets, 0.95)


def sparkline(values: Sequence[float | None]) -> str:
    """A blank where nothing was asked."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    most = max(known) or 1.0
    drawn = "".join(" " if value is None else BLOCKS[min(7, int(value / most * 8))] for value in values)
    return f"{drawn} at most {_ms(most)}"


def log_lines(batch: LogBatch, stamp: Callable[[float], str]) -> list[str]:
    """A batch of the log, a line each, with nothing in it that a terminal would act on."""
    prefix = f"{stamp(batch.time)} {batch.source}[{batch.ps}]: "
    text = batch.text.decode("utf-8", "backslashreplace").removesuffix("\n")
    return [prefix + _harmless(line) for line in text.split("\n")]


def _harmless(line: str) -> str:
    plain = ESCAPES.sub("", line).expandtabs(8)
    return "".join(character if character.isprintable() else " " for character in plain)


def _rates(now: Stats, before: Stats | None) -> dict[str, DynoTraffic]:
    """By dyno; "" is what reached none."""

    def by_name(stats: Stats) -> dict[str, StatsTraffic | None]:
        return {"": stats["undelivered"], **{dyno["name"]: dyno["traffic"] for dyno in stats["dynos"]}}

    past = by_name(before) if before is not None else {}
    return {name: _traffic(found).since(_traffic(past.get(name))) for name, found in by_name(now).items()}


def _sum(rates: Iterable[DynoTraffic]) -> DynoTraffic:
    parts = list(rates)
    return DynoTraffic(
        requests=sum(part.requests for part in parts),
        failed=sum(part.failed for part in parts),
        buckets=tuple(map(sum, zip(*(part.buckets for part in (NOTHING, *parts)), strict=True))),
        in_flight=sum(part.in_flight for part in parts),
    )


def _dyno_row(dyno: StatsDyno, traffic: DynoTraffic, seconds: float) -> tuple[str, ...]:
    memory = f"{dyno['memory'] / MB:.0f}M" if dyno["memory"] is not None else ""
    if memory and dyno["quota"]:
        memory += f"/{dyno['quota'] / MB:.0f}M"
    return (
        dyno["name"],
        dyno["state"],
        _ago(dyno["up_s"]),
        str(dyno["restarts"]),
        *_requests(traffic, seconds, served=dyno["traffic"] is not None),
        f"{dyno['cpu_share']:.0%}" if dyno["cpu_share"] is not None else "",
        memory,
        dyno["last"].removeprefix("Cause: "),
    )


def _app_row(stats: Stats, traffic: DynoTraffic, seconds: float) -> tuple[str, ...]:
    dynos = stats["dynos"]
    shares = [dyno["cpu_share"] for dyno in dynos if dyno["cpu_share"] is not None]
    memories = [dyno["memory"] for dyno in dynos if dyno["memory"] is not None]
    crashed = next((dyno for dyno in dynos if dyno["state"] == "crashed"), None)
    last = f"{crashed['name']}: {crashed['last'].removeprefix('Cause: ') or 'crashed'}" if crashed is not None else ""
    return (
        stats["app"]["name"],
        f"v{stats['release']}" if stats["release"] else "",
        f"{sum(dyno['state'] == 'up' for dyno in dynos)}/{len(dynos)} up",
        *_requests(traffic, seconds, served=stats["undelivered"] is not None or any(d["traffic"] for d in dynos)),
        f"{sum(shares):.0%}" if shares else "",
        f"{sum(memories) / MB:.0f}M" if memories else "",
        "maintenance" if stats["maintenance"] else last,
    )


def _tone(stats: Stats) -> Tone:
    """The worst of an app's dynos."""
    tones = {TONES.get(dyno["state"], Tone.PLAIN) for dyno in stats["dynos"]}
    worst = next((tone for tone in (Tone.BAD, Tone.WARN) if tone in tones), Tone.PLAIN)
    return Tone.WARN if stats["maintenance"] and worst is Tone.PLAIN else worst


def _requests(traffic: DynoTraffic, seconds: float, *, served: bool) -> tuple[str, ...]:
    return (
        f"{traffic.requests / seconds:.1f}" if served else "",
        f"{traffic.failed / seconds:.1f}" if served else "",
        str(traffic.in_flight) if served else "",
        *(_ms(quantile_ms(traffic.buckets, share)) for share in (0.5, 0.95, 0.99)),
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _whole(rate: DynoTraffic, seconds: float) -> str:
    failed = f", {rate.failed / seconds:.1f} of them 5xx" if rate.failed else ""
    return f"{rate.requests / seconds:.1f} req/s{failed}"


def _aligned(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """The last column is as long as it is, and has room for its beginning."""
    columns = list(zip(titles, *rows, strict=True))
    widths = {column[0]: max(map(len, column)) for column in columns}
    wanted = dict(widths, LAST=min(widths["LAST"], LEAST_LAST))
    for title in SPARED if width is not None else ():
        if sum(wanted.values()) + 2 * (len(wanted) - 1) > (width or 0):
            wanted.pop(title, None)
    shown = [column for column in columns if column[0] in wanted]
    return [
        "  ".join(
            cell.rjust(widths[title]) if title in RIGHT else cell.ljust(widths[title])
            for (title, *_), cell in zip(shown, row, strict=True)
        ).rstrip()
        for row in zip(*shown, strict=True)
    ]


def _traffic(found: StatsTraffic | None) -> DynoTraffic:
    if found is None:
        return NOTHING
    return DynoTraffic(
        requests=found["requests"],
        failed=found["failed"],
        buckets=tuple(found["buckets"]),
        in_flight=found["in_flight"],
    )


def _ms(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value / 1000:.1f}s" if value >= 1000 else f"{value:.0f}ms"  # noqa: PLR2004 (a second)


def _ago(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days}d{hours % 24}h"
    return f"{hours}h{minutes % 60}m" if hours else f"{minutes}m{int(seconds) % 60}s" if minutes else f"{int(seconds)}s"
