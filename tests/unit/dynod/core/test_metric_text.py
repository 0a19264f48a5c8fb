"""Whatever the figures and labels are, prometheus_client's parsers read from the text what was written into it."""

from collections.abc import Sequence
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_plain

from dynod.core.metric_text import OPENMETRICS, PLAIN, MetricFamily, content_type, written

LABELS = ("app", "dyno")
VALUES = st.tuples(*(st.text(st.characters(exclude_categories=["Cs"]), max_size=8) for _ in LABELS))
NUMBERS = st.one_of(st.integers(0, 2**53), st.floats(0, 1e18))
BOUNDS = (0.001, 0.25, 1, 60)
Sample = tuple[str, frozenset[tuple[str, str]], float]


def samples(families: Sequence[Metric]) -> set[Sample]:
    return {(each.name, frozenset(each.labels.items()), each.value) for family in families for each in family.samples}


def labelled(values: Sequence[str], **more: str) -> frozenset[tuple[str, str]]:
    return frozenset({**dict(zip(LABELS, values, strict=True)), **more}.items())


@given(
    counts=st.dictionaries(VALUES, NUMBERS, max_size=5),
    gauges=st.dictionaries(VALUES, NUMBERS, max_size=5),
    bins=st.dictionaries(
        VALUES, st.tuples(st.lists(st.integers(0, 1000), min_size=5, max_size=5), st.floats(0, 1e9)), max_size=5
    ),
    alone=NUMBERS,
)
def test_what_is_written_can_be_read_in_both_formats(
    counts: dict[Sequence[str], float],
    gauges: dict[Sequence[str], float],
    bins: dict[Sequence[str], tuple[list[int], float]],
    alone: float,
) -> None:
    families = [
        MetricFamily(name="a_seen", type="counter", documentation='of "a"\\b', labels=LABELS, rows=[*counts.items()]),
        MetricFamily(name="b_now", type="gauge", documentation="is now", labels=LABELS, rows=[*gauges.items()]),
        MetricFamily(name="c_alone", type="gauge", documentation="has no labels", rows=[((), alone)]),
        MetricFamily(
            name="d_seconds",
            type="histogram",
            documentation="took so long",
            labels=LABELS,
            bounds=BOUNDS,
            bins=[(values, found, total) for values, (found, total) in bins.items()],
        ),
    ]
    expected: set[Sample] = {("a_seen_total", labelled(values), float(number)) for values, number in counts.items()}
    expected |= {("b_now", labelled(values), float(number)) for values, number in gauges.items()}
    expected.add(("c_alone", frozenset(), float(alone)))
    for values, (found, total) in bins.items():
        ends = [*(str(float(bound)) for bound in BOUNDS), "+Inf"]
        expected |= {
            ("d_seconds_bucket", labelled(values, le=end), float(running))
            for end, running in zip(ends, accumulate(found), strict=True)
        }
        expected |= {
            ("d_seconds_count", labelled(values), float(sum(found))),
            ("d_seconds_sum", labelled(values), total),
        }
    plain = list(read_plain(written(families, PLAIN).decode()))
    strict = list(read_openmetrics(written(families, OPENMETRICS).decode()))  # type: ignore[no-untyped-call] # of the library
    assert samples(plain) == samples(strict) == expected
    assert [(each.name, each.type) for each in strict] == [(each.name, each.type) for each in families]
    assert [each.documentation for each in strict] == [each.documentation for each in families]


def test_openmetrics_is_answered_where_it_is_asked_for() -> None:
    of_prometheus = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    assert content_type(of_prometheus) == OPENMETRICS
    for accept in ("", "*/*", "text/plain;version=0.0.4"):
        assert content_type(accept) == PLAIN
