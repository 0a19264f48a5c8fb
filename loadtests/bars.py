"""The numbers that dynod must reach, as a table, and how each follows from what was measured. Pure.

A bar is a ratio to a peer of the same run, wherever there is a peer: two machines, or one machine at two times, agree
on ratios and on nothing else. It is taken round by round, so that its spread says how far this machine can be believed.
Some bars are counts (nothing failed, nothing lost): their runs take longer than a bench may, so the figure is quoted
from the dated log of that run (`COUNTED`), and says so.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from loadtests.measured import Measured

Key = tuple[str, str, str]  # scenario, contestant, measure
Measurements = Mapping[Key, Measured]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One line. With a `peer` the figure is dynod's over the peer's, else dynod's own in `unit`."""

    id: str
    what: str
    scenario: str
    measure: str
    subject: str
    peer: str | None = None
    less: str | None = None  # a contestant whose figure is taken off both first: what the generator itself costs
    unit: str = "times"
    at_most: float | None = None
    at_least: float | None = None
    goal: float | None = None  # where we are going


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A bar as it was found."""

    id: str
    what: str
    unit: str
    figure: float
    lowest: float
    highest: float
    dynod: float
    peer_name: str | None
    peer: float | None
    bar: str
    met: bool
    goal: float | None


VARIED = "router cpu, varied heads"
COMPILED = "dynod-router"
PLAIN = "dynod-router in plain Python"
TO_FILE = "log lines to a file"
TO_PIPE = "log lines to a pipe"

BARS: Sequence[Bar] = (
    Bar(
        id="router-cpu-plain",
        what="router, CPU a request, plain Python, against nginx",
        scenario=VARIED,
        measure="cpu",
        subject=PLAIN,
        peer="nginx",
        at_most=1.8,
        goal=0.9,
    ),
    Bar(
        id="router-cpu-compiled",
        what="router, CPU a request, compiled head module, against nginx",
        scenario=VARIED,
        measure="cpu",
        subject=COMPILED,
        peer="nginx",
        at_most=1.2,
        goal=0.9,
    ),
    *(
        Bar(
            id=f"router-cpu-{peer}",
            what=f"router, CPU a request, against {name}",
            scenario=VARIED,
            measure="cpu",
            subject=COMPILED,
            peer=peer,
            at_most=bar,
            goal=goal,
        )
        for peer, name, bar, goal in (
            ("envoy", "Envoy", 0.6, 0.25),
            ("caddy", "Caddy", 0.4, 0.15),
            ("aiohttp", "an aiohttp client+server proxy", 0.25, 0.1),
        )
    ),
    *(
        Bar(
            id=f"router-latency-{rate}",
            what=f"router, added p99 at {rate} requests/s, against HAProxy's",
            scenario=f"router latency, 26 B at {rate}/s",
            measure="p99",
            subject=COMPILED,
            peer="haproxy",
            less="no proxy",
            at_most=3.0,
            goal=1.2,
        )
        for rate in (1000, 4000)
    ),
    *(
        Bar(
            id=f"router-body-{method.lower()}",
            what=f"router, {method} of 1 GiB, throughput against nginx",
            scenario=f"router body, {method} of 1024 MB",
            measure="throughput",
            subject=COMPILED,
            peer="nginx",
            at_least=0.7,
            goal=1.0,
        )
        for method in ("GET", "POST")
    ),
    *(
        Bar(
            id=f"router-body-memory-{method.lower()}",
            what=f"router, memory grown by a {method} of 1 GiB",
            scenario=f"router body, {method} of 1024 MB",
            measure="memory grown",
            subject=COMPILED,
            unit="MB",
            at_most=8.0,
        )
        for method in ("GET", "POST")
    ),
    Bar(
        id="router-idle",
        what="router, memory of an idle keep-alive connection, of 10,000",
        scenario="router idle, 10000 connections",
        measure="memory",
        subject=COMPILED,
        unit="KB",
        at_most=12.0,
        goal=6.0,
    ),
    *(
        Bar(
            id=f"log-{target}-{peer}",
            what=f"log lines to a {target}, lines/s against {peer}",
            scenario=scenario,
            measure="throughput",
            subject="dynod up",
            peer=peer,
            at_least=bar,
        )
        for target, scenario in (("file", TO_FILE), ("pipe", TO_PIPE))
        for peer, bar in (("honcho", 10.0), ("foreman", 5.0))
    ),
    Bar(
        id="ps-wall",
        what="dynod ps, wall time, 50 dynos",
        scenario="command line",
        measure="wall",
        subject="dynod ps",
        unit="ms",
        at_most=100.0,
        goal=60.0,
    ),
    Bar(
        id="keeper-memory",
        what="keeper, RSS with 50 dynos",
        scenario="50 dynos, idle",
        measure="keeper_rss",
        subject="dynod",
        unit="MB",
        at_most=14.0,
        goal=7.0,
    ),
    Bar(
        id="core-memory",
        what="core, RSS with 50 dynos",
        scenario="50 dynos, idle",
        measure="core_rss",
        subject="dynod",
        unit="MB",
        at_most=70.0,
        goal=35.0,
    ),
    Bar(
        id="start-500",
        what="500 dynos started, until dynod knows all of them up",
        scenario="500 dynos, start",
        measure="known_up",
        subject="dynod",
        unit="s",
        at_most=10.0,
        goal=4.0,
    ),
    Bar(
        id="idle-500",
        what="500 dynos, CPU while nothing happens",
        scenario="500 dynos, idle",
        measure="cpu",
        subject="dynod",
        unit="% of a core",
        at_most=2.0,
        goal=0.5,
    ),
)


def judge(bar: Bar, measured: Measurements) -> Row | None:
    """The bar's row; None where something that it compares was not measured."""
    own = measured.get((bar.scenario, bar.subject, bar.measure))
    peer = measured.get((bar.scenario, bar.peer, bar.measure)) if bar.peer else None
    less = measured.get((bar.scenario, bar.less, bar.measure)) if bar.less else None
    if own is None or (bar.peer and peer is None) or (bar.less and less is None):
        return None
    if less is not None and peer is not None:
        # Differences of two p99s are mostly the machine's noise; what it cannot hide is the quietest round of each.
        figure, dynod, other = _added(own.rounds, peer.rounds, less.rounds)
        ratios = [figure, *_with_one_left_out(own.rounds, peer.rounds, less.rounds)]
    elif peer is not None:
        ratios = [mine / others for mine, others in zip(own.rounds, peer.rounds, strict=False)]
        dynod, other, figure = own.median, peer.median, statistics.median(ratios)
    else:
        ratios = list(own.rounds)
        dynod, other, figure = own.median, None, own.median
    return Row(
        id=bar.id,
        what=bar.what,
        unit=bar.unit,
        figure=round(figure, 3),
        lowest=round(min(ratios), 3),
        highest=round(max(ratios), 3),
        dynod=round(dynod, 3),
        peer_name=bar.peer,
        peer=None if other is None else round(other, 3),
        bar=_bar_text(bar),
        met=(bar.at_most is None or figure <= bar.at_most) and (bar.at_least is None or figure >= bar.at_least),
        goal=bar.goal,
    )


