"""Tables on terminals that are too narrow for them."""

import pytest

from callsheet.cli.output import Column, show_table

from .conftest import Shell

COLUMNS = [
    Column("run", lambda row: row[0], right=True),
    Column("job", lambda row: row[1]),
    Column("state", lambda row: row[2]),
    Column("what", lambda row: row[3], wide=True),
]
ROWS = [(123_456_789, "shop.jobs.close_the_books", "UPSTREAM_FAILED", "ValueError: no such table " * 10)]


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callsheet.cli.output.is_terminal", lambda: True)


@pytest.mark.parametrize("width", [200, 100, 80, 40, 20])
def test_what_is_to_be_typed_again_is_never_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    show_table(ROWS, COLUMNS, "")

    shown = capsys.readouterr().out.replace("\n", " ")
    assert "123456789  shop.jobs.close_the_books  UPSTREAM_FAILED  ValueError: no" in shown


@pytest.mark.parametrize("width", [100, 80])
def test_a_long_text_is_cut_so_that_a_row_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    show_table(ROWS, COLUMNS, "")

    lines = capsys.readouterr().out.rstrip().splitlines()
    assert all(len(line) <= width for line in lines)
    assert lines[-1].rstrip().endswith("…")


@pytest.mark.parametrize("on_terminal", [True, False])
def test_what_others_have_chosen_does_nothing_to_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], on_terminal: bool
) -> None:
    monkeypatch.setattr("callsheet.cli.output.is_terminal", lambda: on_terminal)

    show_table([(1, "job", "FAILED", "boom \x1b[2J\x1b]0;owned\x07 \x9b31m ü\nend")], COLUMNS, "")

    assert r"boom \x1b[2J\x1b]0;owned\x07 \x9b31m ü end" in capsys.readouterr().out


def test_nor_does_the_text_of_an_error(shell: Shell) -> None:
    (shell.folder / "bad.py").write_text("raise RuntimeError('boom ' + chr(27) + '[2J')")

    ran = shell("run", "bad.py")

    assert ran.code == 1
    assert r"boom \x1b[2J" in ran.err
