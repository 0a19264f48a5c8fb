"""Two looks at counters, and what they say of the time between them."""

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.traffic import BOUNDS_MS, DynoTraffic, quantile_ms
from router.metrics import BOUNDS_MS as ROUTERS


def traffic(requests: int, times: list[float]) -> DynoTraffic:
    buckets = [0] * (len(BOUNDS_MS) + 1)
    for time in times:
        buckets[bisect_left(BOUNDS_MS, time)] += 1
    return DynoTraffic(requests=requests, failed=0, buckets=tuple(buckets), in_flight=0)


def test_the_bounds_are_the_routers() -> None:
    assert BOUNDS_MS == ROUTERS


def test_only_what_came_since_counts() -> None:
    before, now = traffic(2, [3, 3]), traffic(5, [3, 3, 40, 40, 40])
    since = now.since(before)
    assert (since.requests, sum(since.buckets)) == (3, 3)
    assert now.since(None) == now
    assert before.since(now) == before, "a router that began anew"


@pytest.mark.parametrize(
    ("times", "share", "low", "high"), [([3.0] * 100, 0.5, 2.5, 5), ([3.0] * 99 + [700], 1.0, 500, 1000)]
)
def test_a_quantile_lies_in_its_bucket(times: list[float], share: float, low: float, high: float) -> None:
    found = quantile_ms(traffic(len(times), times).buckets, share)
    assert found is not None
    assert low <= found <= high


@given(st.lists(st.floats(min_value=0, max_value=100_000), min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_quantiles_grow_with_their_share(times: list[float], one: float, other: float) -> None:
    buckets = traffic(len(times), times).buckets
    low, high = sorted((one, other))
    first, second = quantile_ms(buckets, low), quantile_ms(buckets, high)
    assert first is not None
    assert second is not None
    assert first <= second


def test_nothing_has_no_quantile() -> None:
    assert quantile_ms(traffic(0, []).buckets, 0.5) is None
