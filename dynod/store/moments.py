"""Moments as columns: whole microseconds since the epoch, UTC, so that they sort, and come back as they went in."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def to_column(moment: datetime) -> int:
    """A moment with a time zone, for a column."""
    return (moment - _EPOCH) // _MICROSECOND


def from_column(value: int) -> datetime:
    """The moment in a column, in UTC."""
    return _EPOCH + value * _MICROSECOND
