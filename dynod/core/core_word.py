"""What the core in charge and those that are retired say to each other, one word a message. Pure.

Flow: routing of the one in charge → **words** → keeper → routing of a retired one, and back. Each is a line of JSON
with its name; what cannot be read is a fault of two versions that do not understand each other, and changes nothing.
"""

import json
from dataclasses import asdict, dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """I am in charge: what is said about requests goes to me."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A web dyno is up."""

    app: str
    instance: str
    dyno: str
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A web dyno is gone."""

    app: str
    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """No new requests for a dyno; say `Done` when those it has are answered."""

    number: int
    app: str
    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The daemon ends: no new requests at all; say `Done` when those under way are answered."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was asked for under this number is so."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Router lines of an app, each with its time (epoch seconds); `lost` ones before them found no room."""

    app: str
    lines: tuple[tuple[float, str], ...]
    lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """What is said of one dyno."""

    app: str
    dyno: str
    message: str


Word = Here | Joined | Left | Drain | Finish | Done | Lines | Says

_KINDS: Final[dict[str, type[Word]]] = {
    kind.__name__: kind for kind in (Here, Joined, Left, Drain, Finish, Done, Lines, Says)
}


def written(word: Word) -> str:
    """As text."""
    return json.dumps([type(word).__name__, asdict(word)])


def read(text: str) -> Word | None:
    """The word; None for what is none of these, as a newer version may say."""
    try:
        name, fields = json.loads(text)
        kind = _KINDS[name]
        if kind is Lines:
            fields["lines"] = tuple((float(at), str(line)) for at, line in fields["lines"])
        return kind(**fields)
    except (ValueError, TypeError, KeyError):
        return None
