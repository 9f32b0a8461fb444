from typing import Any

import pytest

HEAD = ["instant", "in Europe/Berlin", "note"]


def test_the_json_of_a_preview_has_instants_in_utc_and_notes(shell: Any) -> None:
    ran = shell(
        *("preview", "0 2 * * *", "--zone", "Europe/Berlin", "--count", "20", "--from", "2026-03-27T00:00Z", "--json")
    )

    assert ran.code == 0, ran.err
    assert len(ran.json) == 20
    assert all(row["instant"].endswith("Z") for row in ran.json)
    assert [(row["instant"], row["note"]) for row in ran.json[:4]] == [
        ("2026-03-27T01:00:00Z", ""),
        ("2026-03-28T01:00:00Z", ""),
        ("2026-03-29T01:00:00Z", "gap→03:00"),
        ("2026-03-30T00:00:00Z", ""),
    ]


def test_a_preview_in_a_pipe_is_titles_and_tabs(shell: Any) -> None:
    ran = shell("preview", "30 2 * * *", "--zone", "Europe/Berlin", "-n", "2", "--from", "2026-10-24T12:00Z")

    assert ran.out.splitlines()[0].split("\t") == HEAD
    assert [(row["instant"], row["in Europe/Berlin"], row["note"]) for row in ran.rows] == [
        ("2026-10-25T00:30:00Z", "Sun 2026-10-25 02:30:00 CEST", "fold: first"),
        ("2026-10-26T01:30:00Z", "Mon 2026-10-26 02:30:00 CET", ""),
    ]


def test_a_preview_on_a_terminal_is_a_sentence_and_a_table(shell: Any) -> None:
    ran = shell.on_terminal("preview", "0 2 * * *", "--zone", "Europe/Berlin", "-n", "1", "--from", "2026-03-28T12:00Z")

    assert ran.code == 0
    assert "At 02:00 every day (Europe/Berlin)." in ran.out
    assert "2026-03-29T01:00:00Z" in ran.out
    assert "\x1b[" in ran.out
    assert "\t" not in ran.out


@pytest.mark.parametrize(
    ("arguments", "instants"),
    [
        (["every 5m", "--from", "2026-01-01T00:00Z"], ["2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z"]),
        (["@daily", "--zone", "Asia/Tokyo", "--from", "2026-01-01T00:00"], ["2025-12-31T15:00:00Z", "2026-01-01T15:00:00Z"]),
        (["at 2030-05-01T09:00", "--zone", "Europe/Berlin", "--from", "2026-01-01T00:00Z"], ["2030-05-01T07:00:00Z"]),
        (
            ["FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYHOUR=0;BYMINUTE=0;BYSECOND=0", "--from", "2026-01-01T00:00Z"],
            ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"],
        ),
        (["0 0 12 ? * FRI", "--dialect", "quartz", "--from", "2026-01-01T00:00Z"], ["2026-01-02T12:00:00Z", "2026-01-09T12:00:00Z"]),
        (
            ["30 2 * * *", "--zone", "Europe/Berlin", "--gap", "skip", "--from", "2026-03-29T00:00Z"],
            ["2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"],
        ),
        (
            ["30 2 * * *", "--zone", "Europe/Berlin", "--fold", "both", "--from", "2026-10-25T00:00Z"],
            ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"],
        ),
    ],
)  # fmt: skip
def test_all_sorts_of_triggers_are_understood(shell: Any, arguments: list[str], instants: list[str]) -> None:
    ran = shell("preview", *arguments, "-n", "2", "--json")

    assert ran.code == 0, ran.err
    assert [row["instant"] for row in ran.json] == instants


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["61 * * * *"], "field minute"),
        (["0 0 30 2 *"], "never fires"),
        (["every fortnight"], "cannot be read"),
        (["@daily", "--zone", "Mars/Olympus"], "Mars/Olympus"),
        (["@daily", "--from", "2026-01-01T00:00"], "no time zone"),
        (["@daily", "--from", "yesterday"], "ISO 8601"),
        (["@daily", "--gap", "leap"], "--gap"),
        (["@daily", "--count", "-1"], "--count"),
        ([], "TRIGGER"),
        (["@daily", "--unheard-of"], "--unheard-of"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line_and_wrong_usage(shell: Any, arguments: list[str], said: str) -> None:
    ran = shell("preview", *arguments)

    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert len(ran.err.splitlines()) == 1
    assert ran.err.startswith("callsheet")
