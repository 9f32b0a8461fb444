"""A trigger as one English sentence."""

from __future__ import annotations

from typing import Final, assert_never

from .cron_expression import CronFields, parse_cron
from .instant import DAY_US, HOUR_US, MINUTE_US, SECOND_US, to_datetime
from .trigger import (
    At,
    CalendarInterval,
    Constrained,
    Cron,
    Delay,
    Difference,
    Every,
    FixedDelay,
    Manual,
    RRule,
    Trigger,
    Union,
    Unreadable,
)
from .zone import find_zone

MAX_TIMES_LISTED: Final = 6
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_WEEKDAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_LENGTHS: Final = (
    (7 * DAY_US, "week"),
    (DAY_US, "day"),
    (HOUR_US, "hour"),
    (MINUTE_US, "minute"),
    (SECOND_US, "second"),
    (1_000, "millisecond"),
    (1, "microsecond"),
)
_FREQUENCIES: Final = {
    "SECONDLY": "second", "MINUTELY": "minute", "HOURLY": "hour", "DAILY": "day", "WEEKLY": "week",
    "MONTHLY": "month", "YEARLY": "year",
}  # fmt: skip


def describe(trigger: Trigger) -> str:
    """Return an English sentence for a trigger, such as `At 02:30 every day (UTC).` (with the full stop)."""
    phrase = _phrase(trigger)
    return phrase[0].upper() + phrase[1:] + "."


def _phrase(trigger: Trigger) -> str:  # noqa: C901 - a flat table of triggers
    match trigger:
        case At():
            return f"once, {_moment(trigger.when)}"
        case Delay():
            return f"once, {length_text(trigger.delay_us)} after it was added"
        case Every():
            return f"every {_period(trigger.period_us)}{_start(trigger.start)}"
        case FixedDelay():
            return f"{length_text(trigger.delay_us)} after the end of each run{_start(trigger.start)}"
        case Cron():
            return _cron(trigger)
        case CalendarInterval():
            return _calendar_interval(trigger)
        case RRule():
            return _rrule(trigger)
        case Manual():
            return "only when somebody or something asks for it"
        case Unreadable():
            return f"nobody knows when: it cannot be read here: {trigger.text}"
        case Union():
            return "; and ".join(_phrase(member) for member in trigger.members)
        case Difference():
            return f"{_phrase(trigger.trigger)}, except: {_phrase(trigger.without)}"
        case Constrained():
            return _constrained(trigger)
        case _:
            assert_never(trigger)


def length_text(length: int) -> str:
    """Return a length (µs) in words: `1 hour 30 minutes`."""
    parts: list[str] = []
    for unit, name in _LENGTHS:
        number, length = divmod(length, unit)
        if number:
            parts.append(_counted(number, name))
    return " ".join(parts) or "0 seconds"


