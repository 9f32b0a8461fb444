"""Who listens to the registry: takes what it says of jobs once, in its order, and acknowledges it.

What the registry says may be lost, so it says it again, under a greater number, until it is noted (`registry/announcement.py`).
What is overtaken by something newer is left unanswered: the registry says it again if it is still true.
"""

from __future__ import annotations

from .actor import Turn
from .messages import KnowJobs, Noted


class Listener:
    """What an actor has heard of the registry in one reign; in epoch 0 it hears nothing."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._last = 0

    def hears(self, message: KnowJobs, turn: Turn) -> bool:
        """Tell whether a message is of this reign and newer than all before; then it is acknowledged, and must be taken."""
        if message.epoch != self._epoch or message.number <= self._last:
            return False
        self._last = message.number
        turn.reply(Noted(message.key))
        return True
