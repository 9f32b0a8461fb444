"""What an attempt tells of itself can be told to everybody, whatever its program calls things."""

from __future__ import annotations

from callsheet.actors.executor.call import describe
from callsheet.actors.executor.context import Context
from callsheet.actors.executor.live import LiveAttempt
from callsheet.actors.executor.runner import Order, Outcome, Progress
from callsheet.actors.messages import AttemptsEnded, AttemptsProgressed
from support.travelling import assert_travels


def test_an_error_whose_type_has_an_endless_or_unwritable_name_travels() -> None:
    base = type("B" * 300_000, (Exception,), {})
    odd = type("Odd", (base,), {"__qualname__": "Odd\ud800"})
    error = describe(odd("text\ud800"))
    assert error.type.endswith("Odd?")
    assert_travels(AttemptsEnded("n", (Outcome(1, 1, 1, "failed", 1, 2, error=error),)))


def test_progress_with_a_text_that_cannot_be_written_travels() -> None:
    reported: list[Progress] = []
    live = LiveAttempt(Order(1, 1, 1, "t", "work", "thread", "work", b""), None, reported.append)
    Context(live).progress(1, 2, "half\ud800")
    assert_travels(AttemptsProgressed(tuple(reported)))
