"""Cron against two oracles: every minute of whole years, and croniter where the rules agree."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from itertools import pairwise
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.triggers.cron_expression import Dialect, parse_cron
from callsheet.triggers.cron_series import CronSeries
from callsheet.triggers.instant import DAY_US, HOUR_US, MINUTE_US, SECOND_US, from_datetime, to_datetime
from callsheet.triggers.zone import Fold, Gap, find_zone

DAY_MINUTES = 1_440
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

# A gap or a fold of each odd sort; the comment says what the year has.
YEARS = [
    ("Europe/Berlin", 2026),  # one hour, at 02:00
    ("Europe/Dublin", 2026),  # winter time is the exception, and negative
    ("America/New_York", 2044),  # after 2037, where old tables end
    ("America/Sao_Paulo", 2018),  # a gap at midnight, a fold before midnight
    ("Africa/Cairo", 2024),  # a gap at midnight, on a Friday
    ("Asia/Beirut", 2024),  # a gap at midnight
    ("Australia/Lord_Howe", 2026),  # thirty minutes
    ("Antarctica/Troll", 2026),  # two hours
    ("Africa/Casablanca", 2026),  # back for a month, then forward
    ("Pacific/Apia", 2011),  # a whole day missing, and summer time
    ("Pacific/Kwajalein", 1993),  # a whole day missing
    ("Asia/Kathmandu", 1986),  # fifteen minutes missing
    ("America/Caracas", 2007),  # thirty minutes twice
    ("America/Juneau", 1983),  # two hours twice
]
EXPRESSIONS = [
    "30 2 * * *",
    "0 0 * * *",
    "*/15 0,2,23 * * *",
    "20 * * * *",
    "10,50 */2 * * *",
    "0 3 30 * *",
    "45 1-3 * 3,11,12 sun,fri",
    "5 0 */3 * mon-fri",
]
POLICIES: list[tuple[Gap, Fold]] = [("after", "auto"), ("skip", "second"), ("shift", "both"), ("after", "first")]


def series(
    expression: str, zone: str, gap: Gap = "after", fold: Fold = "auto", dialect: Dialect = "vixie"
) -> CronSeries:
    return CronSeries(parse_cron(expression, dialect), find_zone(zone), gap, fold)


def listed(next_instant: Callable[[int], int | None], after: int, until: int) -> list[int]:
    found = []
    instant = next_instant(after)
    while instant is not None and instant <= until:
        found.append(instant)
        instant = next_instant(instant)
    return found


def utc(*parts: int) -> int:
    return from_datetime(datetime(*parts, tzinfo=UTC))  # type: ignore[misc,arg-type]  # a date's parts


# --- the first oracle: a clock that is looked at every minute -------------------------------------------------------


@cache
def offsets_of_year(zone: str, year: int) -> tuple[int, list[int]]:
    """The first UTC minute, and the offset in minutes for every quarter of an hour, a day more on both sides."""
    info = ZoneInfo(zone)
    start = datetime(year, 1, 1, tzinfo=UTC) - timedelta(days=1)
    quarters = (datetime(year + 1, 1, 2, tzinfo=UTC) - start) // timedelta(minutes=15)
    offsets = []
    for quarter in range(quarters):
        offset = (start + quarter * timedelta(minutes=15)).astimezone(info).utcoffset()
        assert offset is not None
        offsets.append(round(offset / timedelta(minutes=1)))
    return from_datetime(start) // MINUTE_US, offsets


def numbers(text: str, low: int, high: int, names: str = "") -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        body, _, step = part.partition("/")
        ends = [names.split().index(end) + low if end in names.split() else end for end in body.split("-")]
        first, last = (low, high) if body == "*" else (int(ends[0]), int(ends[-1]))
        found.update(range(first, last + 1, int(step or 1)))
    return found


def matcher(expression: str) -> Callable[[int], bool]:
    """Whether a clock reading, in minutes, matches; written without a look at the code that is tested."""
    minute, hour, day, month, weekday = expression.split()
    minutes, hours = numbers(minute, 0, 59), numbers(hour, 0, 23)
    days, months = numbers(day, 1, 31), numbers(month, 1, 12)
    weekdays = {number % 7 for number in numbers(weekday, 0, 6, "sun mon tue wed thu fri sat")}
    either = not day.startswith("*") and not weekday.startswith("*")
    times = {at for at in range(DAY_MINUTES) if at // 60 in hours and at % 60 in minutes}

    @lru_cache(maxsize=1_000)
    def day_matches(number: int) -> bool:
        shown = date.fromordinal(number + EPOCH_ORDINAL)
        found = [shown.day in days, shown.isoweekday() % 7 in weekdays]
        return shown.month in months and (any(found) if either else all(found))

    return lambda wall: wall % DAY_MINUTES in times and day_matches(wall // DAY_MINUTES)


def quarters_of_day(expression: str) -> set[int]:
    """The quarters of an hour, 0-95, in which anything can match (every offset here is a multiple of a quarter)."""
    minute, hour = expression.split()[:2]
    minutes, hours = numbers(minute, 0, 59), numbers(hour, 0, 23)
    return {at * 4 + past // 15 for at in hours for past in minutes}


def brute_force(expression: str, zone: str, year: int) -> Callable[[Gap, Fold], list[int]]:
    """What a policy makes of the year, found by looking at the clock every minute."""
    first, offsets = offsets_of_year(zone, year)
    matches = matcher(expression)
    busy = quarters_of_day(expression)
    plain: set[int] = set()
    gaps: list[tuple[int, list[int], int]] = []
    passes: dict[int, str] = {}
    for quarter, offset in enumerate(offsets):
        minute = first + quarter * 15
        if (minute + offset) % DAY_MINUTES // 15 in busy:
            plain.update(at for at in range(minute, minute + 15) if matches(at + offset))
        jump = offset - (offsets[quarter - 1] if quarter else offset)
        if jump > 0:
            gaps.append(
                (minute, [wall for wall in range(minute + offset - jump, minute + offset) if matches(wall)], jump)
            )
        passes.update(dict.fromkeys(range(minute + jump, minute), "first"))
        passes.update(dict.fromkeys(range(minute, minute - jump), "second"))

    def result(gap: Gap, fold: Fold) -> list[int]:
        hour = expression.split()[1]
        kept = {"first": ("first",), "second": ("second",)}.get(fold, ("first", "second"))
        if fold == "auto" and not hour.startswith("*"):
            kept = ("first",)
        found = {at for at in plain if at not in passes or passes[at] in kept}
        for end, missed, jump in gaps:
            if gap == "shift":
                found.update(wall - (end_offset(end) - jump) for wall in missed)
            elif gap == "after" and missed and hour != "*":
                found.add(end)
        low, high = utc(year, 1, 1), utc(year + 1, 1, 1)
        return sorted(at * MINUTE_US for at in found if low < at * MINUTE_US <= high)

    def end_offset(minute: int) -> int:
        return offsets[(minute - first) // 15]

    return result


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize(("zone", "year"), YEARS)
def test_every_minute_of_a_year_agrees(zone: str, year: int, expression: str) -> None:
    expected = brute_force(expression, zone, year)
    after, until = utc(year, 1, 1), utc(year + 1, 1, 1)

    for gap, fold in POLICIES:
        cron, wanted = series(expression, zone, gap, fold), expected(gap, fold)
        assert wanted
        assert listed(cron.next, after, until) == wanted, (gap, fold)
        assert cron.count(after, until) == len(wanted), (gap, fold)


@pytest.mark.parametrize("gap", get_args(Gap))
@pytest.mark.parametrize("fold", get_args(Fold))
@pytest.mark.parametrize(("zone", "year"), [("Australia/Lord_Howe", 2026), ("Pacific/Apia", 2011)])
def test_every_policy_agrees_with_every_minute(zone: str, year: int, gap: Gap, fold: Fold) -> None:
    expected = brute_force("15,45 1-2 * * *", zone, year)

    found = listed(series("15,45 1-2 * * *", zone, gap, fold).next, utc(year, 1, 1), utc(year + 1, 1, 1))

    assert found == expected(gap, fold)
    assert len(found) > 1_400


def test_every_minute_fires_every_minute_of_a_year_with_both_jumps() -> None:
    found = series("* * * * *", "Europe/Berlin").count(utc(2026, 1, 1) - 1, utc(2027, 1, 1) - 1)

    assert found == 365 * DAY_MINUTES


# --- the second oracle: croniter, where no clock jumps ---------------------------------------------------------------


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    # Not 0-0, which croniter reads as the whole field.
    span = st.tuples(st.integers(low, high - 1), number).map(lambda ends: f"{ends[0]}-{max(ends[0] + 1, ends[1])}")
    step = st.integers(1, high).map(lambda width: f"*/{width}")
    few = st.lists(number.map(str) | span, min_size=1, max_size=3).map(",".join)
    return st.just("*") | few | step


EXPRESSION = st.tuples(
    field(0, 59),
    field(0, 23),
    st.one_of(
        st.tuples(field(1, 28), field(1, 12), st.just("*")),
        st.tuples(st.just("*"), field(1, 12), field(0, 6)),
    ),
).map(lambda parts: " ".join((parts[0], parts[1], *parts[2])))


@settings(max_examples=60)
@given(EXPRESSION, st.integers(0, 40_000 * 1_440))
def test_croniter_agrees_in_utc(expression: str, minutes: int) -> None:
    start = datetime(1980, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    cron, oracle = series(expression, "UTC"), croniter(expression, start)
    instant: int | None = from_datetime(start)

    for _ in range(3):
        assert instant is not None
        instant = cron.next(instant)
        assert instant == from_datetime(oracle.get_next(datetime))


@settings(max_examples=40)
@given(EXPRESSION, st.sampled_from(["Asia/Tokyo", "Asia/Kolkata", "America/Phoenix"]), st.integers(0, 20_000))
def test_croniter_agrees_in_zones_without_jumps(expression: str, zone: str, hours: int) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
    oracle = croniter(expression, start.astimezone(ZoneInfo(zone)))

    assert series(expression, zone).next(from_datetime(start)) == from_datetime(oracle.get_next(datetime))


@pytest.mark.parametrize("expression", ["30 2 * * *", "0 0 * * *", "15 2,5 * * *"])
def test_croniter_agrees_about_what_fell_into_a_gap(expression: str) -> None:
    start = datetime(2026, 3, 28, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    oracle = croniter(expression, start)

    assert series(expression, "Europe/Berlin").next(from_datetime(start)) == from_datetime(oracle.get_next(datetime))


# --- single rules ---------------------------------------------------------------------------------------------------


def readings(cron: CronSeries, zone: str, start: int, count: int) -> list[str]:
    found = []
    instant: int | None = start
    for _ in range(count):
        assert instant is not None
        instant = cron.next(instant)
        assert instant is not None
        found.append(f"{to_datetime(instant).astimezone(ZoneInfo(zone)):%d %H:%M %z} {cron.note(instant)}".strip())
    return found


def test_a_fixed_time_in_the_gap_fires_once_when_the_gap_ends() -> None:
    cron = series("0,30 2 * * *", "Europe/Berlin")

    assert readings(cron, "Europe/Berlin", utc(2026, 3, 28, 12), 2) == ["29 03:00 +0200 gap→03:00", "30 02:00 +0200"]


def test_a_slot_at_the_end_of_the_gap_takes_in_what_the_gap_owes() -> None:
    cron = series("0 2,3 * * *", "Europe/Berlin")

    assert readings(cron, "Europe/Berlin", utc(2026, 3, 28, 12), 2) == ["29 03:00 +0200 gap→03:00", "30 02:00 +0200"]


def test_an_hourly_job_is_owed_nothing_and_keeps_its_distance() -> None:
    cron = series("30 * * * *", "Europe/Berlin")

    assert readings(cron, "Europe/Berlin", utc(2026, 3, 29, 0), 2) == ["29 01:30 +0100", "29 03:30 +0200"]


def test_every_second_hour_is_owed_its_hour_in_the_gap() -> None:
    cron = series("0 */2 * * *", "Europe/Berlin")

    assert readings(cron, "Europe/Berlin", utc(2026, 3, 28, 23), 2) == ["29 03:00 +0200 gap→03:00", "29 04:00 +0200"]


def test_a_gap_can_be_skipped_or_shifted() -> None:
    skip, shift = (series("30 2 * * *", "Europe/Berlin", gap) for gap in ("skip", "shift"))

    assert readings(skip, "Europe/Berlin", utc(2026, 3, 28, 12), 1) == ["30 02:30 +0200"]
    assert readings(shift, "Europe/Berlin", utc(2026, 3, 28, 12), 1) == ["29 03:30 +0200 gap→03:30"]


def test_a_fixed_time_in_the_fold_fires_the_first_time() -> None:
    cron = series("30 2 * * *", "Europe/Berlin")

    expected = ["25 02:30 +0200 fold: first", "26 02:30 +0100"]
    assert readings(cron, "Europe/Berlin", utc(2026, 10, 24, 12), 2) == expected


def test_an_hourly_job_fires_both_times_in_the_fold() -> None:
    cron = series("30 */2 * * *", "Europe/Berlin")

    expected = ["25 02:30 +0200 fold: first", "25 02:30 +0100 fold: second", "25 04:30 +0100"]
    assert readings(cron, "Europe/Berlin", utc(2026, 10, 24, 23), 3) == expected


def test_midnight_that_does_not_exist_follows_the_rule_of_the_gap() -> None:
    # Cairo goes from 23:59:59 on 25 April 2024 to 01:00 on the 26th.
    cron = series("0 0 * * *", "Africa/Cairo")

    assert readings(cron, "Africa/Cairo", utc(2024, 4, 25), 2) == ["26 01:00 +0300 gap→01:00", "27 00:00 +0300"]


def test_a_missing_day_follows_the_rule_of_the_gap() -> None:
    # Apia had no 30 December 2011.
    cron = series("0 9 30 12 *", "Pacific/Apia")

    assert readings(cron, "Pacific/Apia", utc(2011, 12, 1), 1) == ["31 00:00 +1400 gap→00:00"]
    assert series("0 9 30 12 *", "Pacific/Apia", "skip").next(utc(2011, 12, 1)) == utc(2012, 12, 29, 19)


def test_a_leap_day_on_a_monday_is_found_over_forty_years_off() -> None:
    # 1892 to 1932 is the longest pause of this kind around a century that is no leap year.
    cron = series("0 0 29 2 */7", "UTC")

    assert cron.next(utc(2028, 3, 1)) == utc(2032, 2, 29)
    assert cron.next(utc(2088, 3, 1)) == utc(2128, 2, 29)


def test_years_are_kept_and_end_the_series() -> None:
    cron = series("0 0 12 1 1 ? 2030,2199", "Europe/Berlin", dialect="quartz")

    assert listed(cron.next, utc(1971, 1, 1), utc(2300, 1, 1)) == [utc(2030, 1, 1, 11), utc(2199, 1, 1, 11)]


def test_seconds_are_steps_of_their_own() -> None:
    cron = series("59 23 31 12 * 58,59", "UTC", dialect="seconds")
    eve = utc(2026, 12, 31, 23, 59)

    assert listed(cron.next, eve, eve + DAY_US) == [eve + 58 * SECOND_US, eve + 59 * SECOND_US]


def test_next_is_strictly_after_even_within_a_microsecond() -> None:
    cron = series("0 * * * *", "UTC")
    slot = utc(2026, 1, 1, 5)

    assert cron.next(slot - 1) == slot
    assert cron.next(slot) == slot + HOUR_US
    assert cron.next(slot + 1) == slot + HOUR_US


@pytest.mark.parametrize("after", [-(10**30), 10**30])
def test_no_instant_is_too_far_away_to_be_asked(after: int) -> None:
    found = series("0 0 * * *", "Europe/Berlin").next(after)

    assert found is None if after > 0 else found is not None


ZONE = st.sampled_from([zone for zone, _ in YEARS])
MOMENT = st.integers(utc(1960, 1, 1), utc(2120, 1, 1))


@settings(max_examples=200)
@given(EXPRESSION, ZONE, st.sampled_from(get_args(Gap)), st.sampled_from(get_args(Fold)), MOMENT)
def test_instants_ascend_strictly(expression: str, zone: str, gap: Gap, fold: Fold, start: int) -> None:
    cron = series(expression, zone, gap, fold)
    found = [start]
    for _ in range(6):
        instant = cron.next(found[-1])
        assert instant is not None
        found.append(instant)

    assert all(first < second for first, second in pairwise(found))
    for instant in found[1:]:
        assert cron.contains(instant)
        assert cron.latest(start, instant) == instant
    assert cron.count(start, found[-1]) == 6
    assert cron.latest(start, found[-1] - 1) == found[-2]


def test_millions_are_counted_without_listing_them() -> None:
    cron = series("* * * * * *", "Europe/Berlin", dialect="seconds")
    after, until = utc(2000, 1, 1), utc(2025, 1, 1)

    assert cron.count(after, until) == (until - after) // SECOND_US
    assert cron.latest(after, until + 1) == until
