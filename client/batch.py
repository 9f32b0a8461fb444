"""A submission of many runs: batch after batch, several on their way at once, and what became of each when one fails.

    begin ─▶ [ window: up to 16 batches ] ─▶ the oldest is answered ─▶ begin …
                                          └▶ refused, or not in time

When one is refused, or not answered in time, no further batch begins, those on their way are waited for, and the error says
which runs are stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, cast

from ..actors.messages import Submit, SubmitItem
from ..actors.records import Cause
from .ends import Ended

if TYPE_CHECKING:
    from .gateway import Gateway, Pending

WINDOW: Final = 16
"""Batches of one `submit_many` that are on their way at once."""

ITEMS_A_BATCH: Final = 256

BYTES_A_BATCH: Final = 8 * 1024 * 1024
"""Of arguments or definitions in one request: half of what a message may be, so that all else in it fits too."""


def parts(sizes: Sequence[int]) -> Iterator[slice]:
    """Cut what has these sizes (bytes) into rows that fit into one request each, in order."""
    start = size = 0
    for at, each in enumerate(sizes):
        if at > start and (at - start == ITEMS_A_BATCH or size + each > BYTES_A_BATCH):
            yield slice(start, at)
            start, size = at, 0
        size += each
    if start < len(sizes):
        yield slice(start, len(sizes))


class Batches:
    """The batches of one submission. Iterate to begin them; what comes is to be waited for before the next.

    Args:
        handles: of the items, in their order; they get their numbers as their runs are stored.
    """

    def __init__(
        self, gateway: Gateway, tenant: str, items: Sequence[SubmitItem], handles: Sequence[Ended], cause: Cause
    ) -> None:
        self._gateway = gateway
        self._tenant = tenant
        self._items = items
        self._handles = handles
        self._cause = cause
        self._parts = list(parts([len(item.arguments) for item in items]))
        self._open: deque[Pending] = deque()

    def __iter__(self) -> Iterator[Pending]:
        for part in self._parts:
            request = Submit(self._gateway.key(), self._tenant, tuple(self._items[part]), self._cause)
            self._open.append(self._gateway.begin(request, handles=self._handles[part]))
            if len(self._open) == WINDOW:
                yield from self._oldest()
        while self._open:
            yield from self._oldest()

    def _oldest(self) -> Iterator[Pending]:
        yield self._open[0]
        self._gateway.forget(self._open.popleft())

    @property
    def futures(self) -> list[Future[Any]]:
        """Of the answers to those that are on their way."""
        return [pending.future for pending in self._open]

    def forget(self) -> None:
        """Wait for none of them any more."""
        for pending in self._open:
            self._gateway.forget(pending)

    def tell(self, error: Exception, handles: Sequence[Any]) -> None:
        """Say on the error that ends the submission what was stored: `submitted` has the handle of each run, or None.

        handles: as whoever submitted is to have them.
        """
        stored = [handle if of.run_id else None for of, handle in zip(self._handles, handles, strict=True)]
        cast("Any", error).submitted = stored
        if len(self._parts) <= 1:  # all or none
            return
        count = len(stored) - stored.count(None)
        unknown = sum(len(each.handles) for each in self._open if not each.is_answered)
        text = f"{error}; of {len(stored):,} runs {count:,} are stored, whose handles are in this error's `submitted`"
        error.args = (text + (f"; of {unknown:,} it is not known" if unknown else ""),)
