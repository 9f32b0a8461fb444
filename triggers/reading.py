"""What people write for a length of time, a moment or a zone, read into integers and IANA names."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from .errors import TriggerError
from .instant import DAY_US, FIRST_INSTANT_US, HOUR_US, LAST_INSTANT_US, MINUTE_US, SECOND_US, from_datetime, from_wall
from .zone import find_zone

Duration = float | timedelta | str
Moment = datetime | float | str

_UNITS: Final = {
    **dict.fromkeys(("us", "µs", "microsecond", "microseconds"), 1),
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1_000),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), SECOND_US),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), MINUTE_US),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), HOUR_US),
    **dict.fromkeys(("d", "day", "days"), DAY_US),
    **dict.fromkeys(("w", "week", "weeks"), 7 * DAY_US),
}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zµ]+)[\s,]*")
_ISO_DURATION: Final = re.compile(
    r"p(?:(\d+)w)?(?:(\d+(?:\.\d+)?)d)?(?:t(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?)?"
)
_ISO_UNITS: Final = (7 * DAY_US, DAY_US, HOUR_US, MINUTE_US, SECOND_US)


def read_duration(value: Duration, what: str = "a duration") -> int:
    """Return a length of time in µs.

    Takes seconds (int or float), a timedelta, or text: `5m`, `1h30m`, `1.5 hours`, `500ms`, `PT5M`.
    Raises TriggerError, with `what` as the subject, for anything else and for lengths that are not finite.
    """
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    if isinstance(value, str):
        return _read_duration_text(value, what)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TriggerError(f"{what} must be a number of seconds, a timedelta or text such as '5m'; {value!r} was given")
    return value * SECOND_US if isinstance(value, int) else round(value * SECOND_US)


def _read_duration_text(text: str, what: str) -> int:
    words = text.strip().lower()
    iso = _ISO_DURATION.fullmatch(words)
    if iso is not None and any(iso.groups()):
        parts = zip(iso.groups(), _ISO_UNITS, strict=True)
        return sum(round(float(number) * unit) for number, unit in parts if number)
    total, position = 0, 0
    while position < len(words):
        part = _PART.match(words, position)
        if part is None or part[2] not in _UNITS:
            raise TriggerError(
                f"{what} cannot be read from {text!r}: write a number and a unit,"
                " such as '90s', '5m', '1h30m' or '2 days'"
            )
        total += round(float(part[1]) * _UNITS[part[2]])
        position = part.end()
    if not words:
        raise TriggerError(f"{what} is empty: write a number and a unit, such as '5m'")
    return total


def read_moment(value: Moment, zone: str | ZoneInfo | None = None, what: str = "a moment") -> int:
    """Return an instant (µs UTC since the epoch).

    Takes an aware datetime, a naive one together with `zone` (in a gap: the first instant after it; in a fold: the
    datetime's own `fold`), ISO 8601 text of either sort, or Unix seconds.
    Raises TriggerError when a zone is missing, the text cannot be read, or the year is not within 2 to 9998.
    """
    instant = _read_moment(value, zone, what)
    if not FIRST_INSTANT_US <= instant <= LAST_INSTANT_US:
        raise TriggerError(f"{what} must lie within the years 2 to 9998; {value!r} was given")
    return instant


def _read_moment(value: Moment, zone: str | ZoneInfo | None, what: str) -> int:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise TriggerError(
                f"{what} cannot be read from {value!r}: ISO 8601 was expected, such as '2030-05-01T09:00:00+02:00'"
            ) from None
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            return from_datetime(value)
        if zone is None:
            raise TriggerError(
                f"{what} has no time zone: {value!r} is naive;"
                " give an aware datetime (tzinfo=UTC) or zone='Europe/Berlin'"
            )
        return find_zone(read_zone(zone)).resolve(from_wall(value), "after", "second" if value.fold else "first")[0]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TriggerError(f"{what} must be a datetime, ISO 8601 text or Unix seconds; {value!r} was given")
    return value * SECOND_US if isinstance(value, int) else round(value * SECOND_US)


def read_zone(zone: str | ZoneInfo) -> str:
    """Return the IANA name of a zone given by name or as a ZoneInfo.

    Raises UnknownZoneError for a name that does not exist, TriggerError for a ZoneInfo without a name.
    """
    name = zone if isinstance(zone, str) else getattr(zone, "key", None)
    if not isinstance(name, str):
        raise TriggerError(f"a zone must be an IANA name such as 'Europe/Berlin'; {zone!r} was given")
    return find_zone(name).name
