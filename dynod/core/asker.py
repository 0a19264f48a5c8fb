"""Who asks for a change, as logs and the audit trail know them. Pure."""

from typing import Self


class Asker(str):
    """A name that also knows from where: `unix uid 1000`, `tcp 192.0.2.7`.

    A str, because a name is what every part but the audit trail has to do with.
    """

    __slots__ = ("origin",)

    origin: str

    def __new__(cls, name: str, origin: str) -> Self:
        made = super().__new__(cls, name)
        made.origin = origin
        return made


def origin_of(asker: str) -> str:
    """From where; what dynod does by itself comes from nowhere else."""
    return asker.origin if isinstance(asker, Asker) else "dynod"
