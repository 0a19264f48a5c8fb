"""Moments as people write them after `--since` and `--until`: `10m`, `14:30`, `2026-11-23T14:30`. Pure."""

import re
from datetime import datetime, timedelta
from typing import Final

from dynod.core.fault import quoted
from dynod.errors import UsageError

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}

_AGO: Final = re.compile(r"([0-9]{1,9})([smhdw])")
_CLOCK: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")


def parse_moment(text: str, *, now: datetime, option: str) -> float:
    """Seconds since the epoch. What names no time zone is in that of `now`. Raises UsageError."""
    if found := _AGO.fullmatch(text.strip()):
        return (now - timedelta(seconds=int(found[1]) * UNITS[found[2]])).timestamp()
    try:
        if found := _CLOCK.fullmatch(text.strip()):
            hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
            moment = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
            return (moment if moment <= now else moment - timedelta(days=1)).timestamp()
        moment = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{option}: expected 30s, 10m, 2h, 1d, 14:30 or 2026-11-23T14:30, found {quoted(text)}"
        ) from error
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=now.tzinfo)).timestamp()
