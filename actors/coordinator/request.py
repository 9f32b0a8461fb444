"""What is asked of live runs: cancel, hold, watch, describe; verdicts of dependencies; and looks that have come due."""

from __future__ import annotations

from itertools import islice
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ..actor import EXECUTOR, SECOND, Address, Turn
from ..audit import audit_events
from ..lifecycle import REMOVED
from ..listener import Listener
from ..messages import (
    Answer,
    AttemptsProgressed,
    CancelAccepted,
    CancelLive,
    Describe,
    HoldJob,
    JobHeld,
    KnowJobs,
    RequestRejected,
    Resolve,
    SlotsDecided,
    Unblock,
    WatchLive,
    Withdraw,
    Withdrawn,
)
from ..portions import MAX_HANDED, MAX_HANDED_BYTES, fence_portions, handed_size
from ..records import RunRecord, RunState
from .attempts import Attempts, audit_key
from .book import Live
from .hooks import tell_skip
from .places import Place
from .reign import Reign

CANCEL: Final = "cancel/"
"""Begins the keys under which nodes are asked whether a cancelled run has begun."""

MAX_CANCELLING: Final = 10_000
"""Cancels that wait for that answer; who asked for one that was forgotten asks again."""

MAX_WATCHERS: Final = 256
"""Clients that are told of the end of one run, those who asked last; the others find it when they look again."""

HOLD_FORGOTTEN_US: Final = 10 * SECOND

SETTLED_A_TURN: Final = 2_000
"""Runs that are ended or let go on in one turn because their job was removed or resumed: up to a tenth of a second."""


class Holding(Struct):
    """A job that is being held: who wants to know, and of which attempts it is not known what became of them (fences)."""

    asker: Address
    job: tuple[str, str]
    asked_at: int
    waits_for: set[int]


class Cancelling(Struct):
    """A run that was cancelled while a node had it: who wants to know, each with the key of its request."""

    live: Live
    asked: dict[Address, str]


