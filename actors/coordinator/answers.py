"""What was answered, for those that ask again."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from ..actor import MINUTE
from ..messages import Accepted, Decided, RequestRejected

KEPT_US: Final = MINUTE
"""How long an answer is kept at least: longer than what was asked again, before the answer came, can lie in a mailbox."""

FEW: Final = 4_096
"""So many of the latest are kept however old they are."""

MOST: Final = 250_000
"""So many are kept at most; a minute of 4,000 single submissions a second."""

Answer = Accepted | Decided | RequestRejected


class _Said(NamedTuple):
    """An answer, and when it was given (steady, µs)."""

    at: int
    answer: Answer


class Answers:
    """Answers by the keys of what was asked."""

    def __init__(self) -> None:
        self._said: OrderedDict[str, _Said] = OrderedDict()

    def find(self, key: str) -> Answer | None:
        """What was answered, if that is known still."""
        said = self._said.get(key)
        return None if said is None else said.answer

    def keep(self, key: str, answer: Answer, elapsed: int) -> None:
        """Remember an answer, and forget up to two that are not needed any more, so that no turn forgets very many."""
        self._said[key] = _Said(elapsed, answer)
        for _ in range(2):
            if len(self._said) > MOST or (len(self._said) > FEW and elapsed - self._oldest() > KEPT_US):
                self._said.popitem(last=False)

    def _oldest(self) -> int:
        return next(iter(self._said.values())).at
