"""When to say again what may have been lost: soon at first, then ever more seldom.

Within a process a message is lost only where a mailbox was full. Who had no room for it for a while has it after as long again,
and what is said for good costs next to nothing.
"""

from __future__ import annotations


class Reminder:
    """Falls due `first_us` after it was begun, then after twice as long each time, and at last every `most_us`."""

    def __init__(self, first_us: int, most_us: int) -> None:
        assert 0 < first_us <= most_us
        self._first_us = first_us
        self._most_us = most_us
        self._wait_us = first_us
        self._due_at: int | None = None

    def begin(self, elapsed: int) -> None:
        """It was said just now."""
        self._wait_us = self._first_us
        self._due_at = elapsed + self._first_us

    def is_due(self, elapsed: int) -> bool:
        """Whether it is to be said again now; never, before it was begun."""
        if self._due_at is None or elapsed < self._due_at:
            return False
        self._wait_us = min(2 * self._wait_us, self._most_us)
        self._due_at = elapsed + self._wait_us
        return True
