"""Did-you-mean: the known name nearest to what was typed. Pure."""

from collections.abc import Iterable
from difflib import get_close_matches

LEAST_LIKENESS = 0.6  # difflib's own default: "wroker" finds "worker", "db" finds nothing


def did_you_mean(typed: str, known: Iterable[str]) -> str:
    """A clause to append to a message, `; did you mean "worker"?`, or nothing."""
    nearest = get_close_matches(typed, list(known), n=1, cutoff=LEAST_LIKENESS)
    return f'; did you mean "{nearest[0]}"?' if nearest else ""
