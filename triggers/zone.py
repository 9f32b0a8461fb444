"""Zones as stretches of constant offset.

A zone's time line, seen from UTC, is a row of segments in each of which the clock runs evenly. Between two segments
the clock jumps: forward it leaves a *gap* (readings that do not exist), backward a *fold* (readings that exist twice).

    UTC      ──────────────┬────────────────────────┬──────────────▶
    segment   offset +1 h  │      offset +2 h       │  offset +1 h
                          gap                      fold

Everything about daylight saving is asked here, so that the schedules do arithmetic and never build a local datetime.
`zoneinfo` answers only "what is the offset at this instant", so the borders are found by looking every two days and
halving. The shortest distance of two changes of offset in the IANA database is 95 hours (Africa/Freetown, 1939).
Segments are found once for each zone and year, then kept.
"""

from __future__ import annotations

import difflib
from bisect import bisect_right
from collections.abc import Callable
from datetime import timedelta
from functools import cache, lru_cache
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from .errors import UnknownZoneError
from .instant import DAY_US, EPOCH, FIRST_INSTANT_US, HOUR_US, LAST_INSTANT_US, MINUTE_US, SECOND_US

Gap = Literal["after", "skip", "shift"]
Fold = Literal["auto", "first", "second", "both"]

PROBE_US: Final = 2 * DAY_US
CHUNK_US: Final = 366 * DAY_US
RIM_US: Final = 2 * DAY_US
MAX_CHUNKS: Final = 1_024
MAX_HINTED: Final = 40
"""Characters of an unknown name that are compared with those that there are."""

MAX_ZONES: Final = 1_024


class Segment(NamedTuple):
    """A stretch [start, end) of UTC instants with one offset; all five are µs.

    `before` and `after` are the offsets of the neighbours; they are equal to `offset` where a segment was cut for
    another reason than a change of the clock.
    """

    start: int
    end: int
    offset: int
    before: int
    after: int


class Zone:
    """One IANA zone. Immutable to its users; what it has found out it remembers."""

    __slots__ = ("_chunks", "_info", "name")

    def __init__(self, name: str, info: ZoneInfo) -> None:
        self.name = name
        self._info = info
        self._chunks: dict[int, tuple[list[int], list[Segment]]] = {}

    def segment(self, instant: int) -> Segment:
        """Return the segment that holds an instant (clamped to the years 2 to 9998)."""
        instant = min(max(instant, FIRST_INSTANT_US), LAST_INSTANT_US)
        number = instant // CHUNK_US
        chunk = self._chunks.get(number)
        if chunk is None:
            chunk = self._build(number)
        starts, segments = chunk
        return segments[bisect_right(starts, instant) - 1]

    def wall(self, instant: int) -> int:
        """Return the clock reading at an instant, as µs since 1970-01-01 00:00 on that clock."""
        return instant + self.segment(instant).offset

    def resolve(self, wall: int, gap: Gap, fold: Fold) -> tuple[int, ...]:
        """Return the instants that stand for a clock reading, ascending: none (gap skipped), one, or two (fold both).

        `wall` is µs since 1970-01-01 00:00 on the zone's clock; a fold of `auto` means `first` here.
        """
        segment = self.segment(wall - DAY_US)
        if segment.end > wall + DAY_US:
            return (wall - segment.offset,)
        hits: list[int] = []
        missing: tuple[int, ...] = ()
        while True:
            instant = wall - segment.offset
            if segment.start <= instant < segment.end and instant not in hits:
                hits.append(instant)
            if segment.start + segment.before <= wall < segment.start + segment.offset:
                missing = _in_gap(segment, wall, gap)
            if segment.end > min(wall + DAY_US, LAST_INSTANT_US):
                break
            segment = self.segment(segment.end)
        if not hits:
            return missing
        if fold == "both":
            return tuple(hits)
        return (hits[-1],) if fold == "second" else (hits[0],)

    def offset_range(self, moment: int) -> tuple[int, int]:
        """Return the smallest and the largest offset (µs) within a day of a moment."""
        segment = self.segment(moment - DAY_US)
        low = high = segment.offset
        while segment.end <= min(moment + DAY_US, LAST_INSTANT_US):
            segment = self.segment(segment.end)
            low, high = min(low, segment.offset), max(high, segment.offset)
        return low, high

    def reading(self, instant: int) -> str:
        """Return the clock reading of an instant for people: `Mon 2026-03-02 09:00`."""
        wall = self.wall(instant)
        return f"{(EPOCH + timedelta(microseconds=wall)):%a %Y-%m-%d} {clock_text(wall - wall % SECOND_US)}"

    def day_start(self, day: int) -> int:
        """Return the first instant of a local day (days since 1970-01-01); of a missing day, the end of its gap."""
        return self.resolve(day * DAY_US, "after", "first")[0]

    def _build(self, number: int) -> tuple[list[int], list[Segment]]:
        # The rim keeps a fold or a gap that lies across the border of two chunks whole in both.
        low, high = number * CHUNK_US - RIM_US, (number + 1) * CHUNK_US + RIM_US
        starts, offsets = [low], [self._offset(low)]
        left = low
        while left < high:
            right = min(left + PROBE_US, high)
            offset = self._offset(right)
            if offset != offsets[-1]:
                starts.append(self._change(left, right, offsets[-1]))
                offsets.append(offset)
            left = right
        ends = [*starts[1:], high]
        before = [self._offset(low - SECOND_US), *offsets]
        after = [*offsets[1:], offsets[-1]]
        segments = [Segment(*row) for row in zip(starts, ends, offsets, before, after, strict=False)]
        if len(self._chunks) >= MAX_CHUNKS:
            self._chunks = {}
        self._chunks[number] = (starts, segments)
        return starts, segments

    def _change(self, low: int, high: int, offset: int) -> int:
        """Return the first instant after `low` whose offset is not `offset`; changes fall on whole seconds."""
        first, last = low // SECOND_US, high // SECOND_US
        while last - first > 1:
            middle = (first + last) // 2
            if self._offset(middle * SECOND_US) == offset:
                first = middle
            else:
                last = middle
        return last * SECOND_US

    def _offset(self, instant: int) -> int:
        instant = min(max(instant, FIRST_INSTANT_US), LAST_INSTANT_US)
        utc = (EPOCH + timedelta(microseconds=instant)).replace(tzinfo=self._info)
        offset = self._info.fromutc(utc).utcoffset()
        assert offset is not None
        return offset // timedelta(seconds=1) * SECOND_US


