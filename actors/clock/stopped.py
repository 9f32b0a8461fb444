"""A clock that stands still, for a node that is only to change what is stored."""

from __future__ import annotations

from typing import Any

from ..actor import Turn
from ..messages import KnowJobs, Noted


class StoppedClock:
    """Fires nothing and judges nothing: what passes is decided by the next clock that runs."""

    def receive(self, message: Any, turn: Turn) -> None:
        """Take a message; when a clock begins it learns of the jobs from the store."""
        if isinstance(message, KnowJobs):
            turn.reply(Noted(message.key))

    def settle(self, turn: Turn) -> None:
        """Nothing is gathered."""
