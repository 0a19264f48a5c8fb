"""A metric with all its series, as of one moment: what the router tells, before anybody has put it into words. Pure.

Flow: router's counters → **metric family** → Prometheus' text, of whoever has the router. Plain tuples: a scrape of
hundreds of dynos has tens of thousands of lines, and an object for each would hold up the loop that makes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

Row = tuple[Sequence[str], float]  # values of the labels, and the number
Bins = tuple[Sequence[str], Sequence[int], float]  # values of the labels, how many in each bucket, sum of all


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFamily:
    """`type` is counter, gauge or histogram; a counter's `name` is without `_total`.

    A histogram has `bins` instead of `rows`: buckets by the upper ends `bounds`, and one above the last.
    """

    name: str
    type: str
    documentation: str
    labels: Sequence[str] = ()
    rows: Sequence[Row] = ()
    bounds: Sequence[float] = ()
    bins: Sequence[Bins] = ()