def _counted(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def _period(length: int) -> str:
    text = length_text(length)
    return text[2:] if text.startswith("1 ") and text.count(" ") == 1 else text


def _moment(instant: int) -> str:
    return f"on {find_zone('UTC').reading(instant)} UTC"


def _start(start: int | str | None) -> str:
    if start is None:
        return ""
    return f", the first {_moment(start)}" if isinstance(start, int) else ", the first at once"


def _joined(words: list[str], last: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _numbers(numbers: tuple[int, ...], names: tuple[str, ...] = (), offset: int = 0) -> str:
    """Return numbers in words, three or more in a row as `1 to 5`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])

    def name(number: int) -> str:
        return names[number - offset] if names else str(number)

    words: list[str] = []
    for run in runs:
        words += [f"{name(run[0])} to {name(run[-1])}"] if len(run) > 2 else [name(number) for number in run]
    return _joined(words)


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _cron(trigger: Cron) -> str:
    fields = parse_cron(trigger.expression, trigger.dialect)
    days = _days(fields)
    time = _time(fields)
    if days == "every day" and time.startswith("every"):
        days = ""
    months = "" if len(fields.months) == 12 else f"in {_numbers(fields.months, _MONTHS, 1)}"
    years = "" if fields.years is None else f"in {_numbers(fields.years)}"
    return " ".join(part for part in (time, days, months, years, f"({trigger.zone})") if part)


def _time(fields: CronFields) -> str:
    second, minute, hour = fields.texts[:3]
    seconds = fields.seconds
    if len(fields.minutes) * len(fields.hours) * len(seconds) <= MAX_TIMES_LISTED:
        mark = "" if seconds == (0,) else ":"
        times = [
            f"{h:02}:{m:02}" + (f"{mark}{s:02}" if mark else "")
            for h in fields.hours
            for m in fields.minutes
            for s in seconds
        ]
        return f"at {_joined(times)}"
    if len(fields.minutes) == 60 and len(fields.hours) == 24 and seconds != (0,):
        return _repeated(second, seconds, 60, "second", "minute")
    tail = "" if seconds == (0,) else f", at {_unit('second', seconds)} of the minute"
    if len(fields.hours) == 24:
        every = "every hour" if fields.minutes == (0,) else _repeated(minute, fields.minutes, 60, "minute", "hour")
        return every + tail
    if len(fields.minutes) == 1 and _even(hour, fields.hours, 24):
        past = "" if fields.minutes == (0,) else f" at minute {fields.minutes[0]}"
        return f"every {24 // len(fields.hours)} hours{past}" + tail
    return f"{_repeated(minute, fields.minutes, 60, 'minute', 'hour')} during {_unit('hour', fields.hours)}{tail}"


def _repeated(text: str, numbers: tuple[int, ...], total: int, name: str, whole: str) -> str:
    if len(numbers) == total:
        return f"every {name}"
    if _even(text, numbers, total):
        return f"every {total // len(numbers)} {name}s"
    return f"at {_unit(name, numbers)} of every {whole}"


def _unit(name: str, numbers: tuple[int, ...]) -> str:
    return f"{name}{'' if len(numbers) == 1 else 's'} {_numbers(numbers)}"


def _even(text: str, numbers: tuple[int, ...], total: int) -> bool:
    """Tell whether numbers from a step are evenly spread over the whole."""
    return text.startswith(("*/", "0/")) and len(numbers) > 1 and total % numbers[1] == 0


def _days(fields: CronFields) -> str:
    by_day = _month_days(fields)
    by_weekday = _weekdays(fields)
    if not by_day and not by_weekday:
        return "every day"
    if not by_day or not by_weekday:
        return f"on {by_day or by_weekday}"
    return f"on {by_day}, if it is {by_weekday}" if fields.both_days else f"on {by_day} or on {by_weekday}"


def _month_days(fields: CronFields) -> str:
    if len(fields.days) == 31:
        return ""
    words: list[str] = []
    if fields.days:
        words.append(f"{'day' if len(fields.days) == 1 else 'days'} {_numbers(fields.days)}")
    words += [f"the day {back} before the last" if back else "the last day" for back in fields.before_last]
    if fields.last_workday:
        words.append("the last Monday-to-Friday day")
    words += [f"the Monday-to-Friday day nearest to day {day}" for day in fields.near_workdays]
    return f"{_joined(words)} of the month"


def _weekdays(fields: CronFields) -> str:
    if len(fields.weekdays) == 7:
        return ""
    words: list[str] = []
    if fields.weekdays:
        # Sunday goes to the end, where people look for it.
        week = tuple(sorted((day or 7) for day in fields.weekdays))
        words.append(_numbers(week, (*_WEEKDAYS, "Sunday")))
    words += [f"the {_ordinal(number)} {_WEEKDAYS[day]} of the month" for day, number in fields.numbered]
    words += [f"the last {_WEEKDAYS[day]} of the month" for day in fields.last_weekdays]
    return _joined(words)


def _calendar_interval(trigger: CalendarInterval) -> str:
    steps = {"year": trigger.years, "month": trigger.months, "week": trigger.weeks, "day": trigger.days}
    said = [(number, name) for name, number in steps.items() if number]
    if len(said) == 1 and said[0][0] == 1:
        text = f"every {said[0][1]}"
    else:
        text = "every " + _joined([_counted(number, name) for number, name in said])
    if trigger.day is not None:
        text += f" on the {_ordinal(trigger.day)}"
    text += f" at {trigger.hour:02}:{trigger.minute:02}" + (f":{trigger.second:02}" if trigger.second else "")
    text += f" ({trigger.zone})"
    if (trigger.years or trigger.months) and (trigger.day is None or trigger.day > 28):
        skipped = trigger.missing_day == "skip"
        text += ", skipping months without that day" if skipped else ", on the last day of shorter months"
    return text if trigger.start is None else f"{text}, counted from {to_datetime(trigger.start):%Y-%m-%d}"


def _rrule(trigger: RRule) -> str:
    text = trigger.text.upper()
    words = dict(word.partition("=")[::2] for word in text.removeprefix("RRULE:").split(";"))
    unit = _FREQUENCIES.get(words.get("FREQ", ""))
    start = "" if trigger.start is None else f", from {find_zone(trigger.zone).reading(trigger.start)}"
    if unit is None or len(text.split()) > 1:
        return f"by the recurrence rule {' '.join(text.split())} ({trigger.zone}){start}"
    interval = words.get("INTERVAL", "1")
    period = unit if interval == "1" else f"{interval} {unit}s"
    return f"every {period} by the recurrence rule {text} ({trigger.zone}){start}"


def _constrained(trigger: Constrained) -> str:
    parts = [_phrase(trigger.trigger)]
    if trigger.start is not None:
        parts.append(f"not before {_moment(trigger.start)[3:]}")
    if trigger.end is not None:
        parts.append(f"not after {_moment(trigger.end)[3:]}")
    if trigger.calendar is not None:
        name = trigger.calendar if isinstance(trigger.calendar, str) else trigger.calendar.name
        parts.append(f"on the days that calendar {name!r} allows")
    if trigger.jitter_us:
        parts.append(f"started up to {length_text(trigger.jitter_us)} later")
    if trigger.limit is not None:
        parts.append(f"at most {_counted(trigger.limit, 'time')}")
    return ", ".join(parts)
