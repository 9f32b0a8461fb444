"""A clock that stands still, for a node that is only to change what is stored."""

from __future__ import annotations

from typing import Any

from ..actor import Turn


class StoppedClock:
    """Fires nothing and judges nothing: what passes is decided by the next clock that runs."""

    def receive(self, message: Any, turn: Turn) -> None:
        """Take a message; jobs are armed from the store when a clock begins."""

    def settle(self, turn: Turn) -> None:
        """Nothing is gathered."""
