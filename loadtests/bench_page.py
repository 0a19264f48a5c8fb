"""The report of a bench as one page of HTML with plots in SVG; it needs nothing from outside, and prints well.

Flow: bench → **page** → results/report.html. Pure text from values.
"""

import html
import statistics
from collections.abc import Mapping, Sequence
from typing import Final

from loadtests.measured import Measured

WIDTH: Final = 640
BAR_HEIGHT: Final = 18
LABEL: Final = 230
PLOTTED: Final = ("cpu", "throughput", "p99", "wall", "crash", "operator", "known_up", "pss", "memory")
OURS: Final = ("dynod", "pipeline")
STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #fff; --own: #5b3f9e; --peer: #8a8f98; --line: #d7d7de;
  --good: #1d7a3a; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e7ea; --paper: #16161a; --own: #b39ddb; --peer: #8a8f98;
  --line: #35353c; --good: #6fcf8b; --bad: #ff8a80 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid var(--line); vertical-align: top }
td.n, th.n { text-align: right; white-space: nowrap }
.met { color: var(--good) } .missed { color: var(--bad); font-weight: 600 }
svg { max-width: 100%; height: auto; display: block } svg text { fill: var(--ink); font: 12px system-ui, sans-serif }
.own { fill: var(--own) } .peer { fill: var(--peer) } .spread { stroke: var(--ink); stroke-width: 1 }
.path { fill: none; stroke: var(--own); stroke-width: 2 } .limit { stroke: var(--bad); stroke-dasharray: 4 3 }
h3 { margin-bottom: .25rem } .wide { overflow-x: auto }
"""

Kept = Mapping[str, object]


def page(kept: Kept, figures: Sequence[Measured], earlier: Sequence[Kept]) -> str:
    """`kept`: the results of this run; `earlier`: those of all dated runs, oldest first, this one too."""
    machine = kept["machine"]
    assert isinstance(machine, Mapping)
    told = "; ".join(f"{html.escape(str(name))} {html.escape(str(value))}" for name, value in machine.items())
    parts = [
        "<!doctype html>",
        '<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>dynod, measured</title><style>{STYLE}</style>",
        "<h1>dynod, measured</h1>",
        f"<p>{told}.</p>",
        (
            "<p>All contestants of a scenario alternate in one run on one machine. Ratios are taken round by round: "
            "the median, and the lowest and highest. CPU is what the operating system charges the processes of each."
            "</p>"
        ),
        "<h2>What dynod must reach</h2>",
        _table(_rows(kept, "rows")),
        "<h2>Counted in longer runs</h2>",
        _counted(_rows(kept, "counted")),
        "<h2>Side by side</h2>",
        *_side_by_side(figures),
    ]
    if len(earlier) > 1:
        parts += ["<h2>Over time</h2>", *_over_time(earlier)]
    return "\n".join(parts) + "\n"


def _rows(kept: Kept, name: str) -> list[Mapping[str, object]]:
    rows = kept[name]
    assert isinstance(rows, list)
    return rows


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    lines = [
        (
            '<div class="wide"><table><tr><th>what</th><th class="n">dynod</th><th class="n">peer</th>'
            '<th class="n">figure</th><th class="n">spread</th><th>bar now</th><th class="n">going to</th>'
            "<th>met</th></tr>"
        )
    ]
    for row in rows:
        peer = "" if row["peer"] is None else f"{_number(row['peer'])} {html.escape(str(row['peer_name']))}"
        goal = "" if row["goal"] is None else _number(row["goal"])
        lines.append(
            f'<tr><td>{html.escape(str(row["what"]))}</td><td class="n">{_number(row["dynod"])}</td>'
            f'<td class="n">{peer}</td><td class="n">{_number(row["figure"])} {html.escape(str(row["unit"]))}</td>'
            f'<td class="n">{_number(row["lowest"])} to {_number(row["highest"])}</td>'
            f'<td>{html.escape(str(row["bar"]))}</td><td class="n">{goal}</td><td>{_met(row["met"])}</td></tr>'
        )
    return "\n".join([*lines, "</table></div>"])


def _counted(rows: Sequence[Mapping[str, object]]) -> str:
    lines = [
        (
            '<div class="wide"><table><tr><th>what</th><th class="n">figure</th><th class="n">of</th><th>bar now</th>'
            "<th>met</th><th>log, commit</th></tr>"
        )
    ]
    lines += [
        f'<tr><td>{html.escape(str(row["what"]))}</td><td class="n">{_number(row["figure"])}</td>'
        f'<td class="n">{_number(row["of"])}</td><td>{html.escape(str(row["bar"]))}</td><td>{_met(row["met"])}</td>'
        f"<td>{html.escape(str(row['log']))}, {html.escape(str(row['commit']))}</td></tr>"
        for row in rows
    ]
    return "\n".join([*lines, "</table></div>"])


def _met(met: object) -> str:
    return '<span class="met">yes</span>' if met else '<span class="missed">not met</span>'


def _number(value: object) -> str:
    assert isinstance(value, int | float)
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _side_by_side(figures: Sequence[Measured]) -> list[str]:
    """A plot for each measure of each scenario that more than one has taken part in."""
    parts: list[str] = []
    shown: set[str] = set()
    for first in figures:
        same = [row for row in figures if (row.scenario, row.measure) == (first.scenario, first.measure)]
        title = f"{first.scenario}: {first.measure}"
        if title in shown or first.measure not in PLOTTED or len(same) < 2:
            continue
        shown.add(title)
        parts += [f"<h3>{html.escape(title)}, {html.escape(first.unit)}</h3>", _bars(title, same)]
    return parts


def _bars(title: str, rows: Sequence[Measured]) -> str:
    """Medians, with a line from the lowest to the highest round."""
    most = max(max(row.rounds) for row in rows) or 1.0
    scale = (WIDTH - LABEL - 90) / most
    height = len(rows) * (BAR_HEIGHT + 6)
    lines = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(title)}">']
    for number, row in enumerate(rows):
        y = number * (BAR_HEIGHT + 6)
        middle = statistics.median(row.rounds)
        low, high = (LABEL + scale * max(each, 0.0) for each in (min(row.rounds), max(row.rounds)))
        kind = "own" if row.contestant.startswith(OURS) else "peer"
        lines += [
            f'<text x="{LABEL - 8}" y="{y + 13}" text-anchor="end">{html.escape(row.contestant)}</text>',
            f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{max(scale * middle, 1):.1f}" height="{BAR_HEIGHT}"/>',
            f'<line class="spread" x1="{low:.1f}" x2="{high:.1f}" y1="{y + 9}" y2="{y + 9}"/>',
            f'<text x="{high + 6:.1f}" y="{y + 13}">{_number(middle)}</text>',
        ]
    return "\n".join([*lines, "</svg>"])


def _over_time(earlier: Sequence[Kept]) -> list[str]:
    """The figure of each row, run by run, with its bar."""
    series: dict[str, list[tuple[str, Mapping[str, object]]]] = {}
    for kept in earlier:
        machine = kept["machine"]
        assert isinstance(machine, Mapping)
        for row in _rows(kept, "rows"):
            series.setdefault(str(row["id"]), []).append((str(machine["at"]), row))
    parts = []
    for each in series.values():
        if len(each) > 1:
            last = each[-1][1]
            parts += [f"<h3>{html.escape(str(last['what']))}, {html.escape(str(last['unit']))}</h3>", _line(each)]
    return parts


def _line(points: Sequence[tuple[str, Mapping[str, object]]]) -> str:
    height, left, top = 110, 60, 10
    values = [_float(row["figure"]) for _at, row in points]
    limit = _float(str(points[-1][1]["bar"]).split()[1])
    most = max([*values, limit]) * 1.1 or 1.0
    step = (WIDTH - left - 20) / (len(points) - 1)
    room = height - top - 20

    def y(value: float) -> float:
        return top + room * (1 - value / most)

    path = " ".join(f"{left + step * number:.1f},{y(value):.1f}" for number, value in enumerate(values))
    lines = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(str(points[-1][1]["what"]))}">',
        f'<line class="limit" x1="{left}" x2="{WIDTH - 20}" y1="{y(limit):.1f}" y2="{y(limit):.1f}"/>',
        f'<text x="{left - 6}" y="{y(limit) + 4:.1f}" text-anchor="end">{_number(limit)}</text>',
        f'<polyline class="path" points="{path}"/>',
        f'<text x="{left}" y="{height - 4}">{html.escape(points[0][0])}</text>',
        f'<text x="{WIDTH - 20}" y="{height - 4}" text-anchor="end">{html.escape(points[-1][0])}</text>',
    ]
    return "\n".join([*lines, "</svg>"])


def _float(value: object) -> float:
    return float(str(value))