def _added(own: Sequence[float], peer: Sequence[float], bare: Sequence[float]) -> tuple[float, float, float]:
    """The ratio of what each adds to the bare figure in its quietest round, and the two that it is of."""
    mine, others = min(own) - min(bare), min(peer) - min(bare)
    return mine / max(others, 1e-3), mine, others


def _with_one_left_out(*rounds: Sequence[float]) -> Iterator[float]:
    """The ratio without each of the rounds: how far it hangs on one of them."""
    count = min(map(len, rounds))
    for left_out in range(count if count > 1 else 0):
        own, peer, bare = ([*each[:left_out], *each[left_out + 1 :]] for each in rounds)
        yield _added(own, peer, bare)[0]


def judge_all(rows: Sequence[Measured]) -> list[Row]:
    """Every bar for which there are figures, in the table's order."""
    measured = {row.key: row for row in rows}
    return [row for bar in BARS if (row := judge(bar, measured)) is not None]


def agrees(before: Row, now: Row) -> bool:
    """Whether two runs say the same: their spreads, each a tenth wider than found, meet."""
    return now.lowest * 0.9 <= before.highest * 1.1 and before.lowest * 0.9 <= now.highest * 1.1


def _bar_text(bar: Bar) -> str:
    if bar.at_most is not None:
        return f"≤ {bar.at_most:g} {bar.unit}"
    return f"≥ {bar.at_least:g} {bar.unit}"
