import re

import pytest

from callsheet.triggers.cron_expression import Dialect, parse_cron
from callsheet.triggers.errors import CronSyntaxError


def days(expression: str, year: int, month: int, dialect: Dialect = "vixie") -> tuple[int, ...]:
    return parse_cron(expression, dialect).month_days(year, month)


def test_lists_ranges_steps_and_names_are_read() -> None:
    fields = parse_cron("0,30 8-10/2 * jan,Jul-Sep MON-fri")

    assert fields.minutes == (0, 30)
    assert fields.hours == (8, 10)
    assert fields.months == (1, 7, 8, 9)
    assert fields.weekdays == (1, 2, 3, 4, 5)


def test_a_number_with_a_step_runs_to_the_end_of_the_field() -> None:
    assert parse_cron("5/20 * * * *").minutes == (5, 25, 45)


@pytest.mark.parametrize("weekday", ["0", "7", "sun", "SUN"])
def test_0_and_7_and_its_name_are_sunday(weekday: str) -> None:
    assert days(f"0 0 * * {weekday}", 2026, 3) == (1, 8, 15, 22, 29)


def test_a_range_may_end_on_sunday() -> None:
    assert parse_cron("0 0 * * 5-7").weekdays == (0, 5, 6)
    assert parse_cron("0 0 * * fri-sun").weekdays == (0, 5, 6)


def test_a_step_over_weekdays_counts_sunday_once() -> None:
    assert parse_cron("0 0 * * */2").weekdays == (0, 2, 4, 6)


@pytest.mark.parametrize(
    ("alias", "expression"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * sun"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@HOURLY", "0 * * * *"),
    ],
)
@pytest.mark.parametrize("dialect", ["vixie", "seconds", "quartz"])
def test_an_alias_means_its_expression_in_every_dialect(alias: str, expression: str, dialect: Dialect) -> None:
    assert parse_cron(alias, dialect).texts == ("0", *expression.split(), "*")


def test_if_neither_day_field_begins_with_a_star_one_suffices() -> None:
    # The Fridays of March 2026 are 6, 13, 20 and 27.
    assert days("0 0 1,13 * 5", 2026, 3) == (1, 6, 13, 20, 27)


@pytest.mark.parametrize("expression", ["0 0 */2 * 5", "0 0 */2 * fri"])
def test_if_the_day_of_month_begins_with_a_star_both_must_match(expression: str) -> None:
    assert days(expression, 2026, 3) == (13, 27)


def test_if_the_weekday_begins_with_a_star_both_must_match() -> None:
    # Weekdays */2: Sunday, Tuesday, Thursday, Saturday.
    assert days("0 0 1-7 * */2", 2026, 3) == (1, 3, 5, 7)


def test_last_days_are_read() -> None:
    assert days("0 0 L * *", 2028, 2) == (29,)
    assert days("0 0 L-3 * *", 2026, 2) == (25,)
    assert days("0 0 15,L * *", 2026, 4) == (15, 30)
    assert days("0 0 LW * *", 2026, 5) == (29,)


def test_the_nearest_workday_stays_in_its_month() -> None:
    # 15 March 2026 is a Sunday, 1 August 2026 a Saturday, 31 May 2026 a Sunday.
    assert days("0 0 15W * *", 2026, 3) == (16,)
    assert days("0 0 1W * *", 2026, 8) == (3,)
    assert days("0 0 31W * *", 2026, 5) == (29,)
    assert days("0 0 31W * *", 2026, 4) == ()


@pytest.mark.parametrize(("weekday", "dialect"), [("5#3", "vixie"), ("fri#3", "vixie"), ("6#3", "quartz")])
def test_numbered_weekdays_are_read(weekday: str, dialect: Dialect) -> None:
    expression = f"0 0 * * {weekday}" if dialect == "vixie" else f"0 0 0 ? * {weekday}"

    assert days(expression, 2026, 3, dialect) == (20,)


