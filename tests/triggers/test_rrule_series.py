from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.triggers import RRule, Trigger, TriggerError, compile_trigger, rrule, to_datetime
from callsheet.triggers.instant import from_datetime


def utc(text: str) -> int:
    return from_datetime(datetime.fromisoformat(text).replace(tzinfo=UTC))


def readings(trigger: Trigger, count: int, zone: str = "UTC", after: str = "2026-01-01T00:00") -> list[str]:
    schedule = compile_trigger(trigger, anchor=utc("2026-01-01T00:00"))
    found: list[str] = []
    slot = schedule.next(utc(after) - 1)
    while slot is not None and len(found) < count:
        found.append(f"{to_datetime(slot.instant).astimezone(ZoneInfo(zone)):%m-%d %H:%M} {slot.note}".strip())
        slot = schedule.next(slot.instant)
    return found


def instants(trigger: Trigger, count: int) -> list[int]:
    schedule = compile_trigger(trigger, anchor=utc("2026-01-01T00:00"))
    found = [schedule.first_mark]
    while len(found) <= count and (instant := schedule.next_instant(found[-1])) is not None:
        found.append(instant)
    return found[1:]


def test_the_last_friday_of_the_month_is_found() -> None:
    trigger = rrule("FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=17;BYMINUTE=0;BYSECOND=0", zone="Europe/Berlin")

    assert readings(trigger, 3, "Europe/Berlin") == ["01-30 17:00", "02-27 17:00", "03-27 17:00"]


def test_dates_are_added_and_dropped() -> None:
    trigger = rrule(
        "DTSTART;TZID=Europe/Berlin:20260101T090000\n"
        "RRULE:FREQ=DAILY;UNTIL=20260105T080000Z\n"
        "EXDATE;TZID=Europe/Berlin:20260103T090000\n"
        "EXRULE:FREQ=WEEKLY;BYDAY=SU\n"
        "RDATE:20260109T080000Z"
    )

    assert readings(trigger, 9, "Europe/Berlin") == ["01-01 09:00", "01-02 09:00", "01-05 09:00", "01-09 09:00"]


def test_easter_is_found() -> None:
    trigger = rrule("FREQ=YEARLY;BYEASTER=1", start="2026-01-01T08:00:00Z")

    assert readings(trigger, 2) == ["04-06 08:00", "03-29 08:00"]


def test_a_count_ends_the_series() -> None:
    assert readings(rrule("FREQ=DAILY;COUNT=3", start="2026-01-01T05:00:00Z"), 9) == [
        "01-01 05:00",
        "01-02 05:00",
        "01-03 05:00",
    ]


def test_a_start_lies_with_the_job_when_none_is_said() -> None:
    assert readings(rrule("FREQ=WEEKLY"), 2) == ["01-01 00:00", "01-08 00:00"]


def test_a_daily_rule_in_gap_and_fold_behaves_like_cron() -> None:
    trigger = rrule("FREQ=DAILY;BYHOUR=2;BYMINUTE=30;BYSECOND=0", zone="Europe/Berlin")

    assert readings(trigger, 2, "Europe/Berlin", "2026-03-28T12:00") == ["03-29 03:00 gap→03:00", "03-30 02:30"]
    assert readings(trigger, 2, "Europe/Berlin", "2026-10-24T12:00") == ["10-25 02:30 fold: first", "10-26 02:30"]


def test_an_hourly_rule_in_gap_and_fold_behaves_like_cron() -> None:
    trigger = rrule("FREQ=HOURLY;BYMINUTE=30;BYSECOND=0", zone="Europe/Berlin")

    assert readings(trigger, 2, "Europe/Berlin", "2026-03-29T00:00") == ["03-29 01:30", "03-29 03:30"]
    assert readings(trigger, 2, "Europe/Berlin", "2026-10-25T00:00") == [
        "10-25 02:30 fold: first",
        "10-25 02:30 fold: second",
    ]


