"""The Range header: what is understood, and that pages put together are the list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.ranges import (
    LARGEST_PAGE,
    Attribute,
    RangeRefusedError,
    Span,
    by_name_and_number,
    by_text,
    cut,
    parse_range,
)

NAMES = ("name", "id")
NAME: Attribute[str] = Attribute(name="name", text=str, rank=by_name_and_number)
ID: Attribute[str] = Attribute(name="id", text=lambda item: item[::-1], rank=by_text)


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, Span(attribute="name")),
        ("", Span(attribute="name")),
        ("  ", Span(attribute="name")),
        ("name ..", Span(attribute="name")),
        ("id ..; max=10;", Span(attribute="id", most=10)),  # as Heroku's own command line sends it
        ("id ..; max=15, order=desc", Span(attribute="id", most=15, descending=True)),
        ("id ..; order=desc,max=1", Span(attribute="id", most=1, descending=True)),
        ("name ..; order=asc; max=3", Span(attribute="name", most=3)),
        ("name web.1..web.9", Span(attribute="name", start="web.1", end="web.9")),
        ("name ]web.1..", Span(attribute="name", start="web.1", start_left_out=True)),
        ("name ..b", Span(attribute="name", end="b")),
        ("name   a..b ;max=1000", Span(attribute="name", start="a", end="b", most=LARGEST_PAGE)),
    ],
)
def test_ranges_that_are_understood(header: str | None, span: Span) -> None:
    assert parse_range(header, NAMES) == span


@pytest.mark.parametrize(
    "header",
    [
        "version ..",
        "name",
        "name a",
        "bytes=0-499",
        "name ..; max=0",
        "name ..; max=1001",
        "name ..; max=-1",
        "name ..; max=\u0661",
        "name ..; max=99999999999999999999999999",
        "name ..; max",
        "name ..; order=up",
        "name ..; limit=3",
        "name é..",
        "name \udcff..",
        "name \x00..",
    ],
)
def test_ranges_that_are_refused(header: str) -> None:
    with pytest.raises(RangeRefusedError, match=r"^Range: expected"):
        parse_range(header, NAMES)


def test_numbers_of_dynos_are_compared_as_numbers() -> None:
    names = ["web.10", "web.9", "clock.1", "web.1"]
    assert cut(names, Span(attribute="name"), [NAME, ID]).items == ("clock.1", "web.1", "web.9", "web.10")
    page = cut(names, Span(attribute="name", descending=True, most=2), [NAME, ID])
    assert page.items == ("web.10", "web.9")
    assert page.content_range == "name web.10..web.9; order=desc,max=2"
    assert page.next_range == "name ]web.9..; order=desc,max=2"


def test_a_whole_list_has_no_next_range() -> None:
    page = cut(["a", "b"], Span(attribute="name", most=2), [NAME])
    assert page.next_range is None
    assert page.content_range == "name a..b; max=2"
    assert cut([], Span(attribute="name"), [NAME]).content_range == "name ..; max=200"


def test_both_ends_belong_to_a_range() -> None:
    items = ["a", "b", "c", "d"]
    assert cut(items, Span(attribute="name", start="b", end="c"), [NAME]).items == ("b", "c")
    assert cut(items, Span(attribute="name", start="b", start_left_out=True, end="c"), [NAME]).items == ("c",)
    assert cut(items, Span(attribute="name", start="c", end="b", descending=True), [NAME]).items == ("c", "b")
    assert cut(items, Span(attribute="name", start="c", end="b"), [NAME]).items == ()


names = st.lists(
    st.one_of(
        st.builds("{}.{}".format, st.sampled_from(["web", "worker", "run"]), st.integers(1, 10_000)),
        st.text("abc-09.", min_size=1, max_size=8).filter(
            lambda text: ".." not in text and "." not in text[0] + text[-1]
        ),
    ),
    unique=True,
    max_size=30,
)


@given(items=names, most=st.integers(1, 12), descending=st.booleans(), attribute=st.sampled_from([NAME, ID]))
def test_pages_put_together_are_the_list(
    items: list[str], most: int, descending: bool, attribute: Attribute[str]
) -> None:
    """Each page is asked for with the Next-Range of the one before, as a client does."""
    header: str | None = f"{attribute.name} ..; {'order=desc,' if descending else ''}max={most}"
    seen: list[str] = []
    while header is not None:
        page = cut(items, parse_range(header, NAMES), [NAME, ID])
        assert len(page.items) <= most
        seen += page.items
        header = page.next_range
    assert seen == sorted(items, key=lambda item: attribute.rank(attribute.text(item)), reverse=descending)


@given(st.text(max_size=60))
def test_any_text_is_understood_or_refused(header: str) -> None:
    try:
        span = parse_range(header, NAMES)
    except RangeRefusedError:
        return
    assert 1 <= span.most <= LARGEST_PAGE
    assert span.attribute in NAMES
