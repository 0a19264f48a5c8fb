"""What a `Spawn` asks for, read from its fields: a terminal's size, what makes a container. Pure.

Frames are checked by type where they arrive (`protocol`); here by meaning. Raises ProtocolError, no exec is tried then.
"""

from typing import TypeVar

from dynod.keeper.protocol import ProtocolError, Spawn
from dynod.keeper.spawn import Inside

_MOST_CELLS = 65_535  # in a row or a column: struct winsize has unsigned shorts
_T = TypeVar("_T")


def terminal_size(request: Spawn) -> tuple[int, int] | None:
    """Rows and columns. Raises ProtocolError for what no terminal has."""
    if request.terminal is None:
        return None
    if len(request.terminal) != 2 or not all(0 <= each <= _MOST_CELLS for each in request.terminal):  # noqa: PLR2004 (rows and columns)
        raise ProtocolError(f"no size of a terminal: {request.terminal}")
    rows, columns = request.terminal
    return rows, columns


def inside(request: Spawn, fds: list[int]) -> Inside:
    """What it needs to make a container, if it does. Raises ProtocolError."""
    mapped, confined = request.shown_as is not None, request.confined
    if mapped and confined:
        raise ProtocolError("a container is not confined twice")
    if (mapped or confined) and not fds:
        raise ProtocolError("nothing says whose files are to be shown as whose, or which may be opened")
    return Inside(
        watches=request.watches,
        owner=_pair(request.owner),
        as_owner=request.as_owner,
        shown_as=_pair(request.shown_as),
        mapping=fds[-1] if mapped else -1,
        ruleset=fds[-1] if confined else -1,
        files=tuple(fds[:-1] if mapped or confined else fds),
    )


def _pair(found: list[_T] | None) -> tuple[_T, _T] | None:
    if found is None:
        return None
    if len(found) != 2:  # noqa: PLR2004 (a pair)
        raise ProtocolError(f"two were expected: {found}")
    return found[0], found[1]
