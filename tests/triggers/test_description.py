import pytest

from callsheet.triggers import Trigger, at, calendar_interval, cron, delay, describe, every, manual, rrule


@pytest.mark.parametrize(
    ("trigger", "sentence"),
    [
        (at("2026-05-01T09:00:00+02:00"), "Once, on Fri 2026-05-01 07:00 UTC."),
        (delay("90s"), "Once, 1 minute 30 seconds after it was added."),
        (delay(0), "Once, 0 seconds after it was added."),
        (every("1d"), "Every day."),
        (every("90m", start="now"), "Every 1 hour 30 minutes, the first at once."),
        (every("2h", start="2026-01-01T00:00:00Z"), "Every 2 hours, the first on Thu 2026-01-01 00:00 UTC."),
        (every(5, after_end=True), "5 seconds after the end of each run."),
        (manual(), "Only when somebody or something asks for it."),
        (cron("30 2 * * *", zone="Europe/Berlin"), "At 02:30 every day (Europe/Berlin)."),
        (cron("0 9,17 * * mon-fri"), "At 09:00 and 17:00 on Monday to Friday (UTC)."),
        (cron("0 0 * * sat,sun"), "At 00:00 on Saturday and Sunday (UTC)."),
        (cron("* * * * *"), "Every minute (UTC)."),
        (cron("*/5 * * * *"), "Every 5 minutes (UTC)."),
        (cron("*/7 * * * *"), "At minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour every day (UTC)."),
        (cron("@hourly"), "Every hour (UTC)."),
        (cron("15 */2 * * *"), "Every 2 hours at minute 15 (UTC)."),
        (cron("*/15 9-17 * * *"), "Every 15 minutes during hours 9 to 17 (UTC)."),
        (cron("0 0 L * *"), "At 00:00 on the last day of the month (UTC)."),
        (cron("0 0 15W,LW 1-3 *"), "At 00:00 on the last Monday-to-Friday day and the Monday-to-Friday day nearest to day 15 of the month in January to March (UTC)."),
        (cron("0 0 1,15 * 5"), "At 00:00 on days 1 and 15 of the month or on Friday (UTC)."),
        (cron("0 0 1-7 * */6"), "At 00:00 on days 1 to 7 of the month, if it is Saturday and Sunday (UTC)."),
        (cron("0 0 * * 5#3"), "At 00:00 on the 3rd Friday of the month (UTC)."),
        (cron("0 0 12 ? * 6L 2030", dialect="quartz"), "At 12:00 on the last Friday of the month in 2030 (UTC)."),
        (cron("* * * * * */10", dialect="seconds"), "Every 10 seconds (UTC)."),
        (cron("5 4 * * * 30", dialect="seconds"), "At 04:05:30 every day (UTC)."),
        (calendar_interval(days=1, hour=6), "Every day at 06:00 (UTC)."),
        (
            calendar_interval(months=2, day=31, hour=10, zone="Europe/Berlin"),
            "Every 2 months on the 31st at 10:00 (Europe/Berlin), skipping months without that day.",
        ),
        (
            calendar_interval(months=1, day=31, missing_day="clamp", start="2026-01-01T00:00:00Z"),
            "Every month on the 31st at 00:00 (UTC), on the last day of shorter months, counted from 2026-01-01.",
        ),
        (calendar_interval(weeks=1, days=3), "Every 1 week and 3 days at 00:00 (UTC)."),
        (rrule("FREQ=WEEKLY;INTERVAL=2"), "Every 2 weeks by the recurrence rule FREQ=WEEKLY;INTERVAL=2 (UTC)."),
        (every("6h") | at(0), "Every 6 hours; and once, on Thu 1970-01-01 00:00 UTC."),
        (every("6h") - cron("@daily"), "Every 6 hours, except: at 00:00 every day (UTC)."),
        (
            every("1h").but(start=0, end=86_400, calendar="work", jitter="30s", limit=1),
            ("Every hour, not before Thu 1970-01-01 00:00 UTC, not after Fri 1970-01-02 00:00 UTC,"
            " on the days that calendar 'work' allows, started up to 30 seconds later, at most 1 time."),
        ),
    ],
)  # fmt: skip
def test_a_trigger_is_told_in_a_sentence(trigger: Trigger, sentence: str) -> None:
    assert describe(trigger) == sentence
