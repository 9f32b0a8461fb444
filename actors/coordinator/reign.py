"""A reign: all that a leader holds, from the take-over to the step-down. It is thrown away whole.

Of the moves of a run these begin here: queueing, waiting, parking and ending. What admits, claims and rebuilds is in
the modules beside this one, and works on this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Final, Literal

from msgspec import Struct

from ..actor import CLOCK, SECOND
from ..executor.runner import Outcome
from ..lifecycle import BAD, REMOVED, was_removed
from ..messages import GroupEnd, GroupsMoved, Happened, JobEnded, RunsMade
from ..persistence.store import AdvanceJob, Counters
from ..records import Condition, End, Event, HookMoment, Job, Run, RunState
from ..schedule import counts_from_end, next_after_end
from .batch import Batch
from .book import Book, Live
from .hooks import Hooks, moments_of, tell_end
from .places import LACKS, Needs, Place, Places

MAX_QUEUED: Final = 1_000_000
"""Live runs that a leader holds; more are refused at submit."""

MAX_CAUGHT_UP: Final = 1_000
"""Live runs of one job at which the rest of its missed slots waits, until half of them have ended."""

AUDIT_US: Final = 30 * SECOND
"""How often runs that wait for a message are looked at, in case it was lost."""

REMEMBERED_MARKS: Final = 16_384
"""When the marks of more jobs were noted by an audit, those go that were noted before the last time. So each stays for half a
minute at least, which is longer than a slot or an edit is on its way."""

REMEMBERED_REMOVED: Final = 16_384
"""Likewise of jobs that were removed: runs of them that are on their way come within seconds."""

SETTLED_STEP: Final = 1_024
"""The settled mark is written when it can move this far."""

FREE: Final = "waits for a free place"
"""Why a run is not further that could run on some node."""

PAUSED: Final = "its job is paused"
"""Why a run is not further that a person holds up."""

UNSEEN: Final = "claimed; its function has not been seen to begin"
"""Why a run is not further that was handed to a node."""

LATE: Final = "its deadline for all attempts has passed"
"""Why a run ends that has an attempt left, and no time for it."""

LOOKS_A_RUN: Final = 6
LOOKS_SLACK: Final = 1_024
"""Looks that are kept at most: so many for each live run, and these. Beyond that those at ended runs are thrown out."""

LOOKED_A_TURN: Final = 2_000
"""Looks that are taken in one turn, the earliest first: some hundredths of a second. The rest is due at once."""

SORTED_A_TURN: Final = 2_000
"""Runs that are put aside, or tried again, in one turn because of what the nodes know: some hundredths of a second."""

Look = Literal["ready", "start_deadline", "run_deadline"]


class Unarmed(Struct, frozen=True):
    """A job whose next slot counts from the end of this run: the newest definition, and up to where its slots are decided."""

    job: Job
    mark: int
    run_id: int


class Reign:
    """The state of one reign."""

    def __init__(self, epoch: int, node: str, counters: Counters) -> None:
        self.epoch = epoch
        self.node = node
        self.book = Book()
        self.places = Places()
        self.batch = Batch()
        self.sent: Batch | None = None
        self.hooks = Hooks()
        self.held: set[tuple[str, str]] = set()
        self.unsettled: dict[tuple[str, str], Iterator[Live]] = {}
        """The runs of jobs that were removed or resumed, which are yet to be ended or to go on."""
        self._removed: dict[tuple[str, str], int] = {}
        self._older_removed: dict[tuple[str, str], int] = {}
        self._marks: dict[tuple[str, str], int] = {}
        self._older_marks: dict[tuple[str, str], int] = {}
        self.unarmed: dict[tuple[str, str], Unarmed] = {}
        self.catching_up: set[tuple[str, str]] = set()
        self.unnoted: dict[str, RunsMade | GroupsMoved] = {}
        self.quiet = False
        self.handing_over = False
        self.store_full = ""
        self.ordered = counters.fence
        """The greatest fence whose order has left."""
        self._run_id = counters.run_id
        self._fence = counters.fence
        self._settled = counters.settled
        self.untried: dict[Hashable, tuple[str, Iterator[Live]]] = {}
        """Parked runs that are to be tried again, and why, by what was learned."""
        self._may_be_unknown = False
        self._looks: list[tuple[int, int, Look]] = []
        self._opened: deque[Live] = deque()
        self._is_opening = False
        self.look_timer_at: int | None = None

    def next_run_id(self) -> int:
        """A number that no run has had."""
        self._run_id += 1
        return self._run_id

    def next_fence(self) -> int:
        """A fence that is greater than any before."""
        self._fence += 1
        return self._fence

    def last_fence(self) -> int:
        """The greatest fence so far."""
        return self._fence

    def in_hand(self, place: Place) -> int:
        """How many attempts an executor has, or had: what came back is with it until it is stored, and dies with it."""
        batches = (it for it in (self.sent, self.batch) if it is not None)
        return place.busy() + sum(len(it.recorded.get(place.address, ())) for it in batches)

    def note_mark(self, job: tuple[str, str], mark: int) -> None:
        """Remember up to where a job's slots are decided, so that an edit that crosses a slot does not fire it again."""
        known = self.mark_of(job)
        self._marks[job] = mark if known is None or known < mark else known

    def mark_of(self, job: tuple[str, str]) -> int | None:
        """Up to where a job's slots are decided, if that was noted lately."""
        known = self._marks.get(job)
        return self._older_marks.get(job) if known is None else known

    def forget_marks(self) -> None:
        """Forget marks that were noted long ago: before the last audit but one, if there are many."""
        if len(self._marks) > REMEMBERED_MARKS:
            self._marks, self._older_marks = {}, self._marks

    def enter(self, live: Live) -> None:
        """Take a run into the book, and look at it again when its deadline for all attempts passes."""
        self.book.enter(live)
        if live.job.run_deadline_us is not None:
            self.look(live.run.created_at + live.job.run_deadline_us, "run_deadline", live)

    # ---- when somebody looks again --------------------------------------------------------------------------------------

    def look(self, at: int, what: Look, live: Live) -> None:
        """Look at a run again at `at`. A look at a run that has moved on finds nothing to do."""
        heappush(self._looks, (at, live.run.run_id, what))
        if len(self._looks) > LOOKS_A_RUN * len(self.book.live) + LOOKS_SLACK:
            # a live run has one of a kind, so at least as many have come since the last time as are kept now
            self._looks = [look for look in dict.fromkeys(self._looks) if look[1] in self.book.live]
            heapify(self._looks)

    def looks(self) -> int:
        """How many looks are kept."""
        return len(self._looks)

    def due_looks(self, now: int) -> list[tuple[Look, Live]]:
        """What is to be looked at now, or the next of that: what for, and the run."""
        found = []
        for _ in range(LOOKED_A_TURN):
            if not self._looks or self._looks[0][0] > now:
                break
            _, run_id, what = heappop(self._looks)
            live = self.book.live.get(run_id)
            if live is not None:
                found.append((what, live))
        return found

    def next_look(self) -> int | None:
        """When the next look is due."""
        return self._looks[0][0] if self._looks else None

    # ---- moves that wait ------------------------------------------------------------------------------------------------

    def make_ready(self, live: Live, now: int, reason: str = FREE) -> None:
        """Queue a run; or let it wait, if it must not begin yet."""
        if self._is_over(live, now):
            return
        if live.waits:
            self._stay(live, RunState.BLOCKED, "waits for " + ", ".join(live.job.after), now + AUDIT_US)
        elif live.gates:
            self._stay(live, RunState.BLOCKED, "waits for a hook or for an earlier run of its job", now + AUDIT_US)
        elif live.next_at > now:
            self.delay(live, live.next_at, _why_delayed(live))
        else:
            needs = self.places.needs(live.job)
            if needs.target and live.state is not RunState.PARKED and self.places.nobody_knows(needs.target):
                self.park(live, _unknown(needs.target), now)
                return
            self._queue(live, needs, now, reason)

    def _queue(self, live: Live, needs: Needs, now: int, reason: str) -> None:
        # what has only now what it waited for may begin at once if there is a place, and has not waited for one until now
        was_blocked = live.state is RunState.BLOCKED
        self._stay(live, RunState.READY, self.places.lack(needs) or reason, now + AUDIT_US)
        place_by = live.place_by
        if place_by is not None:
            if now >= place_by and not was_blocked:
                self.end(live, RunState.EXPIRED, now, reason="its start deadline passed before it could begin")
                return
            self.look(place_by, "start_deadline", live)
        live.wait(now, was_blocked=was_blocked)
        if live.key in self.held:
            self.put_aside(live)
        else:
            self.book.ready.push(live, needs)

    def put_aside(self, live: Live) -> None:
        """Keep a run that is ready until its job goes on, which is paused."""
        live.reason = PAUSED
        self.book.put_aside(live)

    def renew(self, lives: Iterable[Live], now: int) -> None:
        """Say anew why these wait, and when somebody looks again: nodes come and go, and jobs are paused."""
        lacks: dict[Needs, str] = {}
        for live in lives:
            if live.state is RunState.READY:
                needs = self.places.needs(live.job)
                lack = lacks.get(needs)
                if lack is None:
                    lack = lacks[needs] = self.places.lack(needs)
                if live.key in self.held:
                    live.reason = PAUSED
                elif lack or live.reason.startswith(LACKS):
                    live.reason = lack or FREE
            elif live.state not in (RunState.BLOCKED, RunState.PARKED):
                continue
            live.look_at = now + AUDIT_US

    def remove(self, job: tuple[str, str], version: int) -> None:
        """Let nothing of a job begin any more up to this version, which was removed; 0 says that none was."""
        if version > self._removed_to(job):
            self._removed[job] = version

    def _removed_to(self, job: tuple[str, str]) -> int:
        return self._removed.get(job) or self._older_removed.get(job, 0)

    def is_removed(self, live: Live) -> bool:
        """Tell whether the job of a run was removed; one that was declared anew has another version."""
        return live.run.version <= self._removed_to(live.key)

    def doomed(self, job: tuple[str, str]) -> list[Live]:
        """The runs of a job that was removed of which no attempt is in hand."""
        up_to = self._removed_to(job)
        runs = self.book.by_job.get(job, {}).values()
        return [live for live in runs if live.run.version <= up_to and not live.fence] if up_to else []

    def forget_removed(self) -> None:
        """Forget jobs without a live run that were removed long ago: before the last audit but one, if there are many."""
        if len(self._removed) > REMEMBERED_REMOVED:
            still = {job: version for job, version in self._older_removed.items() if job in self.book.by_job}
            # what was removed again since has the greater version
            self._removed, self._older_removed = {}, {**still, **self._removed}

    def removed(self) -> int:
        """How many removed jobs are remembered."""
        return len(self._removed) + len(self._older_removed)

    @staticmethod
    def _stay(live: Live, state: RunState, reason: str, look_at: int) -> None:
        if live.state is state:
            live.reason, live.look_at = reason, look_at
        else:
            live.move(state, reason, look_at)

    def delay(self, live: Live, until: int, reason: str) -> None:
        """Let a run wait until an instant."""
        self._stay(live, RunState.DELAYED, reason, until)
        self.look(until, "ready", live)

    def park(self, live: Live, reason: str, now: int) -> None:
        """Put a run aside that nobody can run; it stays until somebody can, or its deadline passes."""
        if self._is_over(live, now):
            return
        live.move(RunState.PARKED, reason, now + AUDIT_US)
        self.book.parked[live.run.run_id] = live
        self.batch.conditions.append(Condition(live.run.run_id, RunState.PARKED, now, reason))
        self.note(now, "run_parked", live.run, reason, level="warning")

    def park_unknown(self) -> None:
        """Put aside what stands ready for a function that no node knows any more, when parked runs are sorted next."""
        self._may_be_unknown = True

    def try_again(self, learned: Hashable, lives: Iterable[Live], why: str) -> None:
        """Try these again of those that were put aside, when parked runs are sorted next."""
        self.untried[learned] = (why, iter(list(lives)))

    def sort_parked(self, now: int) -> bool:
        """Put the next runs aside that nobody can run, and try the next again that were; say whether there are more."""
        left = SORTED_A_TURN
        while self.untried and left:
            learned, (why, lives) = next(iter(self.untried.items()))
            for live in islice(lives, left):
                left -= 1
                if live.run.run_id in self.book.parked:
                    self._unpark(live, now, why)
            if left:
                del self.untried[learned]
        if self._may_be_unknown:
            self._may_be_unknown = self._park_unknown(left, now)
        return bool(self.untried) or self._may_be_unknown

    def _unpark(self, live: Live, now: int, why: str) -> None:
        del self.book.parked[live.run.run_id]
        self.batch.conditions.append(Condition(live.run.run_id, RunState.READY, now, why))
        self.make_ready(live, now)

    def _park_unknown(self, left: int, now: int) -> bool:
        for needs in self.book.ready.with_target():
            if self.places.nobody_knows(needs.target):
                while (live := self.book.ready.first(needs)) is not None:
                    if not left:
                        return True
                    left -= 1
                    self.book.ready.pop(needs)
                    self.park(live, _unknown(needs.target), now)
        return False

    # ---- the end --------------------------------------------------------------------------------------------------------

    def end(self, live: Live, state: RunState, now: int, outcome: Outcome | None = None, reason: str = "") -> None:
        """End a run: its end, what waits for it, and its hooks go into the batch in hand."""
        run = live.run
        live.move(state, reason)
        if outcome is None:
            end = End(run.run_id, state, now, live.attempts + live.crashes, reason=reason)
        else:
            end = End(
                run.run_id,
                state,
                max(outcome.ended_at, run.created_at),
                outcome.attempt,
                outcome.fence,
                live.node,
                outcome.started_at,
                outcome.result if state is RunState.SUCCEEDED else b"",
                outcome.error,
                outcome.logs,
                reason,
            )
        batch = self.batch
        batch.ends.append(end)
        batch.ended.append((live, end))
        self.book.leave(live)
        if run.group:
            removed = was_removed(end)
            batch.moved.append(GroupEnd(run.run_id, run.tenant, run.job, run.group, state, end.result, removed))
        self.open_gates(live, now)
        unarmed = self.unarmed.get(live.key)
        if unarmed is not None and unarmed.run_id == run.run_id:
            self.arm(unarmed.job, unarmed.mark, None, now)
        if self.catching_up and self.book.count(live.key) <= MAX_CAUGHT_UP // 2:
            self._catch_up(live, now)
        if run.cause == "hook":
            if state in BAD:
                said = f"{end.error.type}: {end.error.text}" if end.error is not None else reason
                self.note(now, "hook_failed", run, f"a hook of run {run.parent} ended {state}: {said}", level="warning")
        elif self.hooks:
            for moment in moments_of(state):
                self.call_hooks(moment, live.job, tell_end(moment, run, end), now, parent=run.run_id)

    def _is_over(self, live: Live, now: int) -> bool:
        """End a run that has no attempt in hand, if nothing of it may begin any more; tell whether it was so."""
        if (self._removed or self._older_removed) and self.is_removed(live):
            self.end(live, RunState.CANCELLED, now, reason=REMOVED)
        elif live.is_late(now):
            self.end_late(live, now)
        else:
            return False
        return True

    def end_late(self, live: Live, now: int) -> None:
        """End a run that has no attempt in hand when its deadline for all attempts has passed."""
        waits = live.waits or live.gates or live.state is RunState.BLOCKED
        if waits and not live.has_begun and live.state in (RunState.READY, RunState.BLOCKED):
            self.end(live, RunState.EXPIRED, now, reason="its deadline passed while it waited")
        else:
            self.end(live, RunState.TIMED_OUT, now, reason=LATE)

    def open_gates(self, gone: Live, now: int) -> None:
        """Let go on what waited for a run that is no more.

        What goes on may end at once, and so may all of a long row; the outermost call works them off, one after the other.
        """
        if gone.run.run_id not in self.book.gated:
            return
        self._opened.extend(self.book.open_gates(gone))
        if self._is_opening:
            return
        self._is_opening = True
        while self._opened:
            waiting = self._opened.popleft()
            if waiting.state is RunState.BLOCKED:
                self.make_ready(waiting, now)
        self._is_opening = False

    def _catch_up(self, ended: Live, now: int) -> None:
        """Let the missed slots of a job come on that wait for runs like this one to end."""
        if ended.key in self.catching_up:
            self.catching_up.remove(ended.key)
            self.batch.send(CLOCK, JobEnded(ended.run.tenant, ended.run.job, ended.run.version, now))

    # ---- slots that count from the end of a run -------------------------------------------------------------------------

    def arm(self, job: Job, mark: int, fires: int | None, now: int) -> None:
        """Give a job whose next slot counts from the end of its last run that slot, from now on: no such run lives."""
        self.unarmed.pop(job.key, None)
        next_due = next_after_end(job, max(now, mark))  # a clock that was set back brings no slot back
        over = next_due is None
        self.batch.advances.append(AdvanceJob(job.tenant, job.name, job.version, mark, fires, next_due, exhausted=over))
        if next_due is not None:
            self.batch.send(CLOCK, JobEnded(job.tenant, job.name, job.version, next_due))

    def arm_after(self, live: Live, job: Job, mark: int) -> None:
        """Let the next slot of a job count from the end of this run."""
        self.unarmed[job.key] = Unarmed(job, mark, live.run.run_id)

    def redefine(self, job: Job) -> None:
        """A job was declared anew: its next slot is that of its newest version."""
        unarmed = self.unarmed.get(job.key)
        if unarmed is None or unarmed.job.version >= job.version:
            return
        if counts_from_end(job):
            self.unarmed[job.key] = Unarmed(job, unarmed.mark, unarmed.run_id)
        else:
            del self.unarmed[job.key]

    # ---- hooks ----------------------------------------------------------------------------------------------------------

    def call_hooks(self, moment: HookMoment, job: Job, told: bytes, now: int, parent: int | None = None) -> list[Live]:
        """Make a run of each hook that matches; it is stored with what it follows. `told` is its argument."""
        return [self._add_hook_run(hook, told, now, job.priority, parent) for hook in self.hooks.matching(moment, job)]

    def _add_hook_run(self, hook: Job, told: bytes, now: int, priority: int, parent: int | None) -> Live:
        number = self.next_run_id()
        run = Run(
            number, hook.tenant, hook.name, hook.version, "hook", None, "", now, now, priority, told, None, parent
        )  # fmt: skip
        live = Live(run, hook, RunState.READY)
        self.batch.runs.append(run)
        self.enter(live)
        self.make_ready(live, now)
        return live

    # ---- the history ----------------------------------------------------------------------------------------------------

    def note(
        self,
        now: int,
        kind: str,
        run: Run,
        text: str,
        level: Literal["debug", "info", "warning", "error"] = "info",
    ) -> None:
        """Write a line of the history, with the batch in hand; it is reported when that is durable."""
        event = Event(now, kind, run.tenant, run.job, run.run_id, text)
        self.batch.events.append(event)
        self.batch.happened.append(Happened(event, level))

    def write_something(self) -> None:
        """Let the batch in hand be written in any case, so that it is durable only while this reign lasts."""
        self.batch.settled = self._settled

    def move_settled(self) -> None:
        """Note below which number every run has ended, now and then, so that a rebuild need not look there."""
        oldest = self.book.oldest()
        mark = self._run_id + 1 if oldest is None else oldest
        if mark - self._settled >= SETTLED_STEP:
            self._settled = mark
            self.batch.settled = mark


def _why_delayed(live: Live) -> str:
    spent = live.attempts + live.crashes
    if spent:
        return f"attempt {spent} failed; waits for the next"
    if live.has_begun:
        return "put off when it ran; waits for the next attempt"
    return "not before the instant it was submitted for"


def _unknown(target: str) -> str:
    return f"no node knows the function {target!r}; declare it where it is to run"
