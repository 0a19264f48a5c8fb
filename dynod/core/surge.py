"""How many web dynos of a new release may boot beside the old ones: what was asked for, as memory allows. Pure."""

from dynod.errors import DynodError

MIB = 1024 * 1024


class NoMemoryError(DynodError):
    """Not even one dyno fits when its predecessor has gone."""

    code = "no_memory"


def affordable_surge(wanted: int, *, need: int, freed: int, available: int) -> int:
    """Dynos to boot at once beside the old ones; 0: each old one goes first.

    `need`: bytes that a new dyno is expected to take, its quota or what the old ones take; 0: not known. `freed`: bytes
    that an old one takes. Raises NoMemoryError with the figures.
    """
    if need <= 0:
        return wanted
    fits = available // need
    if fits >= 1:
        return int(min(wanted, fits))
    if available + freed >= need:
        return 0
    raise NoMemoryError(
        f"not enough memory: a web dyno takes {need // MIB} MB, {available // MIB} MB are available, and stopping the "
        f"old one frees {freed // MIB} MB"
    )