def clock_note(zone: Zone, instant: int, gap: Gap, has_reading: Callable[[int, int], bool]) -> str:
    """Return what a change of the clock did to an instant: `gap→03:00`, `fold: first`, `fold: second` or nothing.

    `has_reading(low, high)` tells whether the rule has a clock reading in [low, high).
    """
    segment = zone.segment(instant)
    jump = segment.offset - segment.before
    missing = (0, 0)
    if gap == "shift" and 0 <= instant - segment.start < jump:
        missing = (instant + segment.before, instant + segment.before + 1)
    elif gap == "after" and jump > 0 and instant == segment.start:
        missing = (segment.start + segment.before, segment.start + segment.offset)
    if missing != (0, 0) and has_reading(*missing):
        return f"gap→{clock_text(instant + segment.offset)}"
    if jump < 0 and instant < segment.start - jump:
        return "fold: second"
    if segment.after < segment.offset and instant >= segment.end - (segment.offset - segment.after):
        return "fold: first"
    return ""


def clock_text(wall: int) -> str:
    """Return a clock reading as HH:MM, with seconds when there are any."""
    hour, rest = divmod(wall % DAY_US, HOUR_US)
    minute, rest = divmod(rest, MINUTE_US)
    return f"{hour:02}:{minute:02}" + (f":{rest // SECOND_US:02}" if rest else "")


def _in_gap(segment: Segment, wall: int, gap: Gap) -> tuple[int, ...]:
    if gap == "skip":
        return ()
    return (segment.start,) if gap == "after" else (wall - segment.before,)


@lru_cache(maxsize=MAX_ZONES)
def find_zone(name: str) -> Zone:
    """Return the zone of an IANA name, such as `Europe/Berlin`.

    Raises UnknownZoneError with the nearest names when there is none.
    """
    try:
        return Zone(name, ZoneInfo(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UnknownZoneError(_unknown(name)) from None


@cache
def _names() -> tuple[dict[str, str], dict[str, str]]:
    """The zones by name and by city, in small letters. Reading them takes 30 ms, and whoever adds jobs may name a thousand wrong ones."""
    names = {known.lower(): known for known in sorted(available_timezones())}
    return names, {known.rpartition("/")[2].lower(): known for known in names.values()}


@lru_cache(maxsize=MAX_ZONES)
def _unknown(name: str) -> str:
    names, cities = _names()
    wanted = name[:MAX_HINTED].lower().replace(" ", "_")
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.7)
    found = [names[key] for key in near]
    found += [cities[key] for key in difflib.get_close_matches(wanted.rpartition("/")[2], cities, n=2, cutoff=0.8)]
    hint = f"; did you mean {' or '.join(dict.fromkeys(found))}?" if found else ""
    return f"no time zone {name!r}: an IANA name such as 'Europe/Berlin' or 'UTC' was expected{hint}"
