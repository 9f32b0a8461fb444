"""An attempt while it is in the runner's hands: the order, its function, whether it shall end, what it has logged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .capture import Log
from .functions import Function
from .runner import Order, Progress, StopReason

ProgressSink = Callable[[Progress], None]


class LiveAttempt:
    """One order from the moment it is taken to the moment it has ended.

    `started_at` (µs, UTC) is 0 until the start mark is set; `deadline` (monotonic ns, 0 for none) is when it is timed out;
    `sent_ns` (monotonic) is when it was sent to a worker process. `stop` is why it shall end, None while it may go on; `told` is true when the function has learnt of it. `over` is true when
    its outcome was reported. `losses` is how many worker processes died that would have called it next. `handle` belongs to the pool that runs it.
    """

    __slots__ = (
        "deadline",
        "function",
        "handle",
        "log",
        "losses",
        "order",
        "over",
        "report_progress",
        "sent_ns",
        "started_at",
        "stop",
        "told",
    )

    def __init__(self, order: Order, function: Function | None, report_progress: ProgressSink) -> None:
        self.order = order
        self.function = function
        self.report_progress = report_progress
        self.started_at = 0
        self.deadline = 0
        self.sent_ns = 0
        self.stop: StopReason | None = None
        self.told = False
        self.over = False
        self.losses = 0
        self.log: Log | None = None
        self.handle: Any = None

    def write(self, text: str) -> None:
        """Add what the job printed."""
        if self.log is None:
            self.log = Log()
        self.log.write(text)

    def note(self, line: str) -> None:
        """Add a line that the job logged; should a handler print it too, it is kept once."""
        if self.log is None:
            self.log = Log()
        self.log.note(line)

    def logs(self) -> bytes:
        """What was written so far, within its limit."""
        return b"" if self.log is None else self.log.content()
