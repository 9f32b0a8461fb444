"""Instants: integer microseconds UTC since the Unix epoch, and the way to and from `datetime`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_ORDINAL: Final = EPOCH.toordinal()
MICROSECOND: Final = timedelta(microseconds=1)

# `datetime` ends with the years 1 and 9999; a year of room on both sides keeps every zone's reading representable.
FIRST_INSTANT_US: Final = (datetime(2, 1, 1, tzinfo=UTC) - EPOCH) // MICROSECOND
LAST_INSTANT_US: Final = (datetime(9998, 12, 31, tzinfo=UTC) - EPOCH) // MICROSECOND


def to_datetime(instant: int) -> datetime:
    """Return the aware UTC datetime of an instant (µs since the epoch)."""
    return EPOCH + timedelta(microseconds=instant)


def from_datetime(when: datetime) -> int:
    """Return the instant (µs since the epoch) of an aware datetime."""
    assert when.tzinfo is not None, "a naive datetime has no instant"
    return (when - EPOCH) // MICROSECOND


def from_wall(wall: datetime) -> int:
    """Return a naive clock reading as µs since 1970-01-01 00:00 on the same clock."""
    return (wall.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
