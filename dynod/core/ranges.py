"""Which part of a list a request asks for, and where the next one begins: the Platform API's `Range` header. Pure.

`Range: name ]web.2..web.9; order=desc,max=10`. The start is the first in the order asked for, and with `]` before it is
left out itself, so that `Next-Range` can be sent back as it is. Source: Platform API Reference, "Ranges".
An attribute by which a list is cut is unique in it; otherwise items between two pages could be lost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

DEFAULT_PAGE: Final = 200
LARGEST_PAGE: Final = 1000
LONGEST_NUMBER: Final = 9  # digits of `max`; more is no page size

Item = TypeVar("Item")
Rank = tuple[str, int]  # what values are compared by


class RangeRefusedError(Exception):
    """A range that is malformed or cannot be satisfied (416); the message says what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute(Generic[Item]):
    """One by which a list can be ordered: how it reads in a header, and how two such texts compare."""

    name: str
    text: Callable[[Item], str]
    rank: Callable[[str], Rank]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A parsed `Range`. None for an end that is open."""

    attribute: str
    start: str | None = None
    start_left_out: bool = False
    end: str | None = None
    descending: bool = False
    most: int = DEFAULT_PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Item]):
    """What is answered: `next_range` is None when nothing is left (200), else it is a part (206)."""

    items: tuple[Item, ...]
    content_range: str
    next_range: str | None


def by_text(text: str) -> Rank:
    """Compare character by character: ids and names."""
    return text, 0


def by_name_and_number(text: str) -> Rank:
    """Compare `web.2` and `web.10` by their numbers."""
    name, dot, number = text.rpartition(".")
    if dot and _is_number(number):
        return name, int(number)
    return text, -1


def by_number(text: str) -> Rank:
    """Compare as numbers: the versions of releases. What is none comes first."""
    return "", int(text) if _is_number(text) else -1


def parse_range(header: str | None, attributes: Sequence[str]) -> Span:
    """The span asked for; without a header the first page by the first attribute. Raises RangeRefusedError."""
    if header is None or not header.strip():
        return Span(attribute=attributes[0])
    if not (header.isascii() and header.isprintable()):
        raise RangeRefusedError("Range: expected plain ASCII.")  # it goes into a header of the answer too
    bounds, _, options = header.partition(";")
    attribute, _, bounds = bounds.strip().partition(" ")
    if attribute not in attributes:
        raise RangeRefusedError(f"Range: expected one of {', '.join(attributes)}, found {attribute[:40]!r}.")
    start, dots, end = bounds.strip().partition("..")
    if not dots:
        raise RangeRefusedError(f"Range: expected {attribute} [START]..[END], found no two dots.")
    descending, most = _options(options)
    return Span(
        attribute=attribute,
        start=start.strip().removeprefix("]") or None,
        start_left_out=start.strip().startswith("]"),
        end=end.strip() or None,
        descending=descending,
        most=most,
    )


def cut(items: Sequence[Item], span: Span, attributes: Sequence[Attribute[Item]]) -> Page[Item]:
    """The page of these items, in order."""
    attribute = next(each for each in attributes if each.name == span.attribute)

    def rank(item: Item) -> Rank:
        return attribute.rank(attribute.text(item))

    def is_past(one: Rank, other: Rank) -> bool:
        return one < other if span.descending else one > other

    chosen = sorted(items, key=rank, reverse=span.descending)
    if span.start is not None:
        start = attribute.rank(span.start)
        chosen = [
            item for item in chosen if is_past(rank(item), start) or (rank(item) == start and not span.start_left_out)
        ]
    if span.end is not None:
        end = attribute.rank(span.end)
        chosen = [item for item in chosen if not is_past(rank(item), end)]
    page = chosen[: span.most]
    texts = [attribute.text(item) for item in page]
    options = f"; {'order=desc,' if span.descending else ''}max={span.most}"
    next_range = None
    if len(chosen) > len(page):
        next_range = f"{span.attribute} ]{texts[-1]}..{span.end or ''}{options}"
    return Page(
        items=tuple(page),
        content_range=f"{span.attribute} {texts[0] if texts else ''}..{texts[-1] if texts else ''}{options}",
        next_range=next_range,
    )


def _options(text: str) -> tuple[bool, int]:
    descending, most = False, DEFAULT_PAGE
    for piece in text.replace(";", ",").split(","):
        name, _, value = (part.strip() for part in piece.partition("="))
        match name, value:
            case "", "":
                continue
            case "order", ("asc" | "desc"):
                descending = value == "desc"
            case "max", _ if _is_number(value) and 1 <= int(value) <= LARGEST_PAGE:
                most = int(value)
            case _:
                expected = f"order=asc, order=desc or max=1 to max={LARGEST_PAGE}"
                raise RangeRefusedError(f"Range: expected {expected}, found {piece.strip()[:40]!r}.")
    return descending, most


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= LONGEST_NUMBER