@pytest.mark.parametrize(
    ("weekday", "dialect"), [("5L", "vixie"), ("L5", "vixie"), ("friL", "vixie"), ("6L", "quartz")]
)
def test_last_weekdays_are_read(weekday: str, dialect: Dialect) -> None:
    expression = f"0 0 * * {weekday}" if dialect == "vixie" else f"0 0 0 ? * {weekday}"

    assert days(expression, 2026, 3, dialect) == (27,)


def test_the_fifth_weekday_is_missing_in_most_months() -> None:
    assert days("0 0 * * 5#5", 2026, 3) == ()
    assert days("0 0 * * 5#5", 2026, 5) == (29,)


def test_quartz_has_seconds_first_and_weekdays_from_one() -> None:
    fields = parse_cron("15 30 10 ? * 2-6 2026-2028", "quartz")

    assert (fields.seconds, fields.minutes, fields.hours) == ((15,), (30,), (10,))
    assert fields.weekdays == (1, 2, 3, 4, 5)
    assert fields.years == (2026, 2027, 2028)


def test_in_quartz_a_plain_l_is_saturday() -> None:
    assert parse_cron("0 0 0 ? * L", "quartz").weekdays == (6,)


def test_the_dialect_with_seconds_has_them_last() -> None:
    fields = parse_cron("30 10 * * * */20", "seconds")

    assert (fields.seconds, fields.minutes, fields.hours) == ((0, 20, 40), (30,), (10,))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "has 0 fields"),
        ("* * * *", "has 4 fields; dialect 'vixie' has five fields (minute hour day month weekday)"),
        ("* * * * * *", "say dialect='seconds' if the last is the second, dialect='quartz' if the first is"),
        ("60 * * * *", "field minute ('60'): 0-59 was expected, '60' was found"),
        ("-1 * * * *", "0-59 was expected, nothing was found"),
        ("1,,2 * * * *", "0-59 was expected, nothing was found"),
        ("* 24 * * *", "field hour ('24'): 0-23 was expected"),
        ("* * 0 * *", "field day of month ('0'): 1-31 was expected"),
        ("* * * 13 *", "field month ('13'): 1-12 or jan-dec was expected"),
        ("* * * * 8", "field day of week ('8'): 0-7 or sun-sat was expected"),
        ("* * * * blursday", "'blursday' was found"),
        ("٣ * * * *", "'٣' was found"),
        ("*/0 * * * *", "the step '0' must be a number from 1 to 60"),
        ("*/90 * * * *", "the step '90' must be a number from 1 to 60"),
        ("* 22-2 * * *", "the range '22-2' runs backwards; write 22-23,0-2"),
        ("* * * * L", "'L' needs a weekday, such as 5L"),
        ("* * * * 5#6", "1 to 5 was expected after '#', '6' was found"),
        ("@reboot", "@reboot is not a trigger here"),
        ("@every 5m", "write every('5m') instead"),
        ("@fortnightly", "one of @yearly, @annually, @monthly"),
        ("0 " * 1000, "at most 1000 characters"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_was_expected(expression: str, message: str) -> None:
    with pytest.raises(CronSyntaxError, match=re.escape(message)):
        parse_cron(expression)


@pytest.mark.parametrize(
    ("expression", "dialect"),
    [
        ("0 0 30 2 *", "vixie"),
        ("0 0 31 2,4,6,9,11 *", "vixie"),
        ("0 0 31 feb */2", "vixie"),
        ("0 0 0 29 2 ? 2027", "quartz"),
        ("0 0 31W 4 *", "vixie"),
    ],
)
def test_a_date_that_never_comes_is_refused(expression: str, dialect: Dialect) -> None:
    with pytest.raises(CronSyntaxError, match="never fires: no year has such a date"):
        parse_cron(expression, dialect)


def test_a_rare_date_is_not_an_impossible_one() -> None:
    assert parse_cron("0 0 29 2 *").month_days(2028, 2) == (29,)
    assert parse_cron("0 0 * 2 1#5").month_days(2044, 2) == (29,)
