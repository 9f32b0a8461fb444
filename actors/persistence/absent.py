"""No store: what a node has that only runs what others give it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import StoreError
from .store import Capabilities, Committed, Lease, Question, Write


class AbsentStore:
    """Stands where a store would; keeps nothing, and says so to whoever asks."""

    capabilities = Capabilities(
        durable=False, many_processes=True, many_hosts=True, promise="This node keeps nothing: its leader does."
    )

    def open(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def enter(self, holder: str) -> None:
        """Do nothing: nobody looks for this process here."""

    def is_dead(self, holder: str) -> bool:
        """Nothing is known of anybody."""
        return False

    def lease(self) -> Lease | None:
        """Refuse."""
        raise _refusal()

    def take_lease(self, holder: str, address: str, seen: Lease | None) -> Lease | None:
        """Refuse."""
        raise _refusal()

    def renew_lease(self, holder: str, epoch: int) -> int:
        """Refuse."""
        raise _refusal()

    def last_seq(self) -> int:
        """Refuse."""
        raise _refusal()

    def commit(self, writes: Sequence[Write], *, epoch: int, holder: str, seq: int) -> Committed:
        """Refuse."""
        raise _refusal()

    def found_before(self, writes: Sequence[Write]) -> Committed:
        """Refuse."""
        raise _refusal()

    def tidy(self) -> bool:
        """There is nothing to put in order."""
        return False

    def read(self, question: Question) -> list[Any]:
        """Refuse."""
        raise _refusal()


def _refusal() -> StoreError:
    return StoreError("this node has no store; it only runs what the leader of its cluster gives it")
