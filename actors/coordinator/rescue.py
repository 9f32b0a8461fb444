"""What becomes of the attempts that were handed to a node which is silent, or dead, or on its way out.

Before a function is called its start mark is set (`executor/marks.py`), where the machine's other nodes can read it; and they
can revoke there what was not begun, so that it never will be. So what is known of an attempt decides:

                       not begun, by a readable mark      begun                          the marks cannot be read
    node is silent     revoked, given back                waits for the node             waits for the node
    node is dead       given back                         LOST, or a crash: tried again  counts as begun
    node is given up   revoked, given back                LOST, or a crash: tried again  counts as begun

An attempt that goes on after its node was given up changes nothing by its outcome: its fence is stale.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..actor import EXECUTOR, SECOND, Address, Turn
from ..executor.runner import Outcome
from ..messages import AttemptsLost, ClearMarks, MarksRead, StockTaken, StopAttempts, TakeStock, Withdraw
from ..portions import fence_portions
from ..records import ErrorInfo, RunState
from .attempts import Attempts, audit_key
from .book import Live
from .places import Place
from .reign import Reign

ASK_AGAIN_US: Final = SECOND
"""After how long an executor is asked again what it holds."""

RELEASE_GRACE_US: Final = 2_000_000
"""How long an attempt has between being asked to stop and being made to, when its node stops."""


class Rescue:
    """Settles attempts whose node does not answer for them."""

    def __init__(self, reign: Reign, attempts: Attempts) -> None:
        self._reign = reign
        self._attempts = attempts
        self._given_up: set[str] = set()
        self._asked: dict[Address, tuple[int, int]] = {}

    # ---- asking ---------------------------------------------------------------------------------------------------------

    def take_stock(
        self, executor: Address, turn: Turn, incarnations: Iterable[str] = (), *, revoke_to: int = 0
    ) -> None:
        """Ask an executor what it holds; of these other lives of nodes it reads the marks, and revokes up to a fence."""
        self._asked[executor] = (self._reign.ordered, turn.elapsed)
        turn.send(executor, TakeStock(self._reign.epoch, tuple(incarnations), revoke_to))

    def ask_again(self, executor: Address, turn: Turn) -> None:
        """Ask an executor anew that has not answered: until it hears of this reign it tells its outcomes to the last leader."""
        asked = self._asked.get(executor)
        if asked is not None and turn.elapsed - asked[1] >= ASK_AGAIN_US:
            self.take_stock(executor, turn)

    def inspect(self, incarnations: Iterable[str], turn: Turn) -> None:
        """Find out which of these lives of nodes are over, by their marks; the own executor reads them."""
        self.take_stock(EXECUTOR, turn, incarnations)

    def take_back(self, place: Place, turn: Turn) -> None:
        """Take back what was not begun there: by revoking it, and by asking the node."""
        self.take_stock(EXECUTOR, turn, (place.incarnation,), revoke_to=self._reign.last_fence())
        fences = [live.fence for live in self._at(place) if not live.begun]
        self._withdraw(place, fences, turn)

    def release(self, place: Place, turn: Turn) -> None:
        """End what runs there: its node stops and waits no longer."""
        for fences in fence_portions([live.fence for live in self._at(place)]):
            stop = StopAttempts(self._reign.epoch, fences, "shutdown", RELEASE_GRACE_US, place.incarnation)
            turn.send(place.address, stop)

    def give_up(self, place: Place, turn: Turn) -> None:
        """A node was silent for too long: settle all it held, as soon as its marks were read."""
        self._given_up.add(place.incarnation)
        self.take_stock(EXECUTOR, turn, (place.incarnation,), revoke_to=self._reign.last_fence())

    def _withdraw(self, place: Place, fences: list[int], turn: Turn) -> None:
        """Ask for what was not begun there. Only this life of the node may answer: a later one never had any of it."""
        key = audit_key(self._reign)
        for portion in fence_portions(fences):
            turn.send(place.address, Withdraw(self._reign.epoch, key, portion, place.incarnation))

    def _at(self, place: Place) -> list[Live]:
        return [live for live in self._reign.book.live.values() if live.place is place and live.fence]

    # ---- answers --------------------------------------------------------------------------------------------------------

    def on_stock_taken(self, message: StockTaken, turn: Turn) -> tuple[str, ...]:
        """Take what an executor holds, and what it has read of others; answer which incarnations are dead or given up."""
        place = self._reign.places.of(message.incarnation)
        if place is not None:
            self._reconcile(place, message, turn)
        return tuple(mark.incarnation for mark in message.marks if self._settle(mark, turn))

    def on_attempts_lost(self, message: AttemptsLost, turn: Turn) -> None:
        """The executor that knew how these ended has failed, and its node lives: they count as crashed."""
        lost = set(message.fences)
        for live in list(self._reign.book.live.values()):
            if live.fence in lost and live.place is not None and live.place.incarnation == message.incarnation:
                self.recover(live, turn.now, was_begun=True)
        for fence in message.fences:
            self._reign.batch.record(turn.sender, fence)

    def _reconcile(self, place: Place, message: StockTaken, turn: Turn) -> None:
        """What should be with this executor and is not: its order was lost, or is on its way. Whether it came is asked.

        An order that left after the executor was asked is not missing yet.
        """
        held = set(message.held)
        last, _ = self._asked.pop(place.address, (self._reign.ordered, 0))
        missing = [live.fence for live in self._at(place) if live.fence <= last and live.fence not in held]
        self._withdraw(place, missing, turn)

    def _settle(self, mark: MarksRead, turn: Turn) -> bool:
        place = self._reign.places.of(mark.incarnation)
        is_over = mark.dead or mark.incarnation in self._given_up
        if place is None:
            if mark.dead:
                self._reign.places.drop(mark.incarnation, dead=True)
            return is_over
        begun = set(mark.fences)
        for live in self._at(place):
            is_begun = not mark.readable or live.fence in begun
            if is_over:
                self.recover(live, turn.now, was_begun=is_begun)
            elif not is_begun and live.fence <= mark.revoked:
                self.recover(live, turn.now, was_begun=False)
            elif is_begun and mark.readable and live.state is RunState.CLAIMED:
                live.move(RunState.RUNNING, "running")
                live.begun = True
                live.arrive()
        if is_over:
            self._reign.places.drop(mark.incarnation, dead=mark.dead)
            self._reign.park_unknown()
            self._given_up.discard(mark.incarnation)
            if mark.dead:
                self.clear_marks((mark.incarnation,))
        return is_over

    def clear_marks(self, incarnations: Iterable[str]) -> None:
        """The marks of these, who are dead, may go once what they say is durable, but for those of who may still hold runs.

        A leader that was deposed and does not know it knows nothing of what the next one gave them. So they go only with
        something that was written: then no other reign had begun yet, and the dead are given nothing by those that follow.
        """
        held = {it.place.incarnation for it in self._reign.book.live.values() if it.place is not None}
        held.update(place.incarnation for place in self._reign.places.all())
        gone = tuple(incarnation for incarnation in incarnations if incarnation not in held)
        if gone:
            self._reign.write_something()
            self._reign.batch.send(EXECUTOR, ClearMarks(gone))

    def recover(self, live: Live, now: int, *, was_begun: bool) -> None:
        """Settle an attempt that nobody answers for: as a crash if it was begun, else unspent."""
        if not was_begun:
            self._attempts.give_back(live, now)
            return
        error = ErrorInfo("callsheet.NodeDied", (), "the process that ran it ended without recording an outcome", "")
        number = live.attempts + live.crashes + 1
        outcome = Outcome(live.fence, live.run.run_id, number, "crashed", 0, now, error=error)
        self._attempts.vacate(live)
        self._attempts.crashed(live, outcome, now)