def test_a_shifted_reading_keeps_its_place_among_later_ones() -> None:
    trigger = rrule("FREQ=DAILY;BYHOUR=2,3;BYMINUTE=10,50;BYSECOND=0", zone="Europe/Berlin", gap="shift")

    found = readings(trigger, 4, "Europe/Berlin", "2026-03-29T00:00")
    assert [row[:11] for row in found] == ["03-29 03:10", "03-29 03:50", "03-30 02:10", "03-30 02:50"]


def test_a_rule_by_seconds_from_long_ago_is_not_walked_through() -> None:
    trigger = rrule("FREQ=SECONDLY;INTERVAL=7", start="1970-01-01T00:00:00Z")
    schedule = compile_trigger(trigger, anchor=0)

    after = utc("2026-01-01T00:00")
    assert schedule.next_instant(after) == (after // 7_000_000 + 1) * 7_000_000


@pytest.mark.parametrize("frequency", ["SECONDLY", "HOURLY", "DAILY"])
def test_a_rule_that_is_excluded_altogether_ends_soon(frequency: str) -> None:
    trigger = rrule(f"RRULE:FREQ={frequency}\nEXRULE:FREQ={frequency}")

    assert readings(trigger, 1) == []


def test_a_row_that_is_excluded_for_most_of_a_day_goes_on_behind_it() -> None:
    hours = ",".join(map(str, range(23)))
    trigger = rrule(f"RRULE:FREQ=SECONDLY\nEXRULE:FREQ=SECONDLY;BYHOUR={hours}", start="2026-01-01T00:00:00Z")

    assert readings(trigger, 61)[-2:] == ["01-01 23:00", "01-01 23:01"]


def test_what_is_excluded_by_seconds_is_not_walked_through_for_the_years_between_two_dates() -> None:
    lines = "DTSTART:20250101T120000Z\nRRULE:FREQ=YEARLY\nRRULE:FREQ=YEARLY;BYSECOND=1\nEXRULE:FREQ=SECONDLY;INTERVAL=2"

    assert [row[:5] for row in readings(rrule(lines), 3)] == ["01-01", "01-01", "01-01"]
    assert [f"{to_datetime(it):%S}" for it in instants(rrule(lines), 3)] == ["01", "01", "01"]


def test_a_rule_by_easter_that_never_fires_is_refused() -> None:
    with pytest.raises(TriggerError, match="names no date within 400 years"):
        rrule("FREQ=SECONDLY;BYEASTER=0;BYMONTH=12")


@pytest.mark.parametrize("rule", ["MONTHLY;BYDAY=MO,TU", "YEARLY;BYDAY=MO,TU"])
def test_a_rule_by_months_from_long_ago_is_not_walked_through(rule: str) -> None:
    minutes = ",".join(map(str, range(60)))
    trigger = rrule(f"FREQ={rule};BYHOUR=1,2,3;BYMINUTE={minutes}", start="0002-01-01T00:00:00Z")

    assert readings(trigger, 1) == ["01-05 01:00"]


def test_more_times_a_day_than_minutes_are_refused() -> None:
    sixty = ",".join(map(str, range(60)))
    with pytest.raises(TriggerError, match="10800 times of a day, the limit is 1440"):
        rrule(f"FREQ=YEARLY;BYHOUR=1,2,3;BYMINUTE={sixty};BYSECOND={sixty}")


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["YEARLY", "MONTHLY"]),
    st.integers(1, 30),
    st.sampled_from(["", ";BYDAY=MO,-1FR", ";BYMONTHDAY=31", ";BYMONTH=2", ";BYWEEKNO=1,53", ";BYYEARDAY=1,366"]),
    st.sampled_from(["2024-02-29", "2023-12-31", "2024-01-01", "2021-03-30"]),
    st.integers(0, 15_000),
)
def test_a_rule_that_is_moved_on_by_years_keeps_its_dates(
    frequency: str, interval: int, by: str, start: str, ahead: int
) -> None:
    text = f"FREQ={frequency};INTERVAL={interval}{by if 'WEEKNO' not in by or frequency == 'YEARLY' else ''}"
    begin = datetime.fromisoformat(start).replace(tzinfo=UTC)
    after = begin + timedelta(days=ahead)
    expected = rrulestr(text, dtstart=begin).after(after)
    try:
        trigger = rrule(text, start=begin)
    except TriggerError:
        assert expected is None
        return

    found = compile_trigger(trigger, anchor=0).next_instant(from_datetime(after))

    last = datetime(9998, 1, 1, tzinfo=UTC)
    assert found == (None if expected is None or expected > last else from_datetime(expected))


