"""An hour of traffic in cells: nothing lost, nothing twice, nothing kept of idle time, and rates of just now."""

from hypothesis import given
from hypothesis import strategies as st

from dynod.core.traffic import BOUNDS_MS, DynoTraffic
from dynod.core.traffic_history import CELL_S, CELLS, HOUR_S, NOTHING, TrafficHistory, sum_of


def counted(requests: int, failed: int = 0, in_flight: int = 0) -> DynoTraffic:
    buckets = (0, 0, 0, requests, *(0,) * (len(BOUNDS_MS) - 3))
    return DynoTraffic(requests=requests, failed=failed, buckets=buckets, in_flight=in_flight)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=60))
def test_what_passes_is_in_exactly_one_cell(steps: list[tuple[int, int]]) -> None:
    history, web, none, now = TrafficHistory(0.0, {}), 0, 0, 0.0
    for more, strays in steps:
        web, none, now = web + more, none + strays, now + CELL_S
        history.note(now, {"web.1": counted(web), "": counted(none, none)})
    cells = list(history.cells())
    assert sum(cell.requests for cell in cells) == web + none
    assert sum(cell.failed for cell in cells) == none
    assert [cell.number for cell in cells] == [n for n, step in enumerate(steps, 1) if sum(step)]
    for cell in cells:
        assert list(history.cells(after=cell.number)) == [each for each in cells if each.number > cell.number]


def test_an_idle_hour_leaves_nothing() -> None:
    history = TrafficHistory(0.0, {})
    for number in range(1, CELLS + 2):
        history.note(number * CELL_S, {"web.1": counted(min(number, 5))})
    assert list(history.cells()) == [cell for cell in history.cells() if cell.ended_at > CELL_S]
    history.note(HOUR_S * 2 + CELL_S, {"web.1": counted(6)})
    assert [(cell.requests, cell.seconds) for cell in history.cells()] == [(1, HOUR_S)], "a late look says how late"


def test_recent_is_what_came_since_the_last_look_but_one() -> None:
    history = TrafficHistory(0.0, {"web.1": counted(100)})
    assert history.recent(0.0, {"web.1": counted(101)}).seconds == 1.0, "a rate over no time is none"
    history.note(10.0, {"web.1": counted(110)})
    history.note(20.0, {"web.1": counted(130), "web.2": counted(7)})
    recent = history.recent(25.0, {"web.1": counted(140, in_flight=2), "web.2": counted(9, in_flight=1)})
    assert recent.seconds == 15.0
    assert recent.by_dyno["web.1"].requests == 30
    assert recent.by_dyno["web.2"].requests == 9
    assert (recent.whole.requests, recent.whole.in_flight) == (39, 3)


def test_a_router_that_counts_from_nothing_again_has_no_negative_rates() -> None:
    history = TrafficHistory(0.0, {"web.1": counted(1000)})
    history.note(10.0, {"web.1": counted(3)})
    assert [cell.requests for cell in history.cells()] == [3]
    assert sum_of({}) == NOTHING
