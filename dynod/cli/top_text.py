"""What `dynod top` shows: two looks at an app in, lines of text out. No terminal, no clock."""

from collections.abc import Iterable, Sequence
from typing import Final

from dynod.core.traffic import DynoTraffic, quantile_ms
from dynod.platform_api.schema import Stats, StatsDyno, StatsTraffic

TITLES: Final = (
    "DYNO",
    "STATE",
    "UP",
    "RESTARTS",
    "REQ/S",
    "5XX/S",
    "IN FL",
    "P50",
    "P95",
    "P99",
    "CPU",
    "MEMORY",
    "LAST",
)
BLOCKS: Final = "▁▂▃▄▅▆▇█"
MB: Final = 1024 * 1024
NUMBERS: Final = range(2, 12)  # columns that are aligned to the right


def lines(
    now: Stats, before: Stats | None, seconds: float, *, width: int, p95s: Sequence[float | None] = ()
) -> list[str]:
    """A head, and a table of dynos. `before` was `seconds` ago; `p95s` are the whole app's, oldest first."""
    past = {dyno["name"]: _traffic(dyno["traffic"]) for dyno in before["dynos"]} if before is not None else {}
    rates = {dyno["name"]: _traffic(dyno["traffic"]).since(past.get(dyno["name"])) for dyno in now["dynos"]}
    rows = [_row(dyno, rates[dyno["name"]], seconds) for dyno in now["dynos"]]
    widths = [max(map(len, column)) for column in zip(TITLES, *rows, strict=True)]
    table = [_aligned(row, widths) for row in (TITLES, *rows)]
    release = f"  v{now['release']}" if now["release"] else ""
    wanted = "  ".join(f"{name}={count}" for name, count in now["formation"].items())
    state = "  MAINTENANCE" if now["maintenance"] else ""
    head = f"{now['app']['name']}{release}  {wanted}  {_whole(rates.values(), seconds)}{state}"
    spark = sparkline(p95s)
    return [line[:width] for line in (head, *([f"p95 {spark}"] if spark else []), "", *table)]


def whole_p95(now: Stats, before: Stats | None) -> float | None:
    """Of all dynos together, between the two looks."""
    past = {dyno["name"]: _traffic(dyno["traffic"]) for dyno in before["dynos"]} if before is not None else {}
    all_buckets = [_traffic(dyno["traffic"]).since(past.get(dyno["name"])).buckets for dyno in now["dynos"]]
    return quantile_ms([sum(each) for each in zip(*all_buckets, strict=True)], 0.95) if all_buckets else None


def sparkline(values: Sequence[float | None]) -> str:
    """A blank where nothing was asked."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    most = max(known) or 1.0
    drawn = "".join(" " if value is None else BLOCKS[min(7, int(value / most * 8))] for value in values)
    return f"{drawn} at most {_ms(most)}"


def _row(dyno: StatsDyno, traffic: DynoTraffic, seconds: float) -> tuple[str, ...]:
    memory = f"{dyno['memory'] / MB:.0f}M" if dyno["memory"] is not None else ""
    if memory and dyno["quota"]:
        memory += f"/{dyno['quota'] / MB:.0f}M"
    served = dyno["traffic"] is not None
    return (
        dyno["name"],
        dyno["state"],
        _ago(dyno["up_s"]),
        str(dyno["restarts"]),
        f"{traffic.requests / seconds:.1f}" if served else "",
        f"{traffic.failed / seconds:.1f}" if served else "",
        str(traffic.in_flight) if served else "",
        *(_ms(quantile_ms(traffic.buckets, share)) for share in (0.5, 0.95, 0.99)),
        f"{dyno['cpu_share']:.0%}" if dyno["cpu_share"] is not None else "",
        memory,
        dyno["last"].removeprefix("Cause: "),
    )


def _whole(rates: Iterable[DynoTraffic], seconds: float) -> str:
    return f"{sum(rate.requests for rate in rates) / seconds:.1f} req/s"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.rjust(width) if column in NUMBERS else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _traffic(found: StatsTraffic | None) -> DynoTraffic:
    if found is None:
        return DynoTraffic(requests=0, failed=0, buckets=(0,) * 16, in_flight=0)
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
