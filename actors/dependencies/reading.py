"""Reading groups back from the store: a few at a time, so that whoever has something to save is served in between.

A new leader may have tens of thousands of them to read at once. What is not answered is asked again.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from ..actor import PERSISTENCE, SECOND, Turn
from ..messages import Read
from ..persistence.store import GetGroup
from .group import GroupKey

GROUPS_A_READ: Final = 64
ASK_AGAIN_US: Final = SECOND


class Reading:
    """The groups of one reign that are to be read, by tenant; one question is on its way at a time."""

    def __init__(self, epoch: int) -> None:
        self._prefix = f"group/{epoch}/"
        self._wanted: dict[str, dict[str, None]] = {}
        self._asked: Read | None = None
        self._count = 0

    def is_answer(self, key: str) -> bool:
        """Tell whether what was found under this key are runs of groups."""
        return key.startswith(self._prefix)

    def want(self, key: GroupKey, turn: Turn) -> None:
        """Have a group read, also if it was asked for just now: the answer may be too old."""
        tenant, group = key
        self._wanted.setdefault(tenant, {})[group] = None
        if self._asked is None:
            self._ask(turn)

    def on_answer(self, key: str, turn: Turn) -> None:
        """Something was found: ask for the next, if it was what is asked for now."""
        if self._asked is not None and self._asked.key == key:
            self._asked = None
            turn.cancel_timer("groups")
            self._ask(turn)

    def on_timer(self, turn: Turn) -> None:
        """Ask again what was not answered."""
        if self._asked is not None:
            self._send(self._asked, turn)

    def _ask(self, turn: Turn) -> None:
        for tenant, wanted in self._wanted.items():
            groups = tuple(islice(wanted, GROUPS_A_READ))
            for group in groups:
                del wanted[group]
            if not wanted:
                del self._wanted[tenant]
            self._count += 1
            self._asked = Read(f"{self._prefix}{self._count}", GetGroup(tenant, groups))
            self._send(self._asked, turn)
            return

    @staticmethod
    def _send(read: Read, turn: Turn) -> None:
        turn.send(PERSISTENCE, read)
        turn.set_timer("groups", turn.elapsed + ASK_AGAIN_US, steady=True)
