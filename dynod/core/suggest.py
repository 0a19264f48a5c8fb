"""What to say where a name is not known: the known one nearest to it, or which there are. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

LEAST_LIKENESS = 0.6  # difflib's own default: "wroker" finds "worker", "db" finds nothing
LONGEST: Final = 100  # characters of what was typed that are compared, and shown
MOST_COMPARED: Final = 1000  # names; each comparison costs some 50 µs
MOST_NAMED: Final = 5  # where none is near


def did_you_mean(typed: str, known: Iterable[str]) -> str:
    """A clause to append to a message, `; did you mean "worker"?`, or nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 - what only a mistake needs, nobody else pays for

    names = [name for name, _ in zip(known, range(MOST_COMPARED), strict=False)]
    nearest = get_close_matches(typed[:LONGEST], names, n=1, cutoff=LEAST_LIKENESS)
    if not nearest:  # capitals are the likeliest slip of all
        by_lower = {name.lower(): name for name in names}
        nearest = [by_lower[near] for near in get_close_matches(typed[:LONGEST].lower(), by_lower, n=1, cutoff=0.9)]
    return f'; did you mean "{nearest[0]}"?' if nearest else ""


def not_found(kind: str, typed: str, known: Sequence[str], *, repeated: bool = True) -> str:
    """Heroku's `Couldn't find that …`, with what was typed, and the nearest name, or the few that there are.

    `repeated`: whether what was typed is shown, which may hold a password where it is a URL.
    """
    said = _could_not(kind, typed) if repeated else f"Couldn't find that {kind}"
    return f"{said}{did_you_mean(typed, known) or there_are(known)}"


def dyno_not_found(typed: str, known: Sequence[str]) -> str:
    """The same of a dyno: of a type that has dynos its own are named, since `web.9` is near to every other of them."""
    process_type = typed.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == process_type]
    return f"{_could_not('dyno', typed)}{there_are(siblings)}" if siblings else not_found("dyno", typed, known)


def release_not_found(typed: str, newest: int | None) -> str:
    """The same of a release, by the versions that there are."""
    return f"{_could_not('release', typed)}{f'; the newest is v{newest}' if newest is not None else '.'}"


def there_are(known: Sequence[str]) -> str:
    """A clause that names a few of them, or a full stop where there is none."""
    if not known:
        return "."
    named = ", ".join(known[:MOST_NAMED])
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    return f"; there {'is' if len(known) == 1 else 'are'} {named}{more}"


def _could_not(kind: str, typed: str) -> str:
    shown = "".join(each if each.isprintable() else "?" for each in typed[:LONGEST])
    return f"Couldn't find that {kind} ({shown})"
