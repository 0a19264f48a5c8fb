"""What cores say to each other comes as it was said, and what none of them says is no word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.core_word import Done, Drain, Finish, Here, Joined, Left, Lines, Says, Word, read, written

TEXT = st.text(max_size=20)
NUMBER = st.integers(0, 2**31)
WORDS: st.SearchStrategy[Word] = st.one_of(
    st.builds(Here),
    st.builds(Joined, app=TEXT, instance=TEXT, dyno=TEXT, host=TEXT, port=NUMBER),
    st.builds(Left, app=TEXT, instance=TEXT),
    st.builds(Drain, number=NUMBER, app=TEXT, instance=TEXT),
    st.builds(Finish, number=NUMBER),
    st.builds(Done, number=NUMBER),
    st.builds(
        Lines,
        app=TEXT,
        lines=st.lists(st.tuples(st.floats(0, 2e9), TEXT), max_size=3).map(tuple),
        lost=NUMBER,
    ),
    st.builds(Says, app=TEXT, dyno=TEXT, message=TEXT),
)


@given(WORDS)
def test_a_word_comes_as_it_was_said(word: Word) -> None:
    assert read(written(word)) == word


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '["Here"]', '["Never", {}]', '["Done", {}]', '["Done", {"number": 1, "more": 2}]', '["Lines", {}]'],
)
def test_what_another_version_may_say_is_no_word(text: str) -> None:
    assert read(text) is None
