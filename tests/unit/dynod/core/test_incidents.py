"""One notice when something begins to fail and one when it is over, whatever happens in between."""

from hypothesis import given
from hypothesis import strategies as st

from dynod.core.incidents import CALM, Incidents, Notice, Trouble


def crash_loop(*, for_s: float, every_s: float, up_s: float) -> list[Notice]:
    """A worker that crashes, is up for a while, crashes again; after that it stays up. On virtual time."""
    incidents, told, now = Incidents(), [], 0.0
    while now < for_s:
        notice = incidents.failed("shop", Trouble.CRASHED, "worker.1", "exited with status 1", now)
        told += [notice] if notice is not None else []
        incidents.well("shop", Trouble.CRASHED, "worker.1", now + every_s - up_s)
        now += every_s
        told += incidents.due(now)
    incidents.well("shop", Trouble.CRASHED, "worker.1", now)
    assert incidents.next_due() is not None
    told += incidents.due(now + 599)
    told += incidents.due(now + 600)
    return told


def test_a_worker_that_loops_for_an_hour_sends_two() -> None:
    told = crash_loop(for_s=3600, every_s=10, up_s=9)
    assert [(notice.trouble, notice.recovered) for notice in told] == [
        (Trouble.CRASHED, False),
        (Trouble.CRASHED, True),
    ]
    assert (told[1].times, told[1].since) == (360, 0.0)


@given(
    st.floats(min_value=1, max_value=600, exclude_max=True),
    st.floats(min_value=0, max_value=1),
    st.floats(min_value=1, max_value=20_000),
)
def test_a_loop_of_any_rhythm_sends_two(every_s: float, share_up: float, for_s: float) -> None:
    assert [notice.recovered for notice in crash_loop(for_s=for_s, every_s=every_s, up_s=every_s * share_up)] == [
        False,
        True,
    ]


def test_a_dyno_that_is_down_has_not_recovered() -> None:
    """Back-off may be longer than the calm that is asked for."""
    incidents = Incidents()
    incidents.failed("shop", Trouble.CRASHED, "web.1", "", 0.0)
    assert incidents.next_due() is None
    assert incidents.due(100_000.0) == []


def test_what_is_said_again_and_again_is_over_when_it_is_said_no_more() -> None:
    incidents = Incidents()
    assert incidents.failed("shop", Trouble.MEMORY, "web.1", "R14", 0.0) is not None
    for at in range(20, 400, 20):
        assert incidents.failed("shop", Trouble.MEMORY, "web.1", "R14", at) is None
    assert incidents.next_due() == 380 + CALM[Trouble.MEMORY].after_s
    assert [notice.recovered for notice in incidents.due(980.0)] == [True]


def test_two_dynos_two_apps_and_two_troubles_are_kept_apart() -> None:
    incidents = Incidents()
    for app in ("shop", "blog"):
        for dyno in ("web.1", "web.2"):
            for trouble in (Trouble.CRASHED, Trouble.MEMORY):
                assert incidents.failed(app, trouble, dyno, "", 0.0) is not None
    incidents.gone("shop", "web.1")
    incidents.gone("blog")
    for trouble in Trouble:
        incidents.well("shop", trouble, "web.2", 1.0)
    assert {(n.app, n.subject) for n in incidents.due(10_000.0)} == {("shop", "web.2")}
    assert incidents.next_due() is None


def test_what_comes_back_after_it_was_over_is_told_again() -> None:
    incidents = Incidents()
    for now in (0.0, 5000.0):
        assert incidents.failed("shop", Trouble.RELEASE, "", "v3", now) is not None
        incidents.well("shop", Trouble.RELEASE, "", now + 10)
        assert len(incidents.due(now + 10)) == 1