@pytest.mark.parametrize("order", ["forward", "backward"])
def test_the_order_of_questions_does_not_change_the_answers(order: str) -> None:
    schedule = compile_trigger(rrule("FREQ=DAILY;INTERVAL=2", start="2026-01-01T12:00:00Z"), anchor=0)
    days = range(0, 300, 9) if order == "forward" else range(300, 0, -9)
    start, day = utc("2026-01-01T12:00"), 86_400_000_000

    for number in days:
        assert schedule.next_instant(start + number * day) == start + (number // 2 + 1) * 2 * day


# Every few hours and at certain hours may never meet, which is refused.
RULE = st.builds(
    lambda frequency, interval, by: f"FREQ={frequency};INTERVAL={1 if 'BYHOUR' in by else interval}{by}",
    st.sampled_from(["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"]),
    st.integers(1, 5),
    st.sampled_from(["", ";BYDAY=MO,WE", ";BYMONTHDAY=1,15", ";BYHOUR=3,4", ";COUNT=9", ";UNTIL=20300101T000000Z"]),
)


@settings(max_examples=60)
@given(RULE, st.integers(0, 2_000))
def test_dateutil_agrees_in_utc(text: str, ahead: int) -> None:
    start = datetime(2026, 1, 1, 3, 30, tzinfo=UTC)
    if "BYMONTHDAY" in text and "YEARLY" in text:
        text += ";BYMONTH=1"
    after = start + timedelta(days=ahead)
    expected = rrulestr(text, dtstart=start).after(after)
    schedule = compile_trigger(rrule(text, start=start), anchor=0)

    assert schedule.next_instant(from_datetime(after)) == (None if expected is None else from_datetime(expected))


@settings(max_examples=40)
@given(RULE, st.sampled_from(["shift", "after"]), st.sampled_from(["first", "second", "both"]))
def test_instants_ascend_strictly(text: str, gap: str, fold: str) -> None:
    start = "2026-03-28T01:30"
    trigger = rrule(text, zone="Australia/Lord_Howe", start=start, gap=gap, fold=fold)  # type: ignore[arg-type]  # two literals
    schedule = compile_trigger(trigger, anchor=0)
    found = [slot.instant for slot in schedule.slots(0, utc("2026-11-01T00:00"))]

    assert found
    assert all(first < second for first, second in pairwise(found))
    assert [schedule.next_instant(instant - 1) for instant in found[::50]] == found[::50]


def test_a_rule_that_comes_from_elsewhere_is_only_read() -> None:
    never = "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30"

    assert RRule(never).text == never  # to find out that it never fires takes a second
    with pytest.raises(TriggerError, match="names no date within 400 years"):
        rrule(never)


WORDS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "BYSECOND",
                "BYMINUTE",
                "BYHOUR",
                "BYDAY",
                "BYMONTHDAY",
                "BYYEARDAY",
                "BYWEEKNO",
                "BYMONTH",
                "BYEASTER",
                "BYSETPOS",
                "INTERVAL",
                "WKST",
            ]
        ),
        st.sampled_from(
            ["0", "1", "-1", "5", "12", "23", "53", "60", "249", "366", "-80", "1MO", "-5SU", "TU,3TH", "", "x"]
        ),
    ),
    max_size=3,
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["YEARLY", "MONTHLY", "WEEKLY", "DAILY"]), WORDS)
def test_whatever_is_written_is_read_or_refused_by_one_error(frequency: str, words: list[tuple[str, str]]) -> None:
    text = ";".join([f"FREQ={frequency}", *(f"{name}={value}" for name, value in words)])
    try:
        trigger = RRule(text, start=0)
    except TriggerError:
        return
    compile_trigger(trigger, anchor=0)
    with suppress(TriggerError):  # it never fires
        compile_trigger(rrule(text, start=0), anchor=0).next_instant(0)
