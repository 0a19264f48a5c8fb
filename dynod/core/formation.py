"""The formation: how many dynos of each process type `dynod up` runs, and the little grammars that say so.

Procfile + app.json + `-m` + arguments → formation. The nearest word wins: argument, then `-m`, then app.json, then one
of each. Pure: reading files is `app_folder`'s, naming the dynos' ports `ports`'s.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dynod.core.fault import quoted
from dynod.core.procfile import ProcessType
from dynod.core.suggest import did_you_mean
from dynod.errors import AppFolderError, UsageError

RELEASE = "release"  # Heroku: "Release Phase"; never scaled, runs once before the others
EVERY_TYPE = "all"  # foreman's `-m all=1,clock=0`
MOST_DYNOS = 500  # of one type: what one machine is measured to hold (design 7), far above what anyone means
QUANTITY = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Formation:
    """Process type → number of dynos, in the order of the Procfile; a type may have none. `release` is never in it."""

    quantities: Mapping[str, int]

    @property
    def dynos(self) -> tuple[str, ...]:
        """Slot names: `web.1`, `web.2`, `worker.1`."""
        return tuple(
            f"{name}.{number}" for name, quantity in self.quantities.items() for number in range(1, quantity + 1)
        )


def plan_formation(
    types: Sequence[ProcessType],
    *,
    manifest_quantities: Mapping[str, int],
    m_option: Mapping[str, int],
    arguments: Mapping[str, int | None],
) -> Formation:
    """Decide the formation of `up`.

    `m_option` is what `parse_quantities` gives: types that it does not name keep their default, and its `all` is the
    default of the others. `arguments` is what `parse_selection` gives: if there are any, only the types they name run
    (as `heroku local web,worker`); without a number a type takes what `-m` or app.json say, but one named explicitly
    is not left out because app.json has it at 0.
    Names in `manifest_quantities` that are no types are ignored: `app_folder` has reported them.

    Raises AppFolderError for a type that the Procfile does not declare, UsageError for `release`.
    """
    known = [declared.name for declared in types]
    for named, source in ((m_option, "-m"), (arguments, "the arguments")):
        for name in named:
            if name != EVERY_TYPE or source != "-m":
                _refuse_unknown(name, known, source)
    quantities: dict[str, int] = {}
    for name in known:
        if name == RELEASE or (arguments and name not in arguments):
            continue
        quantity = manifest_quantities.get(name, 1)
        if name in arguments:
            quantity = max(quantity, 1)
        if EVERY_TYPE in m_option and EVERY_TYPE not in known:
            quantity = m_option[EVERY_TYPE]
        quantity = m_option.get(name, quantity)
        asked = arguments.get(name)
        quantities[name] = quantity if asked is None else asked
    return Formation(quantities=quantities)


def parse_quantities(text: str) -> dict[str, int]:
    """`-m web=2,worker=1` → {"web": 2, "worker": 1}. Raises UsageError."""
    quantities: dict[str, int] = {}
    for piece in text.split(","):
        name, quantity = _piece(piece.strip(), whole=f"-m {text}", expected="TYPE=N[,TYPE=N…]")
        if quantity is None:
            raise UsageError(f'-m {text}: expected TYPE=N[,TYPE=N…], found {quoted(piece.strip())}; write "{name}=1"')
        _refuse_twice(name, quantities, whole=f"-m {text}")
        quantities[name] = quantity
    return quantities


def parse_selection(arguments: Iterable[str]) -> dict[str, int | None]:
    """Arguments `web worker=2`, also `web,worker=2`, → {"web": None, "worker": 2}. Raises UsageError."""
    selection: dict[str, int | None] = {}
    for argument in arguments:
        for piece in argument.split(","):
            name, quantity = _piece(piece.strip(), whole=quoted(argument), expected="TYPE or TYPE=N")
            _refuse_twice(name, selection, whole=quoted(argument))
            selection[name] = quantity
    return selection


def _piece(piece: str, *, whole: str, expected: str) -> tuple[str, int | None]:
    name, equals, number = (part.strip() for part in piece.partition("="))
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UsageError(f"{whole}: expected {expected}, found {quoted(piece)}")
    if not equals:
        return name, None
    if not QUANTITY.fullmatch(number):
        raise UsageError(f'{whole}: the number of "{name}" dynos must be 0 to {MOST_DYNOS}, found {quoted(number)}')
    if int(number) > MOST_DYNOS:
        raise UsageError(f'{whole}: {number} "{name}" dynos are too many; {MOST_DYNOS} of a type are allowed')
    return name, int(number)


def _refuse_twice(name: str, seen: Iterable[str], *, whole: str) -> None:
    if name in seen:
        raise UsageError(f'{whole}: "{name}" is named twice')


def _refuse_unknown(name: str, known: Sequence[str], source: str) -> None:
    if name == RELEASE:
        raise UsageError(
            f'"{RELEASE}" in {source}: it is not part of the formation; it runs once, first, with --release'
        )
    if name in known:
        return
    declared = ", ".join(other for other in known if other != RELEASE) or "nothing but release"
    raise AppFolderError(
        f"no process type {quoted(name)} ({source}): the Procfile declares {declared}{did_you_mean(name, known)}"
    )
