from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from callsheet.triggers import (
    Calendar,
    Constrained,
    Schedule,
    Trigger,
    TriggerError,
    UnknownCalendarError,
    at,
    calendar_interval,
    compile_trigger,
    cron,
    delay,
    every,
    manual,
    rrule,
)
from callsheet.triggers.combination import DifferenceSeries
from callsheet.triggers.instant import DAY_US, HOUR_US, MINUTE_US, SECOND_US, from_datetime, to_datetime
from callsheet.triggers.interval_series import FixedRateSeries


def utc(text: str) -> int:
    return from_datetime(datetime.fromisoformat(text).replace(tzinfo=UTC))


# A Thursday.
NOW = utc("2026-01-01T00:00")


def compiled(trigger: Trigger, anchor: int = NOW, key: str = "job", **calendars: Calendar) -> Schedule:
    return compile_trigger(trigger, key=key, anchor=anchor, calendars=calendars)


def instants(schedule: Schedule, after: int, until: int) -> list[int]:
    return [slot.instant for slot in schedule.slots(after, until)]


def dues(schedule: Schedule, after: str, count: int) -> list[str]:
    found: list[str] = []
    slot = schedule.next(utc(after) - 1)
    while slot is not None and len(found) < count:
        found.append(f"{to_datetime(slot.instant):%a %H:%M}→{to_datetime(slot.due):%a %H:%M}")
        slot = schedule.next(slot.instant)
    return found


# --- single triggers ------------------------------------------------------------------------------------------------


def test_at_is_one_slot() -> None:
    assert instants(compiled(at(5)), 0, NOW) == [5 * SECOND_US]


def test_a_delay_is_counted_from_the_anchor() -> None:
    assert instants(compiled(delay("5m")), 0, NOW + DAY_US) == [NOW + 5 * MINUTE_US]


def test_every_starts_one_period_after_the_anchor() -> None:
    assert compiled(every("5m")).next_instant(0) == NOW + 5 * MINUTE_US


def test_every_may_start_now_which_is_after_the_first_mark() -> None:
    schedule = compiled(every("5m", start="now"))

    assert schedule.next_instant(schedule.first_mark) == NOW
    assert schedule.next_instant(NOW) == NOW + 5 * MINUTE_US


def test_every_keeps_the_phase_of_its_start() -> None:
    schedule = compiled(every("7m", start="2020-01-01T00:01:00Z"))

    found = schedule.next_instant(schedule.first_mark)
    assert found is not None
    assert found >= NOW
    assert (found - utc("2020-01-01T00:01")) % (7 * MINUTE_US) == 0


def test_every_counts_and_finds_the_latest_of_billions_at_once() -> None:
    schedule = compiled(every(0.001))
    until = NOW + 3_650 * DAY_US

    assert schedule.count(NOW, until) == 3_650 * DAY_US // 1_000
    assert schedule.latest_instant(NOW, until + 999) == until


def test_manual_has_no_slots() -> None:
    schedule = compiled(manual())

    assert schedule.next(0) is None
    assert schedule.latest(0, NOW) is None
    assert schedule.count(0, NOW) == 0


def test_a_fixed_delay_is_counted_from_the_end_of_the_last_run() -> None:
    schedule = compiled(every("10m", after_end=True))
    end = NOW + 37 * MINUTE_US

    assert schedule.needs_end
    assert instants(schedule, 0, NOW + DAY_US) == [NOW + 10 * MINUTE_US]
    following = schedule.next_after_end(end)
    assert following is not None
    assert following.instant == end + 10 * MINUTE_US
    assert instants(schedule.after_end(end), 0, NOW + DAY_US) == [end + 10 * MINUTE_US]
    assert schedule.after_end(end).after_end(end + DAY_US).next_instant(end) == end + DAY_US + 10 * MINUTE_US


def test_a_fixed_delay_whose_start_has_passed_begins_a_delay_after_the_job_was_added() -> None:
    schedule = compiled(every("10m", start="2000-01-01T00:00:00Z", after_end=True))

    assert instants(schedule, schedule.first_mark, NOW + DAY_US) == [NOW + 10 * MINUTE_US]


