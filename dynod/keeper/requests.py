"""What a `Spawn` asks for, read from its fields: a terminal's size, what makes a container. Pure.

Frames are checked by type where they arrive (`protocol`); here by meaning. Raises ProtocolError, no exec is tried then.
"""

from typing import TypeVar

from dynod.keeper.limits import PROCESSES
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
    of_its_own = list(fds)
    try:
        ruleset = of_its_own.pop() if request.confined else -1
        call_filter = of_its_own.pop() if request.filtered else -1
        mapping = of_its_own.pop() if request.shown_as is not None else -1
    except IndexError:
        raise ProtocolError("a descriptor is missing of those by which it is held, or its files shown") from None
    if call_filter >= 0 and not request.as_owner:
        raise ProtocolError("what makes a container is not to be filtered")
    owner = _pair(request.owner)
    return Inside(
        watches=request.watches,
        owner=owner,
        as_owner=request.as_owner,
        shown_as=_pair(request.shown_as),
        mapping=mapping,
        filter=call_filter,
        ruleset=ruleset,
        files=tuple(of_its_own),
        processes=(request.limits or {}).get(PROCESSES) if owner is not None else None,
    )


def _pair(found: list[_T] | None) -> tuple[_T, _T] | None:
    if found is None:
        return None
    if len(found) != 2:  # noqa: PLR2004 (a pair)
        raise ProtocolError(f"two were expected: {found}")
    return found[0], found[1]
