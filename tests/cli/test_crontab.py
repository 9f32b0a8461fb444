"""Reading crontabs, against what crontab(5) and cron's do_command.c say."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.cli.crontab import MAX_ENTRIES, read_crontab, split_percent

CORPUS = Path(__file__).parent / "crontabs"


def corpus(name: str) -> str:
    return (CORPUS / f"{name}.crontab").read_bytes().decode()


def test_a_users_file_is_read_line_by_line() -> None:
    read = read_crontab(corpus("user"), system=False)

    assert read.problems == []
    assert [(entry.line, entry.schedule) for entry in read.entries[:4]] == [
        (11, "0 2 * * *"),
        (12, "*/5 8-18 * * mon-fri"),
        (13, "30 6 1,15 jan,JUL *"),
        (14, "15 14 1 * *"),
    ]
    assert read.entries[0].command == "backup --full /var/data >> backup.log 2>&1"
    assert (read.entries[3].command, read.entries[3].stdin) == (
        'mail -s "It\'s 10pm" joe',
        "Joe,\n\nWhere are your kids?\n",
    )
    assert [entry.schedule for entry in read.entries if entry.schedule.startswith("@")] == ["@hourly", "@reboot"]
    assert all(entry.user == "" for entry in read.entries)


def test_the_environment_holds_for_the_lines_below_it_and_keeps_quoted_blanks() -> None:
    read = read_crontab(corpus("user"), system=False)
    first, in_berlin, last = read.entries[0], read.entries[9], read.entries[-1]

    assert first.environment == {
        "SHELL": "/bin/bash",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "MAILTO": "ops@example.org",
        "GREETING": "  hello  ",
    }
    assert in_berlin.environment["CRON_TZ"] == "Europe/Berlin"
    assert last.environment["CRON_TZ"] == ""


def test_a_system_file_has_a_column_for_the_user() -> None:
    read = read_crontab(corpus("etc"), system=True)

    assert read.problems == []
    assert [entry.user for entry in read.entries] == ["root"] * 5 + ["www-data"]
    assert read.entries[0].command == "cd / && run-parts --report /etc/cron.hourly"
    assert read.entries[-1].schedule == "@daily"


def test_each_broken_line_is_a_problem_with_its_number() -> None:
    read = read_crontab(corpus("broken"), system=False)

    assert [problem.line for problem in read.problems] == list(range(3, 15))
    assert [entry.line for entry in read.entries] == [2]
    said = {problem.line: problem.text for problem in read.problems}
    assert "minute" in said[3]
    assert "never" in said[5]
    assert "found 4 word(s)" in said[6]
    assert "@fortnightly" in said[7]
    assert "no command" in said[9]
    assert "random" in said[12]
    assert "begins with %" in said[13]


@pytest.mark.parametrize(
    ("line", "said"),
    [("0 0 * * * root", "no command after the user"), ("0 0 * * *", "no user"), ("0 0 * * * ./x y", "found './x'")],
)
def test_a_system_line_without_its_user_or_command_is_a_problem(line: str, said: str) -> None:
    (problem,) = read_crontab(line, system=True).problems

    assert problem.line == 1
    assert said in problem.text


def test_line_ends_of_windows_and_a_missing_last_one_are_taken() -> None:
    windows = read_crontab(corpus("windows"), system=False)
    unfinished = read_crontab(corpus("unfinished"), system=False)

    assert [(entry.command, entry.environment) for entry in windows.entries] == [("echo windows", {"NAME": "value"})]
    assert [note.line for note in windows.notes] == [1]
    assert [entry.command for entry in unfinished.entries] == ["echo no line end"]


def test_a_file_of_comments_and_settings_runs_nothing() -> None:
    read = read_crontab(corpus("empty"), system=False)

    assert (read.entries, read.problems, read.notes) == ([], [], [])


def test_mail_and_tz_and_unexpanded_variables_are_noted() -> None:
    read = read_crontab("MAILTO=me\nTZ=Asia/Tokyo\nPATH=$HOME/bin:/bin\n", system=False)

    assert [(note.line, note.text.split(":")[0].split()[0]) for note in read.notes] == [
        (1, "MAILTO"),
        (2, "TZ"),
        (3, "PATH"),
    ]


@pytest.mark.parametrize(
    ("text", "command", "stdin"),
    [
        ("cat%one%two", "cat", "one\ntwo\n"),
        (r"echo 100\% of it", "echo 100% of it", ""),
        (r"cat%50\% off%", "cat", "50% off\n"),
        (r"echo back\\slash \n stays", r"echo back\\slash \n stays", ""),
        ("cat%", "cat", ""),
        (r"echo \\%in", r"echo \\", "in\n"),
        ("date +\\%F\\%T", "date +%F%T", ""),
        ("cat%%", "cat", "\n"),
    ],
)
def test_a_per_cent_sign_ends_the_command_and_is_a_line_end_in_its_input(text: str, command: str, stdin: str) -> None:
    assert split_percent(text) == (command, stdin)


@given(st.text(alphabet=st.characters(exclude_characters="%\\", exclude_categories=["Cs"])))
def test_a_command_without_per_cent_and_backslash_is_as_it_is_written(text: str) -> None:
    assert split_percent(text) == (text, "")


@given(st.text(alphabet="a %\\\n\r\t0*@=#\"'~"))
def test_whatever_stands_in_a_file_it_is_read_without_failing(text: str) -> None:
    for system in (False, True):
        read = read_crontab(text, system=system)
        lines = text.count("\n") + 1
        told = [*(entry.line for entry in read.entries), *(it.line for it in (*read.problems, *read.notes))]
        assert all(1 <= line <= lines for line in told)


def test_a_file_with_too_many_entries_is_a_problem() -> None:
    read = read_crontab("* * * * * x\n" * (MAX_ENTRIES + 1), system=False)

    assert [problem.line for problem in read.problems] == [MAX_ENTRIES + 1]
