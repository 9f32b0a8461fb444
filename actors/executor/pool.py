"""What the runner asks of each of its pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .ledger import Ledger
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

    def held(self) -> list[int]:
        """The fences of those whose outcome is owed."""

    def idle(self) -> bool:
        """Whether it has no attempt whose outcome is owed."""

    def close(self, deadline_ns: int) -> None:
        """End threads and processes; waits until the monotonic deadline at most."""


class LedgerPool:
    """The half of a pool that its ledger does."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def withdraw(self, fences: Sequence[int]) -> None:
        """Give back those that have not begun."""
        self._ledger.withdraw(fences)

    def stop(self, fence: int, reason: StopReason, grace_us: int) -> None:
        """End one attempt, or give it up when the grace is over; none of this fence is no error."""
        self._ledger.stop(fence, reason, grace_us)

    def stop_all(self, reason: StopReason, grace_us: int) -> None:
        """End all attempts."""
        self._ledger.stop_all(reason, grace_us)

    def held(self) -> list[int]:
        """The fences of those whose outcome is owed."""
        return self._ledger.held()

    def idle(self) -> bool:
        """Whether no attempt is running or waiting (a stuck one is over)."""
        return self._ledger.idle()
