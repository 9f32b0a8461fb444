"""Who sends rubbish again and again is kept out for a while."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

MAX_OFFENCES: Final = 32
"""Offences within `WITHIN_MS` that lead to a ban."""

WITHIN_MS: Final = 10_000

BAN_MS: Final = 30_000

MAX_REMEMBERED: Final = 4096
"""Offenders that are remembered; of more the earliest are forgotten."""


class Offenders:
    """Counts offences by offender, and remembers who is banned until when. Instants are ms of a clock that only grows."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._banned: OrderedDict[str, int] = OrderedDict()

    def note(self, who: str, now: int) -> bool:
        """Note an offence; answers whether it was the one that leads to a ban."""
        since, count = self._counts.pop(who, (now, 0))
        if now - since > WITHIN_MS:
            since, count = now, 0
        if count + 1 < MAX_OFFENCES:
            _remember(self._counts, who, (since, count + 1))
            return False
        _remember(self._banned, who, now + BAN_MS)
        return True

    def is_banned(self, who: str, now: int) -> bool:
        """Whether somebody is kept out."""
        until = self._banned.get(who)
        if until is None or now < until:
            return until is not None
        del self._banned[who]
        return False


def _remember(of: OrderedDict[str, Any], who: str, what: Any) -> None:
    of[who] = what
    if len(of) > MAX_REMEMBERED:
        of.popitem(last=False)
