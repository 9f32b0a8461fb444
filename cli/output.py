"""What a command answers: tables for eyes on a terminal, tabs between plain values in a pipe, JSON when asked for.

On a terminal times are in the local zone and states have colours. In a pipe there is a line of titles, then a line for each
row, columns parted by tabs, times in UTC: for cut, awk and sort. JSON has every field, with times in UTC that end in Z.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

COLOURS: Final = {
    "SUCCEEDED": "green",
    "RUNNING": "cyan",
    "CLAIMED": "cyan",
    "READY": "yellow",
    "DELAYED": "yellow",
    "BLOCKED": "yellow",
    "CANCELLING": "magenta",
    "CANCELLED": "magenta",
    "SKIPPED": "magenta",
    "PARKED": "magenta",
    "FAILED": "red",
    "TIMED_OUT": "red",
    "UPSTREAM_FAILED": "red",
    "EXPIRED": "red",
    "LOST": "bold red",
    "QUARANTINED": "bold red",
    "active": "green",
    "paused": "yellow",
    "exhausted": "dim",
    "FIRED": "green",
    "added": "green",
    "changed": "yellow",
    "same": "dim",
    "leader": "bold cyan",
    "alive": "green",
    "suspect": "yellow",
    "draining": "magenta",
    "gone": "bold red",
}
"""How the words of states, decisions, statuses and nodes are shown."""


BROKEN_LEAST: Final = 40
"""How much is shown of a text that may be cut, where the lines are too long for the terminal all the same."""
LONGEST_LINE: Final = 10_000


@dataclass(frozen=True)
class Column:
    """A column of a table: its title, where its value is, and how it lies."""

    title: str
    value: Callable[[Any], Any]
    right: bool = False
    wide: bool = False
    """May be cut at the end when there is little room; the others only where a picture must fit on the screen (`--watch`, `--live`)."""


def is_terminal() -> bool:
    """Whether a person's terminal reads what is printed."""
    return sys.stdout.isatty()


def show_table(rows: Sequence[Any], columns: Sequence[Column], nothing: str) -> None:
    """Print rows as a table; `nothing` is said on a terminal when there are none."""
    if not is_terminal():
        print("\t".join(column.title for column in columns))
        for row in rows:
            print("\t".join(plain(column.value(row)) for column in columns))
    elif rows:
        console = Console(highlight=False)
        table = make_table(rows, columns, whole=True)
        if _width_of(table, console) > console.width:  # the terminal breaks the lines: a name that is cut is of no use
            table = make_table(rows, columns, whole=True, least=BROKEN_LEAST)
            console.width = _width_of(table, console)
        console.print(table)
    else:
        print(nothing)


def make_table(
    rows: Sequence[Any], columns: Sequence[Column], title: str | None = None, *, whole: bool = False, least: int = 4
) -> Table:
    """Return rows as a table for a terminal.

    whole: what may not be cut is shown whole, even where the table is then wider than the terminal. least: so many characters
    are shown at least of what may be cut.
    """
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title=title, title_justify="left", title_style="bold"
    )
    cells = [[_for_eyes(column.value(row)) for row in rows] for column in columns]
    for column, texts in zip(columns, cells, strict=True):
        longest = max(text.cell_len for text in (Text(column.title), *texts))
        shown = longest if whole and not column.wide else min(longest, least)
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=not column.wide,  # rich takes room from those that wrap; their texts are cut instead
            min_width=shown,
        )
    for row in zip(*cells, strict=True):
        table.add_row(*row)
    return table


def _width_of(table: Table, console: Console) -> int:
    """Return how wide a table is at least."""
    return Measurement.get(console, console.options.update_width(LONGEST_LINE), table).minimum


def show_json(value: Any) -> None:
    """Print a value as JSON: an object or a list, of plain values, records and times."""
    print(_json_text(value, indent=2))


def show_json_line(value: Any) -> None:
    """Print a value as JSON on one line, at once."""
    print(_json_text(value), flush=True)


def _json_text(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON; where output is not UTF-8, with the escapes of JSON for what is not ASCII."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return json.dumps(value, default=_for_json, ensure_ascii=not is_utf8, indent=indent)


def fields(record: Any) -> dict[str, Any]:
    """Return a record's fields by name."""
    assert isinstance(record, Struct)
    return {name: getattr(record, name) for name in record.__struct_fields__}


def utc_text(moment: datetime) -> str:
    """Return a moment as ISO 8601 in UTC, ending in Z; parts of a second only where there are some."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def local_text(moment: datetime) -> str:
    """Return a moment as a person reads it: local time, with the date if that is not today's."""
    local = moment.astimezone()
    today = datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if local.date() == today else "%Y-%m-%d %H:%M")


def one_line(text: str) -> str:
    """Return a text as one line, with an escape for what could do something to a terminal: others may have chosen it."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)


def plain(value: Any) -> str:
    """Return a value as plain text on one line."""
    match value:
        case None:
            return ""
        case datetime():
            return utc_text(value)
        case list() | tuple():
            return ",".join(plain(item) for item in value)
        case float():
            return f"{value:.6g}"
        case _:
            return one_line(str(value))


def _for_eyes(value: Any) -> Text:
    match value:
        case None:
            return Text("–", style="dim")
        case datetime():
            text = local_text(value)
        case float():
            text = seconds_text(value)
        case list() | tuple():
            text = ", ".join(plain(item) for item in value)
        case _:
            text = plain(value)
    return Text(text, style=COLOURS.get(text, ""), no_wrap=True, overflow="ellipsis")


def seconds_text(seconds: float) -> str:
    """Return a length of time as a person reads it: `0.4 ms`, `12.0 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _for_json(value: Any) -> Any:
    match value:
        case datetime():
            return utc_text(value)
        case Struct():
            return fields(value)
        case Mapping():
            return dict(value)
        case bytes():
            return value.decode(errors="replace")
        case set() | frozenset():
            return sorted(value)
        case _:
            return str(value)
