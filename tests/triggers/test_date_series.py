from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.triggers import Schedule, Trigger, TriggerError, calendar_interval, compile_trigger, to_datetime
from callsheet.triggers.instant import from_datetime


def utc(text: str) -> int:
    return from_datetime(datetime.fromisoformat(text).replace(tzinfo=UTC))


def compiled(trigger: Trigger, anchor: str = "2026-01-15T00:00") -> Schedule:
    return compile_trigger(trigger, anchor=utc(anchor))


def readings(schedule: Schedule, count: int, zone: str = "UTC") -> list[str]:
    found: list[str] = []
    instant = schedule.next_instant(schedule.first_mark)
    while instant is not None and len(found) < count:
        found.append(f"{to_datetime(instant).astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}")
        instant = schedule.next_instant(instant)
    return found


def test_every_two_months_on_the_31st_skips_months_without_it() -> None:
    schedule = compiled(calendar_interval(months=2, day=31, hour=10))

    assert readings(schedule, 4) == ["2026-01-31 10:00", "2026-03-31 10:00", "2026-05-31 10:00", "2026-07-31 10:00"]


def test_a_missing_day_is_skipped_or_clamped_as_said() -> None:
    skip, clamp = (calendar_interval(months=1, day=31, hour=10, missing_day=how) for how in ("skip", "clamp"))

    assert readings(compiled(skip), 3) == ["2026-01-31 10:00", "2026-03-31 10:00", "2026-05-31 10:00"]
    assert readings(compiled(clamp), 3) == ["2026-01-31 10:00", "2026-02-28 10:00", "2026-03-31 10:00"]


def test_the_time_of_today_that_is_still_to_come_is_the_first() -> None:
    assert readings(compiled(calendar_interval(days=3, hour=6), "2026-01-15T05:00"), 2) == [
        "2026-01-15 06:00",
        "2026-01-18 06:00",
    ]
    assert readings(compiled(calendar_interval(days=3, hour=6), "2026-01-15T07:00"), 1) == ["2026-01-18 06:00"]


def test_a_start_is_the_first_date_and_gives_the_time() -> None:
    trigger = calendar_interval(weeks=2, zone="Europe/Berlin", start="2026-03-16T02:30")

    assert readings(compiled(trigger), 3, "Europe/Berlin") == [
        "2026-03-16 02:30",
        "2026-03-30 02:30",
        "2026-04-13 02:30",
    ]


def test_a_time_in_the_gap_follows_its_rule() -> None:
    found = {}
    gaps: tuple[Literal["after", "skip", "shift"], ...] = ("after", "skip", "shift")
    for gap in gaps:
        trigger = calendar_interval(days=1, hour=2, minute=30, zone="Europe/Berlin", gap=gap)
        found[gap] = readings(compiled(trigger, "2026-03-28T12:00"), 1, "Europe/Berlin")[0]

    assert found == {"after": "2026-03-29 03:00", "skip": "2026-03-30 02:30", "shift": "2026-03-29 03:30"}
    schedule = compiled(calendar_interval(days=1, hour=2, zone="Europe/Berlin"), "2026-03-28T12:00")
    slot = schedule.next(schedule.first_mark)
    assert slot is not None
    assert slot.note == "gap→03:00"


def test_a_missing_day_of_a_zone_collapses_into_the_next() -> None:
    # Apia had no 30 December 2011.
    schedule = compiled(calendar_interval(days=1, zone="Pacific/Apia"), "2011-12-29T12:00")

    found = readings(schedule, 2, "Pacific/Apia")
    assert found == ["2011-12-31 00:00", "2012-01-01 00:00"]


def test_29_february_comes_every_four_years() -> None:
    schedule = compiled(calendar_interval(years=1, day=29, start="2024-02-29T00:00Z"), "2096-02-01T00:00")

    assert schedule.next_instant(utc("2096-02-01T00:00")) == utc("2096-02-29T00:00")
    assert schedule.next_instant(utc("2096-03-01T00:00")) == utc("2104-02-29T00:00")


def test_an_interval_that_never_meets_its_day_is_refused() -> None:
    with pytest.raises(TriggerError, match=r"counted from 2026-02-01, no month has its day"):
        compiled(calendar_interval(months=12, day=30), "2026-02-01T00:00")


def test_the_series_ends_with_the_calendar() -> None:
    schedule = compiled(calendar_interval(years=5_000))

    assert readings(schedule, 5) == ["2026-01-15 00:00", "7026-01-15 00:00"]


@settings(max_examples=80)
@given(
    st.fixed_dictionaries(
        {
            "years": st.integers(0, 2),
            "months": st.integers(0, 14),
            "weeks": st.integers(0, 3),
            "days": st.integers(0, 10),
        }
    ),
    st.integers(0, 23),
    st.sampled_from(["Europe/Berlin", "Pacific/Apia", "America/Sao_Paulo", "UTC"]),
    st.sampled_from(["skip", "clamp"]),
    st.integers(utc("1990-01-01T00:00"), utc("2030-01-01T00:00")),
    st.integers(0, 10**15),
)
def test_a_step_from_anywhere_agrees_with_steps_from_the_start(
    steps: dict[str, int], hour: int, zone: str, missing: Literal["skip", "clamp"], anchor: int, ahead: int
) -> None:
    if not any(steps.values()):
        steps["days"] = 1
    trigger = calendar_interval(**steps, hour=hour, zone=zone, missing_day=missing)  # type: ignore[arg-type]  # ints
    schedule = compile_trigger(trigger, anchor=anchor)
    rows = [instant for slot in schedule.slots(schedule.first_mark, anchor + 10**15) if (instant := slot.instant)]

    assert all(first < second for first, second in pairwise(rows))
    after = anchor + ahead
    assert schedule.next_instant(after) == next(
        (row for row in rows if row > after), schedule.next_instant(anchor + 10**15)
    )
