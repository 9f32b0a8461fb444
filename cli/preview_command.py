"""`callsheet preview`: the next instants of a trigger, with what is remarkable about each."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import typer

from ..triggers import Preview, Trigger, at, cron, describe, every, preview, read_moment, rrule, to_datetime
from ..triggers.zone import find_zone
from .option import DebugOption, JsonOption
from .output import Column, is_terminal, show_json, show_table, utc_text

Gap = Literal["after", "skip", "shift"]
Fold = Literal["auto", "first", "second", "both"]
Dialect = Literal["vixie", "seconds", "quartz"]


def preview_command(
    trigger: Annotated[
        str,
        typer.Argument(metavar="TRIGGER", help="'0 2 * * *', '@daily', 'every 5m', 'at 2030-05-01T09:00', 'FREQ=…'."),
    ],
    zone: Annotated[
        str | None, typer.Option("--zone", metavar="ZONE", help="An IANA name, such as Europe/Berlin. [default: UTC]")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", min=0, max=10_000, help="How many.")] = 10,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="Show what comes from then on: ISO 8601, a reading in ZONE if it has no offset. [now]",
        ),
    ] = None,
    gap: Annotated[Gap, typer.Option("--gap", help="A reading that does not exist.")] = "after",
    fold: Annotated[Fold, typer.Option("--fold", help="A reading that exists twice.")] = "auto",
    dialect: Annotated[Dialect, typer.Option("--dialect", help="The dialect of a cron expression.")] = "vixie",
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the next instants of a trigger."""
    del debug
    after = None if start is None else to_datetime(read_moment(start, zone, "--from"))
    zone = zone or "UTC"
    read = read_trigger(trigger, zone=zone, gap=gap, fold=fold, dialect=dialect)
    rows = preview(read, count, after)
    shown_in = ZoneInfo(find_zone(zone).name)
    if as_json:
        show_json([_record(row, shown_in) for row in rows])
        return
    if is_terminal():
        print(describe(read))
    columns = [
        Column("instant", lambda row: utc_text(row.instant)),
        Column(f"in {zone}", lambda row: _reading(row.instant, shown_in)),
        Column("note", lambda row: row.note, wide=True),
    ]
    show_table(rows, columns, "It never fires by itself.")


def read_trigger(text: str, *, zone: str, gap: Gap, fold: Fold, dialect: Dialect) -> Trigger:
    """Return the trigger that a person wrote.

    Raises:
        TriggerError: it cannot be read.
    """
    word, _, rest = text.strip().partition(" ")
    match word.lower():
        case "every" if rest:
            return every(rest)
        case "at" if rest:
            return at(rest.strip(), zone=zone)
        case lower if lower.startswith(("freq=", "rrule", "dtstart")):
            return rrule(text, zone=zone, gap=gap, fold=fold)
        case _:
            return cron(text, zone=zone, gap=gap, fold=fold, dialect=dialect)


def _reading(instant: datetime, zone: ZoneInfo) -> str:
    return instant.astimezone(zone).strftime("%a %Y-%m-%d %H:%M:%S %Z")


def _record(row: Preview, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "instant": utc_text(row.instant),
        "note": row.note,
        "due": utc_text(row.due),
        "local": row.instant.astimezone(zone).isoformat(),
        "excluded": row.excluded,
    }
