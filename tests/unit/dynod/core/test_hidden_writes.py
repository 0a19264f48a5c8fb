"""When files without a name are looked for."""

from hypothesis import given
from hypothesis import strategies as st

from dynod.core.hidden_writes import HiddenWrites

LIMIT = 100
CHANGES = st.lists(st.tuples(st.integers(-60, 60), st.integers(-60, 60)), max_size=50)


@given(CHANGES)
def test_what_is_written_by_name_is_no_reason_to_look(changes: list[tuple[int, int]]) -> None:
    hidden, free, counted = HiddenWrites(LIMIT), 1000, 500
    for _, named in changes:
        free, counted = free - named, counted + named
        assert not hidden.may_be(free, counted)


@given(CHANGES)
def test_never_more_goes_unexplained_than_half_a_limit_without_a_look(changes: list[tuple[int, int]]) -> None:
    hidden, room = HiddenWrites(LIMIT), 1000
    hidden.may_be(room, 0)
    since = 0
    for unnamed, named in changes:
        room -= unnamed
        since = max(0, since + unnamed)
        if hidden.may_be(room - named, named):
            assert since >= LIMIT // 2
            since = 0
        assert since < LIMIT // 2
