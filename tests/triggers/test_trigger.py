import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.errors import CallsheetError
from callsheet.triggers import (
    At,
    Calendar,
    CalendarInterval,
    Constrained,
    Cron,
    Every,
    FixedDelay,
    RRule,
    Trigger,
    TriggerError,
    Union,
    at,
    calendar_interval,
    cron,
    delay,
    every,
    manual,
    rrule,
)

HOLIDAYS = Calendar(
    "holidays",
    zone="Europe/Berlin",
    excluded_weekdays=("sat",),
    excluded_dates=("12-25", "2026-05-01"),
    excluded_ranges=((5, 9),),
    allowed_dates=("2026-01-03",),
    on_excluded="previous",
)
TRIGGERS: list[Trigger] = [
    at("2026-05-01T09:00:00+02:00"),
    delay("5m"),
    every("90s"),
    every(60, start="now"),
    every("1d", start="2026-01-01T00:00:00Z", after_end=True),
    cron("30 2 * * mon", zone="Europe/Berlin", gap="shift", fold="both"),
    cron("0 0 12 ? * 6L 2030", dialect="quartz"),
    calendar_interval(months=2, day=31, hour=10, zone="Asia/Beirut", missing_day="clamp"),
    rrule("FREQ=WEEKLY;BYDAY=MO,WE", zone="Europe/Berlin", start="2026-01-01T09:00:00"),
    manual(),
    cron("@daily") | every("1h") | at(5),
    cron("@daily") - cron("0 0 * * 0") - at(86_400),
    ((cron("@daily") | manual()) - every("7d", start=0)).but(
        jitter="30s", calendar=HOLIDAYS, start=100, end=10**9, limit=3
    ),
    (every("1h").but(end=1000) | cron("@daily").but(start=10)).but(calendar="work"),
]


def through_the_wire(trigger: Trigger) -> object:
    return msgspec.convert(msgpack.unpackb(msgpack.packb(msgspec.to_builtins(trigger))), Trigger)


@pytest.mark.parametrize("trigger", TRIGGERS, ids=str)
def test_a_trigger_survives_message_pack(trigger: Trigger) -> None:
    assert through_the_wire(trigger) == trigger


PLAIN = st.sampled_from([trigger for trigger in TRIGGERS if not isinstance(trigger, Constrained | FixedDelay)])


@given(
    st.recursive(
        PLAIN,
        lambda inner: st.builds(lambda a, b, minus: a - b if minus and a != b else a | b, inner, inner, st.booleans()),
        max_leaves=8,
    )
)
def test_any_combination_survives_message_pack(trigger: Trigger) -> None:
    assert through_the_wire(trigger) == trigger


