"""Attempts: claiming runs for executors, and what becomes of a run when its attempt has ended.

A claim is durable before its order leaves; the fence in it names the attempt for ever, and an outcome with another fence than
the run has now changes nothing. What the executor gives back unspent (`not_started`) is claimed again with a new fence.

    READY ─claim─▶ CLAIMED ─Saved─▶ Assign ─▶ executor ─AttemptsEnded─▶ ended, retried, parked or given back
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heapreplace
from typing import Final

from ..actor import EXECUTOR, MINUTE, SECOND, Turn
from ..executor.runner import Order, Outcome, StopReason
from ..lifecycle import REMOVED
from ..messages import (
    Assign,
    AttemptsBegun,
    AttemptsEnded,
    AttemptsRetried,
    AttemptsStarted,
    StopAttempts,
    Withdraw,
    Withdrawn,
)
from ..portions import fence_portions, first_of, order_size, portions
from ..records import EXECUTOR_KINDS, Attempt, AttemptOutcome, Condition, ExecutorKind, RunState
from .backoff import backoff_us, is_retried
from .batch import Claimed
from .book import Live, Rank
from .hooks import tell_run
from .places import MAX_LOADING_BYTES, Needs, Place
from .reign import LATE, UNSEEN, Reign

CANCEL_GRACE_US: Final = 5 * SECOND
"""How long a running attempt has, after it was asked to stop, before it is made to."""

CRASH_WAIT_US: Final = SECOND
"""The wait after an attempt whose process died, times the crashes so far."""

STARVED_US: Final = 5 * MINUTE
"""After so long a wait, what is free of a resource is kept for the run that is the most urgent to want it."""

PASSED_A_TURN: Final = 5_000
"""Runs that are passed over in one turn because their job is paused or was removed: some hundredths of a second."""

SEND_AGAIN_US: Final = 10 * SECOND
"""After how long an order is sent again whose attempt has not been seen to begin."""


class Attempts:
    """Claims, orders and outcomes."""

    def __init__(self, reign: Reign) -> None:
        self._reign = reign
        self._passed = 0

    # ---- claiming -------------------------------------------------------------------------------------------------------

    def claim(self, turn: Turn) -> None:
        """Claim the most urgent ready runs for executors that have room, into the batch in hand.

        Where very many are passed over first, in several turns: members that hear nothing for so long would take the lead.
        """
        reign = self._reign
        ready = reign.book.ready
        if reign.quiet or not ready:
            return
        self._passed = 0
        kept = self._keep(turn.now)
        taken = [live for kind in EXECUTOR_KINDS for live in self._claim_kind(kind, kept)]
        if taken:
            turn.emit(AttemptsStarted(len(taken), sum(turn.now - live.ready_at for live in taken)))
        if self._passed >= PASSED_A_TURN:
            turn.set_timer("passed", turn.elapsed, steady=True)

    def _claim_kind(self, kind: ExecutorKind, kept: dict[Place, tuple[Needs, Rank]]) -> list[Live]:
        """Claim runs of a kind. Needs that differ compete for the same places: one run at a time then, the most urgent first."""
        reign = self._reign
        ready = reign.book.ready
        claimed: list[Live] = []
        wanted = [(ready.rank(needs), needs) for needs in ready.waiting(kind) if ready.first(needs)]
        heapify(wanted)
        while wanted and self._passed < PASSED_A_TURN:
            _, needs = wanted[0]
            best = reign.places.best(needs, self._barred(needs, kept) if kept and needs.resources else ())
            if best is None:
                heappop(wanted)
                continue
            place, room = best
            is_alone = len(wanted) == 1 and not (kept and needs.resources)
            claimed += self._claim_for(needs, room if is_alone else 1, place)
            if ready.first(needs):
                heapreplace(wanted, (ready.rank(needs), needs))
            else:
                heappop(wanted)
        return claimed

    def _keep(self, now: int) -> dict[Place, tuple[Needs, Rank]]:
        """The places where units are kept for a run that has waited for them for long, and how urgent that is.

        One place for each, the one with the most of them free: since nobody less urgent takes of these, they only grow.
        """
        reign = self._reign
        kept: dict[Place, tuple[Needs, Rank]] = {}
        for needs in reign.book.ready.with_resources():
            first = self._first(needs)
            if first is not None and now - first.since >= STARVED_US and reign.places.best(needs) is None:
                place = reign.places.nearest(needs, kept)
                if place is not None:
                    kept[place] = (needs, reign.book.ready.rank(needs))
        return kept

    def _barred(self, needs: Needs, kept: dict[Place, tuple[Needs, Rank]]) -> list[Place]:
        """Where these may not go, because they would take of what is kept there for somebody more urgent."""
        rank = self._reign.book.ready.rank(needs)
        return [place for place, (other, its) in kept.items() if its < rank and not place.leaves(needs, other)]

    def _first(self, needs: Needs) -> Live | None:
        """The most urgent run of these needs whose job is not paused; those of paused ones are put aside."""
        ready = self._reign.book.ready
        while (live := ready.first(needs)) is not None and self._passes(live):
            ready.pop(needs)
            if self._passed >= PASSED_A_TURN:
                return None
        return live

    def _passes(self, live: Live) -> bool:
        """Pass a run over whose job is paused, or was removed and is about to end it; tell whether it was so."""
        reign = self._reign
        if live.key in reign.held:
            reign.put_aside(live)
        elif live.key not in reign.unsettled or not reign.is_removed(live):
            return False
        self._passed += 1
        return True

    def _claim_for(self, needs: Needs, room: int, place: Place) -> list[Live]:
        """Take up to `room` runs, those of paused jobs aside."""
        reign = self._reign
        taken: list[Live] = []
        some_pass = bool(reign.held or reign.unsettled)
        is_far = place.address != EXECUTOR
        while len(taken) < room and self._passed < PASSED_A_TURN:
            live = reign.book.ready.pop(needs)
            if live is None:
                break
            if not (some_pass and self._passes(live)):
                live.move(RunState.CLAIMED, UNSEEN)
                live.fence = reign.next_fence()
                live.node = place.node
                live.place = place
                live.begun = False
                taken.append(live)
                if is_far:
                    live.weigh(place)
                    if place.loading >= MAX_LOADING_BYTES:
                        break
        if taken:
            if needs.resources:
                for live in taken:
                    place.take(live.job)
            else:
                place.take(taken[0].job, len(taken))
            claimed = (Claimed(live, live.fence, live.attempts + live.crashes + 1) for live in taken)
            reign.batch.claimed.setdefault(place, []).extend(claimed)
            reign.places.end_turn(place)
        return taken

    def assign(self, claimed: dict[Place, list[Claimed]], turn: Turn) -> None:
        """The claims are durable: send the orders. What was cancelled or taken back meanwhile is not sent."""
        for place, its_claimed in claimed.items():
            self._reign.ordered = max(self._reign.ordered, max((it.fence for it in its_claimed), default=0))
            lives = [it.live for it in its_claimed if it.in_hand]
            kept = [live for live in lives if self._may_begin(live, turn.now)]
            self._send(place, [self._order(live) for live in kept], turn)
            if len(kept) < len(lives):
                for live in lives:
                    if not self._may_begin(live, turn.now):
                        self.give_back(live, turn.now)

    def _may_begin(self, live: Live, now: int) -> bool:
        """Whether what was claimed may begin: it was not cancelled meanwhile, nor its job removed, nor is it too late."""
        begin_by = live.begin_by
        is_late = live.is_late(now) or (begin_by is not None and now >= begin_by)
        return live.state is RunState.CLAIMED and not is_late and not self._reign.is_removed(live)

    def _send(self, place: Place, orders: Sequence[Order], turn: Turn) -> None:
        for portion in portions(orders, order_size):
            turn.send(place.address, Assign(self._reign.epoch, portion, place.incarnation))

    @staticmethod
    def _order(live: Live) -> Order:
        run, job = live.run, live.job
        return Order(
            live.fence,
            run.run_id,
            live.attempts + live.crashes + 1,
            run.tenant,
            run.job,
            job.executor,
            job.target,
            run.arguments or job.arguments,
            live.handed,
            job.command,
            run.slot,
            run.token or f"run-{run.run_id}",
            job.attempt_timeout_us,
        )

    def send_again(self, turn: Turn) -> None:
        """Send again what may have been lost: orders that have not been seen to begin, and the word that one is to end.

        Where the claim is still being stored nothing was sent yet.
        """
        reign = self._reign
        unsent = {it.fence for batch in (reign.sent, reign.batch) if batch for it in batch.all_claimed()}
        waiting: dict[Place, list[Live]] = {}
        unwanted: dict[Place, list[int]] = {}
        stopped: dict[tuple[Place, StopReason], list[int]] = {}
        for live in reign.book.live.values():
            if live.place is None or live.fence in unsent or turn.now - live.ready_at <= SEND_AGAIN_US:
                continue
            # while it waits, dependencies has not said yet what is handed on
            if self._may_begin(live, turn.now) and not live.waits:
                waiting.setdefault(live.place, []).append(live)
                continue
            if live.state is RunState.CANCELLING:
                stopped.setdefault((live.place, "cancelled"), []).append(live.fence)
            elif live.is_late(turn.now):
                stopped.setdefault((live.place, "timed_out"), []).append(live.fence)
            elif live.state is not RunState.CLAIMED:
                continue
            unwanted.setdefault(live.place, []).append(live.fence)
        for place, lives in waiting.items():
            lives.sort(key=lambda live: live.fence)  # the oldest first; the rest when these have begun
            self._send(place, first_of(map(self._order, lives), order_size), turn)
        for (place, reason), fences in stopped.items():
            for portion in fence_portions(fences):
                turn.send(place.address, self._stopping(place, portion, reason))
        for place, fences in unwanted.items():
            for portion in fence_portions(fences):
                turn.send(place.address, Withdraw(reign.epoch, audit_key(reign), portion, place.incarnation))

    def on_unknown(self, message: Withdrawn, now: int) -> None:
        """Orders that never came to their executor: their runs are ready again, or cancelled."""
        unknown = set(message.unknown)
        for live in [it for it in self._reign.book.live.values() if it.fence in unknown] if unknown else ():
            self.give_back(live, now)

    # ---- outcomes -------------------------------------------------------------------------------------------------------

    def on_attempts_begun(self, message: AttemptsBegun | Withdrawn) -> None:
        """These attempts run for a while already."""
        for run_id, fence in message.begun:
            live = self._reign.book.live.get(run_id)
            if live is None or live.fence != fence:
                continue
            live.begun = True
            live.arrive()
            if live.state is RunState.CLAIMED:
                live.move(RunState.RUNNING, "running")

    def on_attempts_ended(self, message: AttemptsEnded, turn: Turn) -> None:
        """Take outcomes; what they say becomes durable with the batch in hand, and then the executor may forget it."""
        reign = self._reign
        for outcome in message.outcomes:
            live = reign.book.live.get(outcome.run_id)
            if live is None or live.fence != outcome.fence:
                # a stale fence changes nothing; but what it has changed may be in a batch that is not durable yet, and until
                # then the executor must remember it, or a new leader would take it for lost
                reign.batch.record(turn.sender, outcome.fence)
                continue
            reign.batch.record(turn.sender, outcome.fence)
            place = live.place
            self.vacate(live)
            self._take(live, outcome, place, turn)

    def _take(self, live: Live, outcome: Outcome, place: Place | None, turn: Turn) -> None:
        reign, now = self._reign, turn.now
        match outcome.outcome:
            case "succeeded":
                live.attempts += 1
                reign.end(live, RunState.SUCCEEDED, now, outcome)
            case "failed" | "timed_out":
                live.attempts += 1
                state = RunState.FAILED if outcome.outcome == "failed" else RunState.TIMED_OUT
                self._fail(live, state, outcome, turn)
            case "snoozed":
                self._wait(live, outcome, now + (outcome.retry_after_us or 0), "snoozed by the job", now)
            case "cancelled":
                self._cancelled(live, outcome, now)
            case "crashed":
                self.crashed(live, outcome, now)
            case "not_started":
                self.give_back(live, now)
            case "unknown_target":
                self._unknown_target(live, outcome, place, turn)

    def _fail(self, live: Live, state: RunState, outcome: Outcome, turn: Turn) -> None:
        reign, job, now = self._reign, live.job, turn.now
        asked = outcome.retry_after_us is not None and (job.retry is None or live.attempts < job.retry.attempts)
        again = (asked and job.retry is not None) or is_retried(job.retry, live.attempts, outcome.error)
        late = live.is_late(now)
        if not again or late or live.state is RunState.CANCELLING:
            text = LATE if late and state is RunState.TIMED_OUT else _text(outcome)
            reign.end(live, state, now, outcome, reason=text)
            return
        assert job.retry is not None
        wait = outcome.retry_after_us
        if wait is None:
            wait = backoff_us(job.retry, live.attempts, live.run.run_id)
        reason = f"attempt {live.attempts} of {job.retry.attempts}: {_text(outcome)}"
        if not self._wait(live, outcome, now + wait, reason, now):
            return
        turn.emit(AttemptsRetried(1))
        if reign.hooks and live.run.cause != "hook":
            run = live.run
            told = tell_run("on_retry", run, state=state, attempt=live.attempts, error=outcome.error, reason="")
            reign.call_hooks("on_retry", job, told, now, parent=run.run_id)

    def _wait(self, live: Live, outcome: Outcome, until: int, reason: str, now: int) -> bool:
        """Store an attempt that did not end its run, and let the run wait for the next; False: there is none, it is over."""
        if live.state is RunState.CANCELLING or self._reign.is_removed(live):
            why = live.reason if live.state is RunState.CANCELLING else REMOVED
            self._reign.end(live, RunState.CANCELLED, now, outcome, reason=why)
            return False
        if live.is_late(now):
            self._reign.end(live, RunState.TIMED_OUT, now, outcome, reason=f"{LATE}; {reason}")
            return False
        live.wait_until(until)
        self._reign.batch.attempts.append(
            Attempt(
                live.run.run_id,
                outcome.attempt,
                outcome.fence,
                live.node,
                outcome.outcome,
                outcome.started_at,
                outcome.ended_at,
                live.attempts,
                live.crashes,
                live.next_at,
                outcome.error,
                outcome.logs,
            )
        )
        self._let_go(live)
        self._reign.delay(live, live.next_at, reason)
        return True

    def _return(self, live: Live, outcome: AttemptOutcome, now: int) -> None:
        """Store that a claim came back unspent. Without that, whoever recovers next would find it claimed by the dead."""
        number = live.attempts + live.crashes + 1
        self._reign.batch.attempts.append(
            Attempt(
                live.run.run_id,
                number,
                live.fence,
                live.node,
                outcome,
                0,
                now,
                live.attempts,
                live.crashes,
                live.next_at,
            )
        )
        self._let_go(live)

    @staticmethod
    def vacate(live: Live) -> None:
        """The attempt in hand takes no place any more."""
        live.arrive()
        place, live.place = live.place, None
        if place is not None:
            place.give_back(live.job)

    def _let_go(self, live: Live) -> None:
        self.vacate(live)
        live.fence = 0
        live.node = ""
        live.begun = False

    def give_back(self, live: Live, now: int) -> None:
        """An attempt never began: nothing is spent, and the run is ready again."""
        self._return(live, "not_started", now)
        if live.state is RunState.CANCELLING:
            self._reign.end(live, RunState.CANCELLED, now, reason="cancelled before it began")
        else:
            self._reign.make_ready(live, now, "given back before it began; waits for a free place")

    def _cancelled(self, live: Live, outcome: Outcome, now: int) -> None:
        """An attempt was made to stop: for a cancel, or because its node shuts down."""
        if live.state is RunState.CANCELLING or live.job.delivery == "at_most_once":
            reason = live.reason if live.state is RunState.CANCELLING else "stopped when its node shut down"
            self._reign.end(live, RunState.CANCELLED, now, outcome, reason=reason)
        else:
            self._wait(live, outcome, now, "released when its node shut down", now)

    def crashed(self, live: Live, outcome: Outcome, now: int) -> None:
        """The process that ran an attempt died: LOST if it may run once only, else tried again, up to the limit."""
        live.crashes += 1
        reign = self._reign
        if live.job.delivery == "at_most_once":
            reason = f"its process died while it ran, and it may begin only once: {_text(outcome)}"
            reign.end(live, RunState.LOST, now, outcome, reason=reason)
        elif live.crashes >= live.job.max_crashes:
            reason = f"its process died {live.crashes} times: {_text(outcome)}"
            reign.end(live, RunState.QUARANTINED, now, outcome, reason=reason)
        else:
            self._wait(live, outcome, now + CRASH_WAIT_US * live.crashes, f"its process died: {_text(outcome)}", now)

    def _unknown_target(self, live: Live, outcome: Outcome, place: Place | None, turn: Turn) -> None:
        self._return(live, "unknown_target", turn.now)
        if live.state is RunState.CANCELLING:
            self._reign.end(live, RunState.CANCELLED, turn.now, reason="cancelled before it began")
            return
        target = live.job.target
        if place is None or self._reign.places.is_strange(place, target):
            self._reign.park(live, f"no node knows the function {target!r} ({_text(outcome)})", turn.now)
            self._reign.park_unknown()
        else:
            self._reign.make_ready(live, turn.now, f"{place.node} does not know the function {target!r}; another may")

    # ---- stopping -------------------------------------------------------------------------------------------------------

    def stop_late(self, live: Live) -> None:
        """Ask the executor to end the attempt in hand, whose time is over; it answers with the outcome."""
        self._stop(live, "timed_out")

    def fetch_late(self, live: Live) -> None:
        """Fetch back the order in hand, which waits on its node and begins too late; if it has begun there, it goes on."""
        if live.place is not None:
            withdraw = Withdraw(self._reign.epoch, audit_key(self._reign), (live.fence,), live.place.incarnation)
            self._reign.batch.send(live.place.address, withdraw)  # behind the order

    def _stop(self, live: Live, reason: StopReason) -> None:
        if live.place is not None:
            # behind the order, which may wait for its claim to be stored
            self._reign.batch.send(live.place.address, self._stopping(live.place, (live.fence,), reason))

    def _stopping(self, place: Place, fences: tuple[int, ...], reason: StopReason) -> StopAttempts:
        return StopAttempts(self._reign.epoch, fences, reason, CANCEL_GRACE_US, place.incarnation)

    def cancel(self, live: Live, reason: str, turn: Turn) -> RunState:
        """Cancel a run: at once if no attempt is in hand, else the attempt is asked to stop. A stored fact either way."""
        reign, now = self._reign, turn.now
        if live.fence == 0:
            reign.end(live, RunState.CANCELLED, now, reason=reason)
            return RunState.CANCELLED
        if live.state is not RunState.CANCELLING:
            live.move(RunState.CANCELLING, reason, now + CANCEL_GRACE_US)
            reign.batch.conditions.append(Condition(live.run.run_id, RunState.CANCELLING, now, reason))
            self._stop(live, "cancelled")
        return RunState.CANCELLING


def audit_key(reign: Reign) -> str:
    """Names what is asked of executors in case something was lost."""
    return f"audit/{reign.epoch}"


def _text(outcome: Outcome) -> str:
    if outcome.error is None:
        return "" if outcome.outcome != "timed_out" else "its attempt took longer than its time-out"
    return f"{outcome.error.type.rpartition('.')[2]}: {outcome.error.text}"[:500]
