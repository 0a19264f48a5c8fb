"""What `ps:scale` asks of a formation: absolute and relative quantities, several at once, all or nothing."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dynod.core.dyno_sizes import DynoSize, no_such_size, size_named
from dynod.core.formation import MOST_DYNOS, RELEASE
from dynod.core.suggest import not_found


@dataclass(frozen=True, slots=True, kw_only=True)
class FormationUpdate:
    """One entry of a formation update, as the Platform API has it: `quantity` 2, "2", "+1", "-1" or None (as it is)."""

    process_type: str
    quantity: int | str | None = None
    size: str | None = None


class ScalingRefusedError(Exception):
    """An update that cannot be carried out; nothing was changed. `unknown_type`: no such process type (404)."""

    def __init__(self, message: str, *, unknown_type: bool = False) -> None:
        super().__init__(message)
        self.unknown_type = unknown_type


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPlan:
    """The outcome: the named types' new quantities and sizes."""

    quantities: Mapping[str, int]
    sizes: Mapping[str, DynoSize]


def plan_scaling(
    updates: Sequence[FormationUpdate], *, types: Sequence[str], quantities: Mapping[str, int]
) -> ScalingPlan:
    """Apply the updates in order to the present quantities. Raises ScalingRefusedError for the first that is wrong."""
    known = [name for name in types if name != RELEASE]
    planned: dict[str, int] = {}
    sizes: dict[str, DynoSize] = {}
    for update in updates:
        name = update.process_type
        if name not in types:
            raise ScalingRefusedError(not_found("process type", name, known), unknown_type=True)
        if update.quantity is not None:
            if name == RELEASE:
                raise ScalingRefusedError("release is not scaled: it runs once, before a release goes live.")
            planned[name] = _applied(update.quantity, planned.get(name, quantities.get(name, 0)), name)
        if update.size is not None:
            size = size_named(update.size)
            if size is None:
                raise ScalingRefusedError(no_such_size(update.size))
            sizes[name] = size
    return ScalingPlan(quantities=planned, sizes=sizes)


def _applied(asked: int | str, now: int, name: str) -> int:
    text = str(asked).strip()
    match = re.fullmatch(r"([+-]?)([0-9]{1,6})", text, re.ASCII)
    if match is None or isinstance(asked, bool):
        raise ScalingRefusedError(f"Quantity of {name}: expected a number, +N or -N, found {text!r}.")
    amount = int(match[2])
    quantity = {"": amount, "+": now + amount, "-": max(0, now - amount)}[match[1]]
    if isinstance(asked, int) and asked < 0:
        raise ScalingRefusedError(f"Quantity of {name} cannot be negative.")
    if quantity > MOST_DYNOS:
        raise ScalingRefusedError(f"Cannot scale to more than {MOST_DYNOS} {name} dynos.")
    return quantity