class Requests:
    """Answers requests about live runs."""

    def __init__(self, reign: Reign, attempts: Attempts) -> None:
        self._reign = reign
        self._attempts = attempts
        self._listener = Listener(reign.epoch)
        self._holding: dict[str, Holding] = {}
        self._cancelling: dict[str, Cancelling] = {}
        self._left = SETTLED_A_TURN

    # ---- verdicts of dependencies ---------------------------------------------------------------------------------------

    def on_verdict(self, message: Unblock | Resolve, turn: Turn) -> None:
        """A waiting run may go on, or never will."""
        live = self._reign.book.live.get(message.run_id)
        if live is None or not live.waits:
            return
        if isinstance(message, Unblock) and (fault := _fault(message.handed)):
            message = Resolve(message.run_id, RunState.FAILED, fault)
        if isinstance(message, Resolve):
            if live.state in (RunState.BLOCKED, RunState.PARKED):
                live.waits = False
                if live.state is RunState.PARKED:
                    live.move(RunState.BLOCKED)
                self._reign.end(live, message.state, turn.now, reason=message.reason)
        else:
            live.waits = False
            live.handed = message.handed
            if live.state is RunState.BLOCKED:
                self._reign.make_ready(live, turn.now)

    # ---- cancel ---------------------------------------------------------------------------------------------------------

    def on_cancel(self, message: CancelLive, turn: Turn) -> None:
        """Cancel a live run; the answer goes out when the cancel is stored."""
        live = self._reign.book.live.get(message.run_id)
        if live is None:
            text = f"run {message.run_id} has ended already"
            turn.send(message.client, RequestRejected(message.key, "ended", text))
            return
        state = self._attempts.cancel(live, message.reason, turn)
        reign, place = self._reign, live.place
        reign.batch.events += audit_events(turn.now, message.client, message, reign.epoch, run=live.run)
        if place is None or live.begun or place.address == EXECUTOR:
            reign.batch.send(message.client, CancelAccepted(message.key, state))
            return
        # whether it has begun is known on its node alone; once the client has its answer it must not begin any more
        key = f"{CANCEL}{message.run_id}"
        waiting = self._cancelling.setdefault(key, Cancelling(live, {}))
        waiting.asked[message.client] = message.key
        reign.batch.send(place.address, Withdraw(reign.epoch, key, (live.fence,), place.incarnation))
        while len(self._cancelling) > MAX_CANCELLING:
            del self._cancelling[next(iter(self._cancelling))]

    def _on_cancel_told(self, key: str) -> None:
        """The node of a cancelled run has said whether it had begun; if it had, it may have ended before the cancel came."""
        told = self._cancelling.pop(key)
        live, state = told.live, told.live.state
        for client, asked in told.asked.items():
            if state in (RunState.CANCELLED, RunState.CANCELLING):
                self._reign.batch.send(client, CancelAccepted(asked, state))
            else:
                text = f"run {live.run.run_id} has ended already: {state}"
                self._reign.batch.send(client, RequestRejected(asked, "ended", text))

    # ---- pause, resume, remove ------------------------------------------------------------------------------------------

    def on_hold_job(self, message: HoldJob, turn: Turn) -> None:
        """Start nothing more of a job: what was handed out and has not begun is fetched back before the answer.

        What comes back of a job that was removed is cancelled; what has begun goes on.
        """
        reign = self._reign
        key = (message.tenant, message.job)
        reign.remove(key, message.removed)
        reign.hooks.drop(key, message.removed)
        if message.held:
            reign.held.add(key)
        else:
            reign.held.discard(key)
            self._tell_skipped(message, turn)
            reign.note_mark(key, message.mark)
        # of a job that is paused what was ready is put aside when its turn to be claimed comes
        aside = () if message.held else reign.book.aside(key)
        unsettled = [*aside, *reign.doomed(key)]
        reign.unsettled.pop(key, None)
        if unsettled:
            reign.unsettled[key] = iter(unsettled)
        self._fetch_back(message, turn)
        self._settle_held(turn.now)
        self._answer_holds(key)

    def settle_held(self, turn: Turn) -> None:
        """Go on with the runs of jobs that were removed or resumed."""
        self._settle_held(turn.now)
        self._left = SETTLED_A_TURN
        if self._reign.unsettled:
            turn.set_timer("unsettled", turn.elapsed, steady=True)

    def _settle_held(self, now: int) -> None:
        """End runs of removed jobs, and let those of resumed ones go on; where that were all, who asked has the answer.

        Of very many in several turns: members that hear nothing for so long would take the lead.
        """
        unsettled = self._reign.unsettled
        while unsettled and self._left:
            key = next(iter(unsettled))
            lives = unsettled.pop(key)
            for live in islice(lives, self._left):
                self._left -= 1
                self._go_by_job(live, now)
            if self._left:
                self._answer_holds(key)
            else:
                unsettled[key] = lives  # behind those of other jobs

    def _go_by_job(self, live: Live, now: int) -> None:
        """Let a run go by what is said of its job by now; one that was handed out does when it comes back."""
        reign = self._reign
        if live.fence or live.run.run_id not in reign.book.live:
            return
        if reign.is_removed(live):
            reign.end(live, RunState.CANCELLED, now, reason=REMOVED)
        elif reign.book.take_aside(live):
            reign.make_ready(live, now)

    def _tell_skipped(self, message: HoldJob, turn: Turn) -> None:
        """Call the hooks for what a job's pause has passed over, and count it; said again, it is below the mark."""
        known = self._reign.mark_of((message.tenant, message.job))
        new = [decision for decision in message.skipped if known is None or known < decision.last]
        if message.resumed is None or not new:
            return
        for decision in new:
            self._reign.call_hooks("on_skip", message.resumed, tell_skip(decision), turn.now)
        turn.emit(SlotsDecided({new[0].kind: sum(decision.count for decision in new)}, ()))

    def _fetch_back(self, message: HoldJob, turn: Turn) -> None:
        """Ask for what was handed out of a job, and must not begin any more."""
        job = (message.tenant, message.job)
        by_place: dict[Place, list[int]] = {}
        in_hand: set[int] = set()
        for live in self._reign.book.by_job.get(job, {}).values():
            if live.place is not None and not live.begun:
                in_hand.add(live.fence)
                if message.held or self._reign.is_removed(live):
                    by_place.setdefault(live.place, []).append(live.fence)
        for each in self._holding.values():
            if each.job == job:  # an attempt may be over without an answer to who wanted it back
                each.waits_for &= in_hand
        waits_for = {fence for fences in by_place.values() for fence in fences}
        self._holding[message.key] = Holding(turn.sender, job, turn.elapsed, waits_for)
        for place, fences in by_place.items():
            # with the batch, so that it comes behind the orders of a claim that is being stored now
            for portion in fence_portions(fences):
                withdraw = Withdraw(self._reign.epoch, message.key, portion, place.incarnation)
                self._reign.batch.send(place.address, withdraw)

    def on_withdrawn(self, message: Withdrawn, turn: Turn) -> None:
        """An executor has given back what had not begun; when all have that were asked, the job is held."""
        self._attempts.on_attempts_begun(message)
        holding = self._holding.get(message.key)
        is_cancel = message.key in self._cancelling
        if holding is not None or is_cancel or message.key == audit_key(self._reign):
            self._attempts.on_unknown(message, turn.now)
        if is_cancel:
            self._on_cancel_told(message.key)
        if holding is None:
            return
        settled = {*(fence for _, fence in message.begun), *message.unknown, *message.over}
        for each in self._holding.values():
            if each.job == holding.job:  # who asked for the same before, and got no answer, has it now
                each.waits_for -= settled
        self._answer_holds(holding.job)

    def _answer_holds(self, job: tuple[str, str]) -> None:
        """Answer who had a job held, if by now nothing of it begins any more that must not."""
        if job in self._reign.unsettled:
            return
        for key in [key for key, it in self._holding.items() if it.job == job and not it.waits_for]:
            self._reign.batch.send(self._holding.pop(key).asker, JobHeld(key))

    def forget_holds(self, turn: Turn) -> None:
        """Forget what was asked of executors long ago and never answered: whoever still wants it has asked again."""
        self._holding = {key: it for key, it in self._holding.items() if turn.elapsed - it.asked_at < HOLD_FORGOTTEN_US}

    def on_know_jobs(self, message: KnowJobs, turn: Turn) -> None:
        """Jobs were declared anew, or removed: hooks are in force or no more, and what was parked for them is tried again."""
        if not self._listener.hears(message, turn):
            return
        for record in message.records:
            job = record.job
            self._reign.remove(job.key, record.state.removed)
            self._reign.hooks.drop(job.key, record.state.removed)
            if record.state.status == "removed":
                continue
            self._reign.redefine(job)
            if job.hook is not None:
                self._reign.hooks.put(job)
            else:  # it may have been one
                self._reign.hooks.drop(job.key, job.version)
            lives = self._reign.book.by_job.get(job.key, {}).values()
            parked = [live for live in lives if live.state is RunState.PARKED]
            if parked:
                self._reign.try_again(job.key, parked, "its job was declared anew")

    # ---- questions ------------------------------------------------------------------------------------------------------

    def on_describe(self, message: Describe, turn: Turn) -> None:
        """Complete rows with what is known here of live runs."""
        turn.send(message.client, Answer(message.key, tuple(self._described(row) for row in message.rows)))

    def _described(self, row: RunRecord) -> RunRecord:
        live = self._reign.book.live.get(row.run.run_id)
        if live is None or row.end is not None:
            return row
        attempts = live.attempts + live.crashes
        reason = live.reason
        if live.place is not None and live.place.silent:
            reason = f"{reason}; {live.node} is silent"
        return replace(row, state=live.state, attempts=attempts, reason=reason, look_at=live.look_at)

    def on_progress(self, message: AttemptsProgressed) -> None:
        """Keep how far running attempts say they are."""
        for it in message.progress:
            live = self._reign.book.live.get(it.run_id)
            if live is not None and live.fence == it.fence:
                share = f" of {it.total:g}" if it.total else ""
                live.reason = f"running: {it.done:g}{share} {it.text}".rstrip()

    def on_watch(self, message: WatchLive, turn: Turn) -> None:
        """A client waits for these runs. Of those that have ended it hears when that is durable, or it is looked for again."""
        reign = self._reign
        batches = (reign.batch, reign.sent) if reign.sent is not None else (reign.batch,)
        ending = {live.run.run_id: live for batch in batches for live, _ in batch.ended}
        missed = []
        for run_id in message.run_ids:
            live = reign.book.live.get(run_id) or ending.get(run_id)
            if live is None:
                missed.append(run_id)
            elif message.client not in live.watchers:
                live.watchers = (*live.watchers[1 - MAX_WATCHERS :], message.client)
        if missed:
            turn.reply(replace(message, run_ids=tuple(missed)))

    # ---- looks ----------------------------------------------------------------------------------------------------------

    def on_looks(self, turn: Turn) -> None:
        """Do what is due: end waits, enforce deadlines and time-outs."""
        reign, now = self._reign, turn.now
        for what, live in reign.due_looks(now):
            if live.run.run_id not in reign.book.live:
                continue  # ended by a look just before
            match what:
                case "ready":
                    if live.state is RunState.DELAYED and (live.look_at is None or live.look_at <= now):
                        reign.make_ready(live, now)
                case "start_deadline":
                    self._on_start_deadline(live, now)
                case "run_deadline":
                    self._on_run_deadline(live, turn)

    def _on_start_deadline(self, live: Live, now: int) -> None:
        """End what waits for a place; what was handed out and waits for one on its node is fetched back, and ends then."""
        by = live.place_by if live.state is RunState.READY else live.begin_by
        if by is None or live.state not in (RunState.READY, RunState.CLAIMED):
            return
        if now < by:
            self._reign.look(by, "start_deadline", live)
        elif live.state is RunState.READY:
            self._reign.end(live, RunState.EXPIRED, now, reason="no place was free before its start deadline")
        elif not live.begun:
            self._attempts.fetch_late(live)

    def _on_run_deadline(self, live: Live, turn: Turn) -> None:
        if live.state is RunState.CANCELLING:
            return  # it is being stopped
        if live.fence:
            self._attempts.stop_late(live)
        else:
            self._reign.end_late(live, turn.now)


def _fault(handed: tuple[bytes, ...]) -> str:
    """Why the results of upstreams cannot go into one order; empty when they can."""
    if len(handed) > MAX_HANDED:
        return f"{len(handed):,} upstreams hand something on to it, the limit is {MAX_HANDED:,}"
    size = handed_size(handed)
    if size > MAX_HANDED_BYTES:
        return (
            f"what its upstreams hand on to it has {size:,} bytes together, the limit is {MAX_HANDED_BYTES:,}; "
            "store it elsewhere and return where it is"
        )
    return ""
