"""What a job prints and logs, kept with its attempt.

While a runner is open, `sys.stdout` and `sys.stderr` are tees: text goes on to the stream that was there, and, when a job
writes it (a context variable says which), to the attempt's log. Log records are taken where they are made, by the record
factory, and not by a handler on the root logger: with one there, `logging.basicConfig` would do nothing, and a program that
never configured logging would lose the warnings that Python prints for it.

A record that a handler also prints to a teed stream would be kept twice; the log remembers its last record's text and
leaves out the write right after it that ends in the same line (`print` writes its line and the end of it apart).

Text of threads that a job starts itself, and of programs it runs, goes to the original stream only. A job that closes a stream
closes nothing: the stream is not its own.
"""

from __future__ import annotations

import logging
import sys
import threading
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from typing import Any, Final, Protocol, TextIO

from ..records import MAX_LOG_BYTES

HEAD_BYTES: Final = MAX_LOG_BYTES // 4
"""Of a log that is too long, the first part that is kept; the rest of the limit is for the end."""

_MARKER_BYTES: Final = 64
_TAIL_BYTES: Final = MAX_LOG_BYTES - HEAD_BYTES - _MARKER_BYTES


class Sink(Protocol):
    """Where the text of the job that runs here goes."""

    def write(self, text: str) -> None:
        """Take what was printed."""

    def note(self, line: str) -> None:
        """Take what was logged."""


current: Final[ContextVar[Sink | None]] = ContextVar("callsheet_attempt", default=None)
"""The attempt whose function is running in this context."""


class Log:
    """Text within `MAX_LOG_BYTES`: of what is longer, the beginning and the end are kept."""

    __slots__ = ("_echo", "_head", "_lock", "_tail", "_total")

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a job's own threads may share its context
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0
        self._echo = ""

    def write(self, text: str) -> None:
        """Add text."""
        if self._echo:
            echo, self._echo = self._echo, ""
            if text.endswith(echo):
                return
        self.add(text.encode("utf-8", "replace"))

    def note(self, line: str) -> None:
        """Add a log record's line; a print that repeats its message is not added."""
        self.add(line.encode("utf-8", "replace") + b"\n")
        self._echo = line.partition(": ")[2] + "\n"

    def add(self, packed: bytes) -> None:
        """Add bytes."""
        with self._lock:
            self._total += len(packed)
            room = HEAD_BYTES - len(self._head)
            if room > 0:
                self._head += packed[:room]
                packed = packed[room:]
            if packed:
                self._tail += packed[-_TAIL_BYTES:]
                if len(self._tail) > 2 * _TAIL_BYTES:
                    del self._tail[:-_TAIL_BYTES]

    def content(self) -> bytes:
        """What is kept, with a line in the middle that says how much is not."""
        with self._lock:
            tail = bytes(self._tail[-_TAIL_BYTES:])
            missing = self._total - len(self._head) - len(tail)
            marker = b"\n... %d bytes left out ...\n" % missing if missing else b""
            return bytes(self._head) + marker + tail


class Tee:
    """A text stream that passes everything on, and gives the running job's part to its attempt.

    A job does not fail because its program's terminal or pipe is gone, or a file has no room: what it said is kept all the same.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text; answers how many characters."""
        sink = current.get()
        if sink is None:
            return self.stream.write(text)
        sink.write(text)
        with suppress(OSError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Let the stream write what it holds."""
        with nullcontext() if current.get() is None else suppress(OSError):
            self.stream.flush()

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """Close the stream, unless a job asks for it: it is the whole process's, and other jobs go on to print."""
        if current.get() is None:
            self.stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _Capture:
    """The tees and the record factory of this process: put in place by the first user, taken away by the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._tees: dict[str, Tee] = {}
        self._factory: Any = None
        self._in_chain = False

    def install(self) -> None:
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            self._wrap()
            if not self._in_chain:
                self._factory = logging.getLogRecordFactory()
                logging.setLogRecordFactory(self._make_record)
                self._in_chain = True

    def refresh(self) -> None:
        if type(sys.stdout) is Tee and type(sys.stderr) is Tee:
            return
        with self._lock:
            if self._users:
                self._wrap()

    def _wrap(self) -> None:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and type(stream) is not Tee:  # none under some daemons
                self._tees[name] = Tee(stream)
                setattr(sys, name, self._tees[name])

    def remove(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
            for name, tee in self._tees.items():
                if getattr(sys, name) is tee:  # else somebody wrapped it: it is theirs, and ours passes on
                    setattr(sys, name, tee.stream)
            self._tees.clear()
            if logging.getLogRecordFactory() == self._make_record:  # else another's stands on it, and it stays below
                logging.setLogRecordFactory(self._factory)
                self._in_chain = False

    def _make_record(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._factory(*args, **kwargs)
        sink = current.get()
        if sink is not None:
            sink.note(_line(record))
        return record


def _line(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception as error:  # noqa: BLE001 - the arguments of a log call are the user's code
        text = f"{record.msg} (not formatted: {error!r})"
    line = f"{record.levelname} {record.name}: {text}"
    if record.exc_info and record.exc_info[0] is not None:
        line += "\n" + _formatter.formatException(record.exc_info)
    return line


_formatter: Final = logging.Formatter()
_capture: Final = _Capture()

install: Final = _capture.install
"""Begin to capture; each call needs one `remove`."""

refresh: Final = _capture.refresh
"""Wrap the streams again if somebody has replaced them since: test runners and notebooks do."""

remove: Final = _capture.remove
"""End what `install` began: the streams that were there are put back."""
