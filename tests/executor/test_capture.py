# ruff: noqa: T201 - what is tested is print

from __future__ import annotations

import contextvars
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress

import pytest

from callsheet.actors.executor import capture
from callsheet.actors.executor.capture import HEAD_BYTES, Log
from callsheet.actors.records import MAX_LOG_BYTES


@contextmanager
def captured() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    with redirect_stdout(stream), redirect_stderr(stream):
        capture.install()
        try:
            yield stream
        finally:
            capture.remove()


def within(log: Log, call: Callable[[], object]) -> None:
    def enter() -> None:
        capture.current.set(log)
        call()

    contextvars.copy_context().run(enter)


def test_what_a_job_prints_goes_to_the_stream_and_to_its_log() -> None:
    log = Log()
    with captured() as stdout:
        within(log, lambda: print("inside"))
        print("outside")
    assert log.content() == b"inside\n"
    assert stdout.getvalue() == "inside\noutside\n"


def test_a_job_that_prints_goes_on_when_nobody_reads_the_stream_any_more() -> None:
    log = Log()
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", buffering=1)
    with redirect_stdout(stream), redirect_stderr(stream):
        capture.install()
        try:
            within(log, lambda: print("inside", flush=True))
            with pytest.raises(BrokenPipeError):
                print("outside")
        finally:
            capture.remove()
    with suppress(BrokenPipeError):
        stream.close()
    assert log.content() == b"inside\n"


def test_the_streams_are_put_back() -> None:
    before = sys.stdout
    capture.install()
    capture.install()
    capture.remove()
    assert sys.stdout is not before
    capture.remove()
    assert sys.stdout is before


def test_what_a_job_logs_is_kept_without_any_handler() -> None:
    log = Log()
    logger = logging.getLogger("some.job")
    with captured():
        within(log, lambda: logger.warning("%d rows", 3))
        logger.warning("outside")
    assert log.content() == b"WARNING some.job: 3 rows\n"


def test_a_record_that_a_handler_prints_too_is_kept_once() -> None:
    log = Log()
    logger = logging.getLogger("some.other.job")
    with captured() as stdout:
        handler = logging.StreamHandler(sys.stderr)
        logger.addHandler(handler)

        def job() -> None:
            logger.warning("1")
            print("not 1")

        within(log, job)
        logger.removeHandler(handler)
    assert log.content() == b"WARNING some.other.job: 1\nnot 1\n"
    assert stdout.getvalue() == "1\nnot 1\n"


def test_a_print_that_ends_like_the_record_before_it_is_kept() -> None:
    log = Log()
    with captured():

        def job() -> None:
            logging.getLogger("job").warning("1")
            print("21")

        within(log, job)
    assert b"21\n" in log.content()


def test_streams_that_somebody_replaced_are_wrapped_again() -> None:
    log = Log()
    with captured(), redirect_stdout(io.StringIO()) as stdout:
        capture.refresh()
        within(log, lambda: print("inside"))
    assert log.content() == b"inside\n"
    assert stdout.getvalue() == "inside\n"


def test_capture_leaves_the_root_logger_alone() -> None:
    before = list(logging.getLogger().handlers)
    capture.install()
    assert logging.getLogger().handlers == before
    capture.remove()


def test_a_log_that_is_too_long_keeps_its_beginning_and_its_end() -> None:
    log = Log()
    for number in range(100_000):
        log.write(f"line {number}\n")
    content = log.content()
    assert len(content) <= MAX_LOG_BYTES
    assert content.startswith(b"line 0\nline 1\n")
    assert content.endswith(b"line 99999\n")
    assert b"bytes left out" in content[HEAD_BYTES : HEAD_BYTES + 64]


def test_text_that_cannot_be_encoded_is_kept_readable() -> None:
    log = Log()
    log.write("\ud800!")
    assert log.content() == b"?!"
