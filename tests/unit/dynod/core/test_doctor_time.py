"""The doctor's time: however many waits there are, together they last no longer; what was cut is known to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.doctor_time import LEAST_S, OutOfTimeError, TimeLeft

WAITS = st.lists(st.tuples(st.floats(0.1, 100), st.booleans()), min_size=1, max_size=40)


class Clock:
    """Stands still unless somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(waits=WAITS, whole_s=st.floats(1, 100), kept_s=st.floats(0, 10))
def test_no_sequence_of_waits_lasts_longer_than_there_is(
    waits: list[tuple[float, bool]], whole_s: float, kept_s: float
) -> None:
    """Each wait is answered at its end or not at all; whoever got no answer asks whether that says anything."""
    clock = Clock()
    left = TimeLeft(ends_at=clock() + whole_s, clock=clock).keeping(kept_s)
    blamed = []
    for wanted_s, answered in waits:
        try:
            wait_s = left.within(wanted_s)
            clock.now += wait_s
            if not answered:
                left.need()
                blamed.append((wanted_s, wait_s))
        except OutOfTimeError:
            assert clock() >= left.ends_at - LEAST_S
            break
    assert clock() <= 1000 + max(whole_s - kept_s, 0) + 1e-6
    assert all(waited_s == wanted_s for wanted_s, waited_s in blamed), "nobody is blamed for a wait that was cut short"


def test_parts_of_the_time_end_with_it() -> None:
    clock = Clock()
    whole = TimeLeft(ends_at=clock() + 60, clock=clock)
    assert whole.at_most(20).seconds() == 20
    assert whole.keeping(6).seconds() == 54
    clock.now += 50
    assert whole.at_most(20).ends_at == whole.ends_at
    assert whole.within(3) == 3
    assert whole.within(30) == 10
    with pytest.raises(OutOfTimeError):
        whole.keeping(10).within(1)
    clock.now += 10 - LEAST_S / 2
    assert whole.seconds() == 0, "too little for anything"
    with pytest.raises(OutOfTimeError):
        whole.need()