def test_a_fixed_delay_that_is_to_begin_later_begins_then() -> None:
    start = NOW + HOUR_US
    bounded = every("10m", after_end=True).but(start=start // 1_000_000)
    schedule = compiled(bounded)

    assert instants(schedule, schedule.first_mark, NOW + DAY_US) == [start]
    assert instants(schedule.after_end(NOW), NOW, NOW + DAY_US) == [start]
    assert instants(schedule.after_end(start), start, NOW + DAY_US) == [start + 10 * MINUTE_US]
    both = compiled((every("10m", after_end=True) | at(start // 1_000_000 + 1)).but(start=start // 1_000_000))
    assert instants(both, both.first_mark, NOW + DAY_US) == [start, start + 1_000_000]


def test_a_fixed_delay_in_a_union_keeps_its_place() -> None:
    schedule = compiled((every("10m", after_end=True) | at(0)).but(end="2026-01-02T00:00:00Z", jitter=1))

    assert schedule.needs_end
    assert instants(schedule.after_end(NOW + HOUR_US), 1, NOW + DAY_US) == [NOW + HOUR_US + 10 * MINUTE_US]


def test_the_end_of_a_run_changes_nothing_for_other_triggers() -> None:
    schedule = compiled(every("10m"))

    assert schedule.after_end(NOW) is schedule


def test_a_trigger_that_is_nested_too_deep_is_refused() -> None:
    trigger: Trigger = every("1h")
    for _ in range(17):
        trigger = trigger - at(0)

    with pytest.raises(TriggerError, match="may be nested 16 deep"):
        compiled(trigger)


# --- bounds and combinations ----------------------------------------------------------------------------------------


def test_bounds_belong_to_the_trigger() -> None:
    trigger = every("1h", start="2026-01-01T00:00:00Z").but(start="2026-01-01T05:00:00Z", end="2026-01-01T07:00:00Z")
    schedule = compiled(trigger)

    expected = [NOW + hour * HOUR_US for hour in (5, 6, 7)]
    assert instants(schedule, 0, NOW + DAY_US) == expected
    assert schedule.count(0, NOW + DAY_US) == 3
    assert schedule.latest_instant(0, NOW + DAY_US) == expected[-1]
    assert schedule.count(NOW + 7 * HOUR_US, NOW + DAY_US) == 0
    assert schedule.latest_instant(NOW + 7 * HOUR_US, NOW + DAY_US) is None


def test_a_limit_is_handed_to_the_caller() -> None:
    assert compiled(every("1h").but(limit=3)).limit == 3
    assert compiled(every("1h")).limit is None


SIMPLE = st.sampled_from(
    [
        every("1h", start=0),
        every("25m", start=600),
        cron("*/20 8-18 * * *", zone="Europe/Berlin"),
        cron("30 2 * * *", zone="Europe/Berlin"),
        cron("0 */2 * * sun", zone="Australia/Lord_Howe", fold="both"),
        at("2026-03-29T01:00:00Z"),
        calendar_interval(days=1, hour=3, zone="Europe/Berlin"),
        rrule("FREQ=DAILY;BYHOUR=8,9;BYMINUTE=0;BYSECOND=0", zone="Europe/Berlin"),
        every("1h", start=0).but(start="2026-03-28T12:00:00Z", end="2026-03-30T00:00:00Z"),
        manual(),
    ]
)
LOW, HIGH = utc("2026-03-27T00:00"), utc("2026-04-07T00:00")


@settings(max_examples=80)
@given(
    st.lists(SIMPLE, min_size=1, max_size=3),
    st.lists(SIMPLE, max_size=2),
    st.integers(LOW, HIGH),
    st.integers(LOW, HIGH),
)
def test_unions_and_differences_are_those_of_sets(
    added: list[Trigger], taken: list[Trigger], after: int, until: int
) -> None:
    # With an end, so that what drops everything is soon through.
    added = [one if isinstance(one, Constrained) else one.but(end=HIGH // SECOND_US) for one in added]
    trigger = added[0]
    for other in added[1:]:
        trigger = trigger | other
    assume(trigger not in taken)
    for other in taken:
        trigger = trigger - other
    after, until = min(after, until), max(after, until)
    expected = {instant for one in added for instant in instants(compiled(one), after, until)}
    expected -= {instant for one in taken for instant in instants(compiled(one), after, until)}
    schedule = compiled(trigger)

    assert instants(schedule, after, until) == sorted(expected)
    assert schedule.count(after, until) == len(expected)
    assert schedule.latest_instant(after, until) == max(expected, default=None)


def test_a_union_of_a_dense_and_a_sparse_trigger_is_counted_by_the_sparse_one() -> None:
    schedule = compiled(every("1s", start=0) | cron("0 12 * * *"))

    assert schedule.count(NOW, NOW + 3_650 * DAY_US) == 3_650 * DAY_US // SECOND_US


def test_a_difference_that_drops_everything_ends() -> None:
    assert compiled(every("1h") - every("30m")).next(0) is None


# --- jitter -----------------------------------------------------------------------------------------------------------


def test_jitter_is_stable_for_a_job_and_differs_between_jobs() -> None:
    trigger = every("1h").but(jitter="10m")
    offsets = []
    for number in range(50):
        slots = list(compiled(trigger, key=f"job-{number}").slots(NOW, NOW + DAY_US))
        assert len({slot.due - slot.instant for slot in slots}) == 1
        offsets.append(slots[0].due - slots[0].instant)

    assert all(0 <= offset <= 10 * MINUTE_US for offset in offsets)
    assert len(set(offsets)) == 50
    assert compiled(trigger, key="job-7").next(NOW) == compiled(trigger, key="job-7", anchor=NOW).next(NOW)


def test_jitter_of_a_key_never_changes_between_versions() -> None:
    slot = compiled(every("1h").but(jitter="10m"), key="tenant/nightly").next(NOW)

    assert slot is not None
    assert slot.due - slot.instant == JITTER_OF_NIGHTLY


JITTER_OF_NIGHTLY = 4_444_018


@settings(max_examples=100)
@given(SIMPLE, st.integers(0, 3 * HOUR_US), st.text(max_size=5))
def test_jitter_stays_before_the_next_slot(trigger: Trigger, jitter: int, key: str) -> None:
    plain = list(compiled(trigger).slots(LOW, HIGH))
    moved = list(compiled(trigger.but(jitter=jitter / SECOND_US), key=key).slots(LOW, HIGH))

    assert [slot.instant for slot in moved] == [slot.instant for slot in plain]
    assert all(slot.instant <= slot.due <= slot.instant + jitter for slot in moved)
    assert all(slot.due < following.instant for slot, following in pairwise(moved))


# --- calendars --------------------------------------------------------------------------------------------------------

WEEKEND = ("sat", "sun")


def test_a_named_calendar_is_looked_up() -> None:
    schedule = compiled(cron("0 9 * * *").but(calendar="work"), work=Calendar("work", excluded_weekdays=WEEKEND))

    found = {f"{to_datetime(slot.instant):%a}": slot.excluded for slot in schedule.slots(NOW, NOW + 7 * DAY_US)}
    assert found == dict.fromkeys(("Thu", "Fri", "Mon", "Tue", "Wed")) | dict.fromkeys(("Sat", "Sun"), "work")


def test_an_unknown_calendar_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UnknownCalendarError, match="no calendar is named 'wrok'; known calendars: work"):
        compiled(every("1h").but(calendar="wrok"), work=Calendar("work"))


def test_an_excluded_day_is_moved_to_the_next_at_the_same_time() -> None:
    calendar = Calendar("work", excluded_weekdays=WEEKEND, excluded_dates=("01-05",), on_excluded="next")
    schedule = compiled(cron("0 9 * * *").but(calendar=calendar))

    expected = ["Fri 09:00→Fri 09:00", "Sat 09:00→Tue 09:00", "Sun 09:00→Tue 09:00", "Mon 09:00→Tue 09:00"]
    assert dues(schedule, "2026-01-02T00:00", 5) == [*expected, "Tue 09:00→Tue 09:00"]


def test_an_excluded_day_is_moved_to_the_previous_at_the_same_time() -> None:
    calendar = Calendar("work", excluded_weekdays=WEEKEND, on_excluded="previous")
    schedule = compiled(cron("0 9 * * *").but(calendar=calendar))

    expected = ["Fri 09:00→Fri 09:00", "Sat 09:00→Fri 09:00", "Sun 09:00→Fri 09:00", "Mon 09:00→Mon 09:00"]
    assert dues(schedule, "2026-01-02T00:00", 4) == expected


def test_a_moved_slot_does_not_overtake_another() -> None:
    schedule = {
        way: compiled(cron("0 6,18 * * *").but(calendar=Calendar("work", excluded_weekdays=WEEKEND, on_excluded=way)))
        for way in ("next", "previous")
    }

    assert dues(schedule["next"], "2026-01-03T12:00", 2) == ["Sat 18:00→Mon 06:00", "Sun 06:00→Mon 06:00"]
    assert dues(schedule["previous"], "2026-01-03T00:00", 2) == ["Sat 06:00→Fri 18:00", "Sat 18:00→Fri 18:00"]


def test_an_excluded_range_is_left_at_its_borders() -> None:
    hours = (utc("2026-01-01T10:00"), utc("2026-01-01T12:00"))
    found = {}
    ways: tuple[Literal["next", "previous"], ...] = ("next", "previous")
    for way in ways:
        schedule = compiled(cron("30 11 * * *").but(calendar=Calendar("x", excluded_ranges=(hours,), on_excluded=way)))
        slot = schedule.next(NOW)
        assert slot is not None
        assert slot.excluded is None
        found[way] = slot.due

    assert found == {"next": hours[1], "previous": hours[0] - 1}


def test_allowed_days_are_the_only_ones_and_exclusions_win() -> None:
    calendar = Calendar("x", allowed_weekdays=("mon",), allowed_dates=("2026-01-03",), excluded_dates=("01-12",))
    schedule = compiled(cron("0 9 * * *").but(calendar=calendar))

    kept = [f"{to_datetime(slot.instant):%d}" for slot in schedule.slots(NOW, NOW + 20 * DAY_US) if not slot.excluded]
    assert kept == ["03", "05", "19"]


def test_days_are_those_of_the_calendars_zone() -> None:
    calendar = Calendar("x", zone="Asia/Tokyo", excluded_weekdays=("sat",))
    schedule = compiled(cron("0 14,16 * * fri").but(calendar=calendar))

    found = [slot.excluded for slot in schedule.slots(NOW, NOW + 3 * DAY_US)]
    assert found == [None, "x"]


def test_a_calendar_without_an_allowed_day_skips() -> None:
    calendar = Calendar("never", allowed_dates=("2020-01-01",), on_excluded="next")
    slot = compiled(cron("0 9 * * *").but(calendar=calendar, jitter=60)).next(NOW)

    assert slot is not None
    assert (slot.excluded, slot.due) == ("never", slot.instant)


def test_notes_tell_what_was_done() -> None:
    calendar = Calendar("work", excluded_weekdays=("sun",), on_excluded="next")
    trigger = cron("30 2 * * *", zone="Europe/Berlin").but(calendar=calendar, jitter="1h")
    slot = compiled(trigger, key="a").next(utc("2026-03-28T12:00"))

    assert slot is not None
    assert slot.note.startswith("gap→03:00, calendar: work, moved to Mon 2026-03-30 00:30, jitter +")


CALENDAR = st.builds(
    Calendar,
    name=st.just("x"),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Apia"]),
    excluded_weekdays=st.sets(st.sampled_from(["mon", "tue", "wed", "sat", "sun"]), max_size=4).map(
        lambda days: tuple(sorted(days))
    ),
    excluded_dates=st.sets(st.sampled_from(["03-29", "2026-03-30", "04-02"])).map(lambda dates: tuple(sorted(dates))),
    excluded_ranges=st.lists(st.tuples(st.integers(LOW, HIGH), st.integers(1, 2 * DAY_US)), max_size=2).map(
        lambda rows: tuple((start, start + length) for start, length in rows)
    ),
    on_excluded=st.sampled_from(["skip", "next", "previous"]),
)


@settings(max_examples=80)
@given(st.lists(SIMPLE, min_size=1, max_size=2), CALENDAR, st.sampled_from([0, 1, 90, 40_000]), st.text(max_size=3))
def test_due_times_keep_the_order_of_the_slots_and_are_allowed(
    members: list[Trigger], calendar: Calendar, jitter: int, key: str
) -> None:
    trigger = members[0] if len(members) == 1 else members[0] | members[1]
    slots = list(compiled(trigger.but(calendar=calendar, jitter=jitter), key=key).slots(LOW, HIGH))
    allowed = compiled(trigger.but(calendar=calendar))

    assert all(slot.due <= following.due for slot, following in pairwise(slots))
    for slot in slots:
        if slot.excluded is None:
            assert compile_allows(calendar, allowed.due(slot.instant))
        else:
            assert calendar.on_excluded == "skip"
            assert slot.due == slot.instant


def compile_allows(calendar: Calendar, instant: int) -> bool:
    """The rule of calendars once more, by datetime alone."""
    from zoneinfo import ZoneInfo

    shown = to_datetime(instant).astimezone(ZoneInfo(calendar.zone))
    return (
        f"{shown:%a}".lower() not in calendar.excluded_weekdays
        and not {f"{shown:%Y-%m-%d}", f"{shown:%m-%d}"} & set(calendar.excluded_dates)
        and not any(start <= instant < end for start, end in calendar.excluded_ranges)
    )


@given(st.integers(LOW, HIGH), st.integers(LOW, HIGH))
def test_slots_are_equal_by_their_data(first: int, second: int) -> None:
    assume(first != second)
    schedule = compiled(every("1h", start=0))

    assert schedule.slot(first) == schedule.slot(first)
    assert schedule.slot(first) != schedule.slot(second)
    assert len({schedule.slot(first), schedule.slot(first), schedule.slot(second)}) == 2


def test_a_difference_that_has_given_up_looks_through_no_row_twice() -> None:
    asked: list[int] = []

    class Dropping(FixedRateSeries):
        def contains(self, instant: int) -> bool:
            asked.append(instant)
            return instant <= NOW + 60_000 * SECOND_US

    seconds = FixedRateSeries(NOW, SECOND_US)
    series = DifferenceSeries(seconds, Dropping(NOW, SECOND_US))

    assert [series.next(NOW + at * SECOND_US) for at in range(0, 10_000, 100)] == [None] * 100
    assert series.next(NOW + 10_001 * SECOND_US) == NOW + 60_001 * SECOND_US
    assert series.next(NOW + 5_000 * SECOND_US) is None
    assert len(asked) == len(set(asked))
