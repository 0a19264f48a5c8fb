"""An hour of traffic in cells: nothing lost, nothing twice, nothing kept of idle time, and rates of just now."""

from hypothesis import given
from hypothesis import strategies as st

from dynod.core.traffic import BOUNDS_MS, DynoTraffic
from dynod.core.traffic_history import CELL_S, CELLS, HOUR_S, MINUTES, NOTHING, Past, TrafficHistory, sum_of


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


@given(st.lists(st.lists(st.integers(0, 50), min_size=6, max_size=6), min_size=1, max_size=20))
def test_the_history_after_it_draws_each_whole_minute_with_the_rates_that_it_had(
    minutes: list[list[int]],
) -> None:
    """Through as many cores as there are minutes, each of which counts from nothing."""
    now, past, numbers = 0.0, None, [0]
    for minute in minutes:
        history, web = TrafficHistory(now, {}, past), 0
        for more in minute:
            web, now = web + more, now + CELL_S
            history.note(now, {"web.1": counted(web)})
        numbers += [cell.number for cell in history.cells(after=numbers[-1])]
        past = history.past()
    assert past is not None
    assert past.began_at == 0.0
    assert [each.requests for each in past.minutes] == [sum(minute) for minute in minutes if sum(minute)]
    assert numbers == sorted(set(numbers)), "no cell has another's number"
    drawn = list(TrafficHistory(now, {}, past).cells())
    assert len(drawn) == 6 * len(past.minutes)
    assert abs(sum(cell.requests / cell.seconds * CELL_S for cell in drawn) - sum(map(sum, minutes))) < 1e-6
    assert all(cell.ended_at % CELL_S == 0 for cell in drawn)
    assert [cell.ended_at for cell in drawn] == sorted({cell.ended_at for cell in drawn})


def test_a_past_is_as_old_as_an_hour_at_most_and_says_when_it_has_changed() -> None:
    history, changes = TrafficHistory(0.0, {}), 0
    for number in range(1, 2 * CELLS + 1):
        changes += history.note(number * CELL_S, {"web.1": counted(min(number, CELLS + 6))})
    assert changes == MINUTES + 1, "an idle minute is none"
    assert len(history.past().minutes) == 1
    later = TrafficHistory(3 * HOUR_S, {}, Past(began_at=0.0, minutes=history.past().minutes))
    later.note(3 * HOUR_S + CELL_S, {})
    assert list(later.cells()) == []
    assert later.past().minutes == ()