@pytest.mark.parametrize(
    "data",
    [
        {"type": "cron", "expression": "61 * * * *"},
        {"type": "cron", "expression": "* * * * *", "zone": "Mars/Olympus"},
        {"type": "cron", "expression": "* * * * *", "gap": "sideways"},
        {"type": "every", "period_us": 0},
        {"type": "every", "period_us": 5_000, "start": "soon"},
        {"type": "at", "when": 10**30},
        {"type": "union", "members": []},
        {"type": "rrule", "text": "FREQ=NEVER"},
        {"type": "but", "trigger": {"type": "but", "trigger": {"type": "manual"}}},
        {"type": "calendar_interval", "days": -1},
        {"type": "nonsense"},
        {},
    ],
)
def test_what_is_wrong_on_the_wire_is_refused_by_the_decoder(data: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(data, Trigger)


def test_a_union_of_unions_is_flat() -> None:
    a, b, c = at(1), at(2), at(3)

    assert (a | b) | c == a | (b | c) == Union((a, b, c))


def test_conditions_are_added_to_each_other() -> None:
    trigger = every("1h").but(limit=3).but(jitter="5s").but(limit=4)

    assert trigger == Constrained(Every(3_600_000_000), jitter_us=5_000_000, limit=4)


def test_moments_are_taken_in_every_form() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    expected = At(1_777_618_800_000_000)

    assert at(datetime(2026, 5, 1, 7, tzinfo=UTC)) == expected
    assert at(datetime(2026, 5, 1, 9, tzinfo=berlin)) == expected
    assert at(datetime(2026, 5, 1, 9), zone="Europe/Berlin") == expected  # noqa: DTZ001  # its zone is beside it
    assert at("2026-05-01T09:00", zone=berlin) == expected
    assert at("2026-05-01T07:00:00Z") == expected
    assert at(1_777_618_800) == expected
    assert at(1_777_618_800.0) == expected


def test_a_naive_moment_in_a_gap_or_fold_is_resolved() -> None:
    assert at("2026-03-29T02:30", zone="Europe/Berlin") == at("2026-03-29T01:00Z")
    assert at("2026-10-25T02:30", zone="Europe/Berlin") == at("2026-10-25T00:30Z")
    second = datetime(2026, 10, 25, 2, 30, fold=1)  # noqa: DTZ001  # its zone is beside it
    assert at(second, zone="Europe/Berlin") == at("2026-10-25T01:30Z")


@pytest.mark.parametrize(
    "period", [5400, 5400.0, timedelta(minutes=90), "1h30m", "1h 30m", "90 minutes", "1.5 hours", "PT1H30M", "5400s"]
)
def test_periods_are_taken_in_every_form(period: float | timedelta | str) -> None:
    assert every(period) == Every(5_400_000_000)


def test_a_calendar_interval_takes_its_time_from_its_start() -> None:
    start = "2026-01-31T10:20:30"

    assert calendar_interval(months=1, zone="Europe/Berlin", start=start) == CalendarInterval(
        months=1, hour=10, minute=20, second=30, zone="Europe/Berlin", start=at(start, zone="Europe/Berlin").when
    )


def test_a_recurrence_takes_start_and_zone_from_its_text() -> None:
    trigger = rrule("DTSTART;TZID=Europe/Berlin:20260101T090000\nRRULE:FREQ=DAILY")

    assert trigger == RRule("RRULE:FREQ=DAILY", at("2026-01-01T08:00Z").when, "Europe/Berlin")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: at(datetime(2026, 5, 1)), "has no time zone"),  # noqa: DTZ001  # that is the point
        (lambda: at("tomorrow"), "ISO 8601 was expected, such as"),
        (lambda: at(float("nan")), "must be a datetime, ISO 8601 text or Unix seconds"),
        (lambda: at(10**15), "must lie within the years 2 to 9998"),
        (lambda: at(True), "must be a datetime, ISO 8601 text or Unix seconds; True was given"),
        (lambda: delay(-1), "a delay must be at least 0"),
        (lambda: delay(float("inf")), "must be a number of seconds, a timedelta or text"),
        (lambda: every(0), "the period of every() must be at least 1000 µs"),
        (lambda: every("5 parsecs"), "write a number and a unit, such as '90s', '5m'"),
        (lambda: every(""), "is empty: write a number and a unit"),
        (lambda: every("1h", start=datetime(2026, 5, 1)), "the start of every() has no time zone"),  # noqa: DTZ001
        (lambda: every(0, after_end=True), "the delay of every(after_end=True)"),
        (lambda: cron("* * * * *", zone="Europe/Berln"), "did you mean Europe/Berlin"),
        (lambda: cron("* * * * *", gap="never"), "gap must be 'after', 'skip' or 'shift'; 'never' was given"),  # type: ignore[arg-type]
        (lambda: cron("* * * * *", fold="never"), "fold must be 'auto', 'first', 'second' or 'both'"),  # type: ignore[arg-type]
        (lambda: cron("* * * * *", dialect="aws"), "dialect must be 'vixie', 'seconds' or 'quartz'"),  # type: ignore[arg-type]
        (lambda: calendar_interval(hour=9), "needs at least one of years, months, weeks or days"),
        (lambda: calendar_interval(days=1, hour=24), "hour must be a whole number from 0 to 23; 24 was given"),
        (lambda: calendar_interval(days=1, day=3), "day= is a day of the month"),
        (lambda: calendar_interval(months=1, day=32), "day must be a whole number from 1 to 31"),
        (lambda: calendar_interval(days=1, missing_day="x"), "missing_day must be 'skip' or 'clamp'"),  # type: ignore[arg-type]
        (lambda: rrule("FREQ=SOMETIMES"), "RFC 5545 writes it like 'FREQ=WEEKLY;BYDAY=MO,WE'"),
        (lambda: rrule(""), "an RRULE has 1 to 100 lines; this text has 0"),
        (lambda: rrule("FREQ=DAILY;INTERVAL=0"), "INTERVAL must be a whole number from 1 to"),
        (lambda: rrule("FREQ=DAILY;COUNT=1000000"), "COUNT must be a whole number from 1 to 100000"),
        (lambda: rrule("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"), "names no date within 400 years"),
        (lambda: rrule("FREQ=YEARLY;BYEASTER=400"), "BYEASTER goes from -80 to 249; 400 was found"),
        (lambda: rrule("FREQ=YEARLY;BYEASTER=" + "9" * 30), "BYEASTER goes from -80 to 249"),
        (lambda: rrule("FREQ=MONTHLY;BYDAY=9MO"), "BYDAY counts from 1 to 5 here, or from the end; 9 was found"),
        (lambda: rrule("FREQ=YEARLY;BYDAY=MO,-54SU"), "BYDAY counts from 1 to 53 here, or from the end; -54 was found"),
        (lambda: rrule("FREQ=YEARLY;BYDAY=0MO"), "BYDAY counts from 1 to 53 here"),
        (lambda: rrule("FREQ=HOURLY;BYHOUR=25"), "BYHOUR goes from 0 to 23; 25 was found"),
        (lambda: rrule("FREQ=MONTHLY;BYMONTHDAY=0"), "BYMONTHDAY goes from -31 to 31; 0 was found"),
        (lambda: rrule("FREQ=YEARLY;BYMONTH=13"), "BYMONTH goes from 1 to 12; 13 was found"),
        (lambda: rrule("FREQ=MINUTELY;INTERVAL=1440;BYHOUR=5", start=0), "INTERVAL=1440;BYHOUR=5' never fires"),
        (lambda: rrule("RRULE:EXDATE:20260101T000000"), "RRULE 'EXDATE:20260101T000000' cannot be read"),
        (lambda: RRule("FREQ=YEARLY;BYEASTER=-81"), "BYEASTER goes from -80 to 249; -81 was found"),
        (lambda: RRule("FREQ=YEARLY;BYDAY=X"), "RRULE 'FREQ=YEARLY;BYDAY=X' cannot be read"),
        (lambda: rrule("FREQ=DAILY\nEXDATE;TZID=Asia/Tokyo:20260101T000000"), "write one zone for both"),
        (lambda: rrule("FREQ=DAILY;BYSETPOS=2"), "a rule in it names no date within 400 years"),
        (lambda: rrule("FREQ=DAILY\nEXRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"), "EXRULE:FREQ=DAILY;BYMONTH=2"),
        (lambda: rrule("FREQ=MINUTELY;BYSETPOS=2"), "BYSETPOS goes with DAILY, WEEKLY, MONTHLY and YEARLY"),
        (lambda: rrule("FREQ=DAILY\nSUMMARY:x"), "RRULE, EXRULE, RDATE or EXDATE was expected"),
        (lambda: rrule("EXDATE:20260101T000000"), "neither an RRULE nor an RDATE"),
        (lambda: rrule("FREQ=DAILY\nRDATE:yesterday"), "is written 20260501T090000"),
        (lambda: every("1h") | 5, "a trigger was expected, such as every('5m')"),  # type: ignore[operator]
        (lambda: every("1h").but(jitter=5) | at(5), "write (a | b).but(jitter=...)"),
        (lambda: every("1h") - at(5).but(limit=1), "jitter, calendar and limit belong to the whole trigger"),
        (lambda: every("1h") | at(5).but(calendar="x"), "jitter, calendar and limit belong to the whole"),
        (lambda: every("1h") - every(3600), "a trigger minus itself never fires"),
        (lambda: every("1h") - every("1m", after_end=True), "a fixed delay cannot be excluded"),
        (lambda: every("1h").but(limit=0), "limit is the number of fires, at least 1; 0 was given"),
        (lambda: every("1h").but(start=10, end=5), "the end of a trigger lies before its start"),
        (lambda: every("1h").but(jitter=-1), "jitter must be at least 0"),
        (lambda: Union(tuple(at(n) for n in range(65))), "a union has 1 to 64 members; this one has 65"),
        (lambda: Calendar(""), "a calendar needs a name"),
        (lambda: Calendar("x", excluded_weekdays=("Monday",)), "a weekday is one of mon, tue"),
        (lambda: Calendar("x", excluded_dates=("1.5.",)), "'12-25' for every year; '1.5.' was given"),
        (lambda: Calendar("x", excluded_dates=("2026-02-30",)), "'2026-02-30' was given"),
        (lambda: Calendar("x", excluded_ranges=((5, 5),)), "the range 5 to 5 ends before it begins"),
        (lambda: Calendar("x", on_excluded="drop"), "on_excluded must be 'skip', 'next' or 'previous'"),  # type: ignore[arg-type]
        (lambda: Calendar("x", zone="Nowhere"), "no time zone 'Nowhere'"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_write(make: Callable[[], object], message: str) -> None:
    with pytest.raises(TriggerError, match=re.escape(message)) as caught:
        make()
    assert isinstance(caught.value, CallsheetError)
    assert isinstance(caught.value, ValueError)


def test_a_cron_says_its_zone_as_a_name() -> None:
    assert cron("@daily", zone=ZoneInfo("Asia/Tokyo")) == Cron("@daily", "Asia/Tokyo")
