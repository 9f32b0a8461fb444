from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.triggers.errors import UnknownZoneError
from callsheet.triggers.instant import DAY_US, HOUR_US, SECOND_US, from_datetime, from_wall, to_datetime
from callsheet.triggers.zone import find_zone

ZONES = ["Europe/Berlin", "Africa/Freetown", "Asia/Gaza", "Africa/Casablanca", "Pacific/Apia", "Asia/Manila", "UTC"]
LOW = from_datetime(datetime(1840, 1, 1, tzinfo=UTC))
HIGH = from_datetime(datetime(2200, 1, 1, tzinfo=UTC))


@given(st.sampled_from(ZONES), st.integers(LOW, HIGH))
def test_a_segment_has_the_offset_of_zoneinfo_up_to_its_borders(name: str, instant: int) -> None:
    segment = find_zone(name).segment(instant)

    assert segment.start <= instant < segment.end
    for moment in (segment.start, instant, segment.end - SECOND_US):
        offset = to_datetime(moment).astimezone(ZoneInfo(name)).utcoffset()
        assert offset == timedelta(microseconds=segment.offset)
    before = to_datetime(segment.start - 1).astimezone(ZoneInfo(name)).utcoffset()
    assert before == timedelta(microseconds=segment.before)
    after = to_datetime(segment.end).astimezone(ZoneInfo(name)).utcoffset()
    assert after == timedelta(microseconds=segment.after)


@given(st.sampled_from(ZONES), st.integers(LOW, HIGH))
def test_a_reading_resolves_to_the_instant_it_was_read_at(name: str, instant: int) -> None:
    zone = find_zone(name)
    wall = zone.wall(instant)
    both = zone.resolve(wall, "skip", "both")

    assert instant in both
    assert zone.resolve(wall, "skip", "first") == both[:1]
    assert zone.resolve(wall, "skip", "second") == both[-1:]


def test_a_missing_reading_resolves_by_the_rule_of_the_gap() -> None:
    zone = find_zone("Europe/Berlin")
    wall = from_wall(datetime(2026, 3, 29, 2, 30))  # noqa: DTZ001  # a reading of the clock
    border = from_datetime(datetime(2026, 3, 29, 1, tzinfo=UTC))

    assert zone.resolve(wall, "after", "both") == (border,)
    assert zone.resolve(wall, "shift", "both") == (border + HOUR_US // 2,)
    assert zone.resolve(wall, "skip", "both") == ()


def test_a_missing_day_starts_when_its_gap_ends() -> None:
    zone = find_zone("Pacific/Apia")
    day = from_wall(datetime(2011, 12, 30)) // DAY_US  # noqa: DTZ001  # a day of the calendar

    assert zone.day_start(day) == zone.day_start(day + 1)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berln", "did you mean Europe/Berlin"),
        ("europe/berlin", "did you mean Europe/Berlin"),
        ("Berlin", "did you mean Europe/Berlin"),
        ("America/New York", "did you mean America/New_York"),
        ("../etc/passwd", "an IANA name such as 'Europe/Berlin' or 'UTC' was expected"),
        ("", "no time zone ''"),
        ("Europe", "no time zone 'Europe'"),
    ],
)
def test_an_unknown_zone_is_refused_with_its_neighbours(name: str, hint: str) -> None:
    with pytest.raises(UnknownZoneError, match=hint):
        find_zone(name)
