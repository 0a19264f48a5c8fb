"""What is in the way of installing dynod as a service: found before anything is changed, said all at once.

Flow: `service_plan` says what shall be so, `cli/systemd` looks at each place, **obstacles** judges, and only then is
anything done. Pure.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from dynod.core.service_plan import MARK, SOCKET, UNIT_FOLDER, Link, Machine, Remove, Step, WriteFile

MASK: Final = "/dev/null"  # what a link in place of a unit leads to where it is masked: systemctl(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is at a path. `text`: of a file; `target`: of a link, as it is written there."""

    kind: Literal["nothing", "file", "link", "folder", "other"]
    text: str = ""
    target: str = ""
    refused: str = ""  # why nothing can be made or removed there; "": it can


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenPort:
    """Where the router is to listen, and somebody else does. `by`: the program, where that can be told."""

    address: str
    by: str = ""


def obstacles(steps: Iterable[Step], machine: Machine, at: Callable[[str], Place]) -> list[str]:
    """A sentence each. Steps whose place is as it shall be are in nobody's way, also where it cannot be written to."""
    found: dict[str, None] = {}
    for step in steps:
        match step:
            case WriteFile(path=path, text=text):
                sentence = _file(path, text, at(path))
            case Link(path=path, target=target):
                sentence = _link(path, target, at(path), machine)
            case Remove(path=path):
                place = at(path)
                sentence = "" if place.kind == "nothing" else place.refused
            case _:
                sentence = ""
        if sentence:
            found[sentence] = None
    return list(found)


def ports(taken: Sequence[TakenPort]) -> list[str]:
    """What to do where the router's ports are somebody else's."""
    if not taken:
        return []
    who = ", ".join(f"{each.address} ({each.by})" if each.by else each.address for each in taken)
    drop_in = f"{UNIT_FOLDER}/{SOCKET}.d/ports.conf"
    sentence = (
        f"another program listens on {who}: stop it, or have dynod listen elsewhere: put the three lines [Socket], "
        f"ListenStream= (which forgets the others) and ListenStream=127.0.0.1:5000 into {drop_in}"
    )
    return [sentence]


def _file(path: str, text: str, place: Place) -> str:
    if place.kind == "file" and place.text == text:
        return ""
    if place.kind == "link" and place.target == MASK:
        return f"{path} is masked: systemctl unmask {path.rpartition('/')[2]}"
    if place.kind == "link":
        return f"{path} is a link to {place.target}, which is not dynod's: remove it"
    if place.kind in {"folder", "other"} or (place.kind == "file" and not place.text.startswith(MARK)):
        return f"{path} is there, and was not written by dynod: move it away"
    return place.refused


def _link(path: str, target: str, place: Place, machine: Machine) -> str:
    if place.kind == "link" and place.target == target:
        return ""
    ours = place.kind == "link" and (
        path.startswith(f"{machine.versions}/") or place.target.startswith(machine.versions)
    )
    if place.kind != "nothing" and not ours:
        what = f"is a link to {place.target}" if place.kind == "link" else "is there"
        return f"{path} {what}, and was not made by dynod: move it away"
    return place.refused
