"""Heroku's L codes: what the log stream says about itself, word for word (heroku-semantics 4.3 and 6.6).

Each goes where the lines are missing: L10 into the drain that lost some, L11 into the tail, L12 into the app's own
stream; L14 tells the app of a drain's certificate. Pure.
"""

from datetime import UTC, datetime
from enum import Enum


class LogCode(Enum):
    """Code and Heroku's title."""

    L10 = "output buffer overflow"  # a drain could not keep up
    L11 = "Tail buffer overflow"  # a tail could not
    L12 = "Local buffer overflow"  # the stream itself could not be written
    L14 = "certificate validation"  # a drain's certificate is not to be trusted
    L15 = "Tail buffer temporarily unavailable"  # the history cannot be read


def whole_second(epoch_s: float) -> str:
    """`2013-04-17T19:04:46+00:00`: logplex's own messages have no fraction."""
    return datetime.fromtimestamp(int(epoch_s), UTC).isoformat()


def drain_overflow(lines: int, since: float) -> str:
    """L10, for the drain alone."""
    return f"Error L10 (output buffer overflow): {lines} messages dropped since {whole_second(since)}."


def tail_overflow(lines: int, since: float) -> str:
    """L11, for the tail alone."""
    return (
        f"Error L11 (Tail buffer overflow) -> This tail session dropped {lines} messages since {whole_second(since)}."
    )


def messages_dropped(lines: int, since: float) -> str:
    """L12, for everybody: `app[log-shuttle]`."""
    return f"Error L12: {lines} messages dropped since {whole_second(since)}."


def bad_certificate(shown_url: str) -> str:
    """L14, `heroku[logplex]`; the URL as it may be shown."""
    return f'Error L14 (certificate validation): error="bad certificate" uri="{shown_url}"'
