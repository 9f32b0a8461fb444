from datetime import UTC, datetime, timedelta

import pytest

from callsheet.triggers import Calendar, Preview, TriggerError, cron, every, manual, preview
from callsheet.triggers.instant import from_datetime

START = datetime(2026, 3, 28, 12, tzinfo=UTC)


def test_the_next_fires_are_aware_and_carry_notes() -> None:
    shown = preview(cron("30 2 * * *", zone="Europe/Berlin"), 2, START)

    gap, plain = datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 3, 30, 0, 30, tzinfo=UTC)
    assert shown == [Preview(gap, gap, "gap→03:00", None), Preview(plain, plain, "", None)]


def test_without_a_start_the_given_clock_is_asked() -> None:
    shown = preview(every("1h"), 1, now=lambda: from_datetime(START))

    assert [one.instant for one in shown] == [START + timedelta(hours=1)]


def test_without_a_clock_the_wall_clock_is_asked() -> None:
    shown = preview(every("1h", start="now"), 1)

    assert abs(shown[0].instant - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_limit_counts_fires_and_not_what_the_calendar_skips() -> None:
    sundays = Calendar("closed", excluded_weekdays=("sun",))
    shown = preview(cron("@daily").but(limit=2, calendar="closed"), 10, START, calendars={"closed": sundays})

    assert [(one.instant.day, one.excluded, one.note) for one in shown] == [
        (29, "closed", "calendar: closed"),
        (30, None, ""),
        (31, None, ""),
    ]


def test_a_manual_trigger_has_nothing_to_show() -> None:
    assert preview(manual(), start=START) == []


def test_a_fixed_delay_shows_the_only_slot_it_knows() -> None:
    assert [one.instant for one in preview(every("1h", after_end=True), start=START)] == [START + timedelta(hours=1)]


@pytest.mark.parametrize("count", [-1, 10_001])
def test_a_count_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(TriggerError, match="a preview shows 0 to 10000 slots"):
        preview(manual(), count)


def test_a_naive_start_is_refused() -> None:
    with pytest.raises(TriggerError, match="the start of a preview has no time zone"):
        preview(manual(), start=datetime(2026, 1, 1))  # noqa: DTZ001  # that is the point
