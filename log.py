"""Log lines: one for each event of a node, its name first, then key=value; or the same as one JSON object.

    run_parked node=n1 epoch=7 actor=coordinator job=default/nightly run=12 text="nobody knows ingest"
    {"time": "2030-05-01T09:00:00.000Z", "level": "warning", "logger": "callsheet", "event": "run_parked", "node": "n1", …}

All lines go to the logger `callsheet` and those below it. The package itself adds no handler but a null one and never touches
the root logger: a program that has logging of its own sees our lines there. Each event's record carries its fields as data in
the attribute `callsheet`, a dict with `event` first, so a handler of somebody else's need not read the text. A program that has
none calls `configure_logging`.

A record is one line, whatever is in it: a value with a space, a quote, an equals sign or anything unprintable is written as a
JSON string, so nothing that a job says can look like a line of ours.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

from .actors.actor import Address
from .actors.messages import ContactChanged, DrainChanged, Happened, LeaderChanged
from .errors import DefinitionError

LOGGER: Final = logging.getLogger("callsheet")
LOGGER.addHandler(logging.NullHandler())

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
Fields = dict[str, str | int | bool]
"""What a line says beside its time and level, in the order in which it is written; `event` is always first."""

_NEEDS_QUOTES: Final = frozenset(" \"'=\\")


class EventLog:
    """Writes the events of one node.

    Args:
        node: its name, which is on every line.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._epoch = 0

    def write(self, address: Address, event: Any) -> None:
        """Write an event of the actor at `address`; what is only counted is passed over. From any thread."""
        match event:
            case Happened():
                self._write_happened(address, event)
            case LeaderChanged():
                self._epoch = max(self._epoch, event.epoch)  # who knows nobody may have forgotten the number too
                self._write("info", "leader_changed", address, leader=event.node, own=event.own)
            case ContactChanged():
                if event.is_cut_off:
                    self._write("warning", "node_cut_off", address)
                else:
                    self._write("info", "node_heard_again", address)
            case DrainChanged():
                self._write("info", "node_draining" if event.is_draining else "node_takes_work", address)

    def _write_happened(self, address: Address, happened: Happened) -> None:
        event = happened.event
        fields: Fields = {}
        if event.job:
            fields["job"] = f"{event.tenant}/{event.job}"
        if event.run_id is not None:
            fields["run"] = event.run_id
        if event.text:
            fields["text"] = event.text
        self._write(happened.level, event.kind, address, **fields)

    def _write(self, level: LogLevel, kind: str, address: Address, **fields: str | int | bool) -> None:
        number = LEVELS[level]
        if LOGGER.isEnabledFor(number):
            head: Fields = {"event": kind, "node": self._node, "epoch": self._epoch, "actor": address}
            known = head | fields
            LOGGER.log(number, "%s", as_text(known), extra={"callsheet": known})


def as_text(fields: Mapping[str, object]) -> str:
    """Write fields as one line: the event's name, then key=value."""
    parts = [quoted(value) if key == "event" else f"{key}={quoted(value)}" for key, value in fields.items()]
    return " ".join(parts)


def quoted(value: object) -> str:
    """Write a value so that it ends where it seems to end: as it is, or as a JSON string."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if text and text.isprintable() and _NEEDS_QUOTES.isdisjoint(text):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


class TextFormatter(logging.Formatter):
    """Time, level, and the event with its fields: `2030-05-01T09:00:00.000Z INFO leader_changed node=n1 …`."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time_of(record)} {record.levelname} {_one_line(record.getMessage())}"
        trace = _traceback_of(self, record)
        return f"{line} traceback={quoted(trace)}" if trace else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `event` and its fields.

    A record that is no event of a node has its text as `event`.
    """

    def format(self, record: logging.LogRecord) -> str:
        known = _fields_of(record) or {"event": record.getMessage()}
        head = {"time": _time_of(record), "level": record.levelname.lower(), "logger": record.name}
        trace = _traceback_of(self, record)
        line = head | known | ({"traceback": trace} if trace else {})
        written = json.dumps(line, ensure_ascii=False, default=str)
        # some characters that JSON leaves as they are end a line elsewhere (U+2028, U+0085)
        return written if written.isprintable() else json.dumps(line, default=str)


_FORMATTERS: Final[dict[str, Callable[[], logging.Formatter]]] = {"text": TextFormatter, "json": JsonFormatter}


def make_formatter(style: str) -> logging.Formatter:
    """Return the formatter of a format, for a handler of one's own.

    Raises:
        DefinitionError: there is no such format.
    """
    if style not in _FORMATTERS:
        raise DefinitionError(f"{style!r} is no format of the log; there are {', '.join(_FORMATTERS)}")
    return _FORMATTERS[style]()


def configure_logging(
    format: LogFormat = "text",  # noqa: A002 - the word of --log-format, and of logging's own basicConfig
    level: LogLevel = "info",
    *,
    stream: TextIO | None = None,
) -> logging.Handler:
    """Write the package's log to `stream` (standard error), from `level` on; called again, it replaces what it set before.

    For programs without logging of their own. Returns the handler, which stands on the logger `callsheet`.

    Raises:
        DefinitionError: there is no such format or level.
    """
    if level not in LEVELS:
        raise DefinitionError(f"{level!r} is no level of the log; there are {', '.join(LEVELS)}")
    handler = _OwnHandler(stream)
    handler.setFormatter(make_formatter(format))
    for before in [each for each in LOGGER.handlers if isinstance(each, _OwnHandler)]:
        LOGGER.removeHandler(before)
    LOGGER.addHandler(handler)
    LOGGER.setLevel(LEVELS[level])
    return handler


class _OwnHandler(logging.StreamHandler[TextIO]):
    """Tells the handler that `configure_logging` made from those of the program."""


def _time_of(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields_of(record: logging.LogRecord) -> Fields | None:
    fields: Fields | None = getattr(record, "callsheet", None)
    return fields


def _traceback_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return formatter.formatException(record.exc_info) if record.exc_info else ""


def _one_line(text: str) -> str:
    """Escape what could end a line or hide in it; our own lines have nothing of the kind."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)
