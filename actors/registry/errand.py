"""Errands: what the registry asks of others on behalf of a client, and what is to be done with the answer.

A request lives here under the key of the question that was asked last for it. One that got nowhere is dropped after a while:
its client asks again under its own key, and it begins anew. What a job that is stored as paused or removed still needs of the
coordinator is asked again from here: nobody else would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from ..actor import COORDINATOR, PERSISTENCE, SECOND, Address, Turn
from ..messages import (
    AddJobs,
    CancelRun,
    ChangeJob,
    Found,
    HoldJob,
    JobHeld,
    Query,
    Read,
    RefusalCode,
    RequestRejected,
    Save,
    Saved,
    SaveRejected,
    Submit,
    Watch,
)
from ..persistence.store import Question, Write
from .changes import Changes

MAX_WAITING: Final = 10_000
"""Requests that wait for an answer of the store; further ones are dropped, and their clients ask again."""

ASK_AGAIN_US: Final = SECOND
KEEP_EARLY_US: Final = 3 * SECOND
"""For how long a request is good that came before the reign was ready."""

FORGET_US: Final = 30 * SECOND
"""A request that got nowhere for so long is dropped; its client has asked again, or gone."""

Request = AddJobs | Submit | ChangeJob | CancelRun | Query | Watch


class Errand(Struct):
    """A request in hand: who asks, when something was asked for it last, and what to do with the answer."""

    client: Address
    request: Request
    sent_at: int = 0
    on_found: Callable[[Found, Turn], None] | None = None
    on_saved: Callable[[Turn], None] | None = None
    on_held: Callable[[Turn], None] | None = None
    hold: HoldJob | None = None


class Errands:
    """The requests in hand, by the key of what was asked last."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self._errands: dict[str, Errand] = {}
        self.early: dict[str, tuple[Address, Request, int]] = {}
        self._count = 0

    @property
    def full(self) -> bool:
        """Whether no more requests are taken now."""
        return len(self._errands) + len(self.early) >= MAX_WAITING

    def keep(self, client: Address, request: Request, turn: Turn) -> None:
        """Keep a request that came before the reign was ready; one that is sent again takes the place of the first."""
        self.early.pop(request.key, None)
        self.early[request.key] = (client, request, turn.elapsed)

    def take_kept(self, turn: Turn) -> list[tuple[Address, Request]]:
        """The requests that were kept, in order; those that are old were given up by their clients, who ask again each second."""
        early, self.early = self.early, {}
        return [(client, request) for client, request, at in early.values() if turn.elapsed - at <= KEEP_EARLY_US]

    def next(self) -> str:
        """A key that was not used in this reign."""
        self._count += 1
        return f"{self.epoch}/{self._count}"

    # ---- asking ---------------------------------------------------------------------------------------------------------

    def read(
        self, client: Address, request: Request, question: Question, then: Callable[[Found, Turn], None], turn: Turn
    ) -> None:
        """Ask the store, then go on."""
        key = f"ask/{self.next()}"
        self._begin(key, Errand(client, request, turn.elapsed, on_found=then), turn)
        turn.send(PERSISTENCE, Read(key, question))

    def save(
        self, client: Address, request: Request, writes: Iterable[Write], then: Callable[[Turn], None], turn: Turn
    ) -> None:
        """Have something stored, then go on."""
        key = f"save/{self.next()}"
        self._begin(key, Errand(client, request, turn.elapsed, on_saved=then), turn)
        turn.send(PERSISTENCE, Save(key, self.epoch, tuple(writes)))

    def hold(
        self, client: Address, request: ChangeJob, hold: HoldJob, then: Callable[[Turn], None], turn: Turn
    ) -> None:
        """Have the coordinator hold a job or let it go, then go on; asked again until it is."""
        self._begin(hold.key, Errand(client, request, turn.elapsed, on_held=then, hold=hold), turn)
        turn.send(COORDINATOR, hold)

    def _begin(self, key: str, errand: Errand, turn: Turn) -> None:
        if not self._errands:
            turn.set_timer("errands", turn.elapsed + ASK_AGAIN_US, steady=True)
        self._errands[key] = errand

    # ---- answers --------------------------------------------------------------------------------------------------------

    def on_found(self, message: Found, changes: Changes, turn: Turn) -> None:
        """The store has answered; what it says of a change that has begun anew since then is too old to be written by."""
        errand = self._errands.pop(message.key, None)
        if errand is None or errand.on_found is None:
            return
        if not isinstance(errand.request, AddJobs | ChangeJob) or changes.owns(errand.request, errand.sent_at):
            errand.on_found(message, turn)

    def on_saved(self, message: Saved, turn: Turn) -> tuple[Address, AddJobs] | None:
        """The store has written. Answers the request whose jobs are to be added anew, as one was there that was not before."""
        errand = self._errands.pop(message.key, None)
        if errand is None or errand.on_saved is None:
            return None
        if message.committed.existing:
            assert isinstance(errand.request, AddJobs), "nothing else inserts jobs"
            return errand.client, errand.request
        errand.on_saved(turn)
        return None

    def on_save_rejected(self, message: SaveRejected, turn: Turn) -> None:
        """The store has not written: the client is refused, unless the reign is over, which it need not know."""
        errand = self._errands.pop(message.key, None)
        if errand is None or message.code == "fenced":
            return
        code: RefusalCode = "store_busy" if message.code == "busy" else "store_full"
        reject(errand.client, errand.request.key, code, f"nothing was stored: {message.text}", turn)

    def on_held(self, message: JobHeld, turn: Turn) -> None:
        """The coordinator holds the job, or has let it go."""
        errand = self._errands.pop(message.key, None)
        if errand is not None and errand.on_held is not None:
            errand.on_held(turn)

    def on_timer(self, changes: Changes, turn: Turn) -> None:
        """Drop what got nowhere, and ask again for jobs to be held, unless a later change has them in hand."""
        late = [key for key, it in self._errands.items() if it.sent_at + FORGET_US < turn.elapsed]
        for key in late:
            del self._errands[key]
        for it in self._errands.values():
            is_due = it.sent_at + ASK_AGAIN_US <= turn.elapsed
            if it.hold is None or not is_due or not isinstance(it.request, ChangeJob):
                continue
            if changes.owns(it.request, turn.elapsed):  # also when it has begun anew: that holds the job likewise
                turn.send(COORDINATOR, it.hold)
        if self._errands:
            turn.set_timer("errands", turn.elapsed + ASK_AGAIN_US, steady=True)


def reject(client: Address, key: str, code: RefusalCode, text: str, turn: Turn, index: int = -1) -> None:
    """Refuse a client's request."""
    turn.send(client, RequestRejected(key, code, text, index))
