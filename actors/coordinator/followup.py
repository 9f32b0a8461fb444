"""What follows when a batch is durable: answers, orders, acknowledgements, news of ends. And what when it was refused."""

from __future__ import annotations

from ..actor import DEPENDENCIES, Turn
from ..messages import (
    Gauged,
    GroupsMoved,
    Recorded,
    RequestRejected,
    RunsCreated,
    RunsEnded,
    RunsFinished,
    RunsMade,
)
from ..persistence.store import Committed
from ..portions import end_size, fence_portions, portions
from ..records import End, Run, RunState
from ..refusal import conflict_text
from .admission import Admission, accepted
from .attempts import Attempts
from .batch import Admitted, Batch
from .book import Live
from .reign import Reign


class Followup:
    """Performs the consequences of batches."""

    def __init__(self, reign: Reign, attempts: Attempts, admission: Admission, *, durable: bool) -> None:
        self._reign = reign
        self._attempts = attempts
        self._admission = admission
        self._durable = durable
        self._sent = 0

    def perform(self, batch: Batch, committed: Committed | None, turn: Turn) -> None:
        """Let out what waited for this batch."""
        replaced = self._replace(batch, committed, turn) if committed is not None and committed.tokens else {}
        if batch.claimed:
            self._attempts.assign(batch.claimed, turn)
        for admitted in batch.admitted:
            if admitted.key in self._refused:
                continue
            answer = accepted(admitted, self._durable, replaced)
            self._admission.answered(admitted.key, answer, turn.elapsed)
            turn.send(admitted.client, answer)
        for to, decided in batch.decided:
            self._admission.decided(decided, turn.elapsed)
            turn.send(to, decided)
        if batch.ended:
            self._tell_ends(batch.ended, turn)
        for executor, fences in batch.recorded.items():
            for portion in fence_portions(fences):
                turn.send(executor, Recorded(portion))
        self._tell_dependencies(batch, turn)
        for to, message in batch.sends:
            turn.send(to, message)
        for happened in batch.happened:
            turn.emit(happened)
        if batch.runs:
            turn.emit(RunsCreated(len(batch.runs)))
        levels = {"live": float(len(self._reign.book.live)), "running": float(self._reign.places.out())}
        turn.emit(Gauged(levels))

    # ---- idempotency keys -----------------------------------------------------------------------------------------------

    _refused: frozenset[str] = frozenset()

    def _replace(self, batch: Batch, committed: Committed, turn: Turn) -> dict[int, int]:
        """Runs that were there before by their token: the new ones never were. Answers new number → number that counts."""
        replaced: dict[int, int] = {}
        conflicts: dict[int, Run] = {}
        new = {run.run_id: run for run in batch.runs if run.token is not None}
        for run_id, old in committed.tokens:
            replaced[run_id] = old.run_id
            if (old.job, old.arguments) != (new[run_id].job, new[run_id].arguments):
                conflicts[run_id] = old
        self._unmake(dict.fromkeys(replaced), batch, turn.now)
        for run_id, old in committed.tokens:
            self._dissolve(new[run_id], old, batch, turn)
        refused = set()
        for admitted in batch.admitted:
            found = next((run_id for run_id in admitted.run_ids if run_id in conflicts), None)
            if found is not None:
                refused.add(admitted.key)
                self._refuse_token(admitted, found, conflicts[found], turn)
        self._refused = frozenset(refused)
        return replaced

    def _dissolve(self, gone: Run, old: Run, batch: Batch, turn: Turn) -> None:
        """What was made with such a run was stored and stands for nothing now: its hooks, the rest of its group."""
        group = (gone.tenant, gone.group)
        others = [run.run_id for run in batch.runs if run.parent == gone.run_id]
        if gone.group:
            others.extend(made.run_id for made in batch.made if (made.tenant, made.group) == group)
        for number in others:
            other = self._reign.book.live.get(number)
            if other is None:
                continue
            if other.fence:
                self._void_claim(other, batch)
                other.fence = 0
            reason = f"belongs to a run that was there before, by its idempotency key: run {old.run_id}"
            self._reign.end(other, RunState.CANCELLED, turn.now, reason=reason)

    def _refuse_token(self, admitted: Admitted, run_id: int, old: Run, turn: Turn) -> None:
        text = conflict_text(old)
        index = admitted.run_ids.index(run_id)
        rejected = RequestRejected(admitted.key, "token_conflict", text, index)
        self._admission.answered(admitted.key, rejected, turn.elapsed)
        turn.send(admitted.client, rejected)

    # ---- runs that the store did not take -------------------------------------------------------------------------------

    def _unmake(self, gone: dict[int, None], batch: Batch, now: int) -> None:
        """Forget runs of a batch that the store did not take, with all that came of them while it was on its way.

        A run may have ended meanwhile. Its end must not be stored: its number may come to another run in the next reign.
        """
        since = self._reign.batch
        called = dict.fromkeys(run.run_id for run in since.runs if run.parent in gone)
        for run_id in (*gone, *called):
            live = self._reign.book.live.get(run_id)
            if live is not None:
                self._withdraw(live, batch, now)
        batch.forget(gone)
        since.forget({**gone, **called})

    def _withdraw(self, live: Live, batch: Batch, now: int) -> None:
        """Forget a live run that the store did not take; if it was claimed in the same batch, the claim is void."""
        if live.fence:
            self._void_claim(live, batch)
        live.ticket = 0
        self._reign.book.leave(live)
        self._reign.open_gates(live, now)

    def _void_claim(self, live: Live, batch: Batch) -> None:
        """Take back a claim that stands in this batch, and whose order has not left."""
        place = live.place
        assert place is not None
        self._attempts.vacate(live)
        batch.claimed[place] = [it for it in batch.claimed.get(place, ()) if it.live is not live]

    # ---- ends -----------------------------------------------------------------------------------------------------------

    def _tell_ends(self, ended: list[tuple[Live, End]], turn: Turn) -> None:
        states: dict[str, int] = {}
        ran_us = 0
        told: dict[str, list[End]] = {}
        for live, end in ended:
            state = end.state
            states[state] = states.get(state, 0) + 1
            if 0 < end.started_at < end.ended_at:  # a clock that was set back meanwhile makes it nothing
                ran_us += end.ended_at - end.started_at
            for watcher in live.watchers:
                ends = told.get(watcher)
                if ends is None:
                    told[watcher] = [end]
                else:
                    ends.append(end)
        for watcher, ends in told.items():
            for portion in portions(ends, end_size):
                turn.send(watcher, RunsEnded(portion))
        turn.emit(RunsFinished({str(state): count for state, count in states.items()}, ran_us))

    def _tell_dependencies(self, batch: Batch, turn: Turn) -> None:
        epoch = self._reign.epoch
        if batch.made:
            self._sent += 1
            key = f"made/{epoch}/{self._sent}"
            self._reign.unnoted[key] = made = RunsMade(key, tuple(batch.made))
            turn.send(DEPENDENCIES, made)
        if batch.moved:
            self._sent += 1
            key = f"moved/{epoch}/{self._sent}"
            self._reign.unnoted[key] = moved = GroupsMoved(key, tuple(batch.moved))
            turn.send(DEPENDENCIES, moved)

    # ---- refusal --------------------------------------------------------------------------------------------------------

    def refuse(self, batch: Batch, text: str, turn: Turn) -> None:
        """Take the clients' submissions out of a batch that the store has no room for, and refuse them."""
        gone: dict[int, None] = {}
        for admitted in batch.admitted:
            turn.send(admitted.client, RequestRejected(admitted.key, "store_full", text))
            self._admission.answered(admitted.key, None, turn.elapsed)
            for live in admitted.lives:
                self._admission.forget_token(live.run)
                gone[live.run.run_id] = None
        gone.update(dict.fromkeys(run.run_id for run in batch.runs if run.parent in gone))
        batch.admitted = []
        self._unmake(gone, batch, turn.now)
