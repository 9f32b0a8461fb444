"""What the runner asks of each of its pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .live import LiveAttempt
from .runner import StopReason


class Pool(Protocol):
    """Runs attempts of one kind. Every method may be called from any thread, and none but `close` waits."""

    def start(self, lives: Sequence[LiveAttempt]) -> None:
        """Take attempts, in order of urgency."""

    def withdraw(self, fences: Sequence[int]) -> None:
        """Give back those that have not begun; others, and those it does not hold, are left alone."""

    def stop(self, fence: int, reason: StopReason, grace_us: int) -> None:
        """End one attempt; one that it does not hold is no error."""

    def stop_all(self, reason: StopReason, grace_us: int) -> None:
        """End all attempts."""

    def idle(self) -> bool:
        """Whether it has no attempt whose outcome is owed."""

    def close(self, deadline_ns: int) -> None:
        """End threads and processes; waits until the monotonic deadline at most."""
