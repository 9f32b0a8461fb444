"""Admission: how drafts become stored runs, for clients and for slots.

A slot's overlap is decided here, where the live runs are known: `skip` when an earlier run of the job has not ended, else a
run. Of the slots that a catch-up fires, the later ones wait for the earlier, so they do not overlap either. When it is to fire
all, they come portion by portion: a run that was made after a slot had come was not there when it came, so the slot does not
overlap it and waits behind it; it is known by its instants alone, in whichever reign. The decision, the runs of its workflow and
the new high-water mark go into one transaction.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from msgspec.structs import replace

from ...triggers import DecisionKind
from ..actor import Turn
from ..audit import audit_events
from ..messages import (
    Accepted,
    Admit,
    AdmitSlot,
    AdmitSlots,
    Decided,
    Draft,
    DueSlot,
    MadeRun,
    RequestRejected,
    SlotsDecided,
)
from ..persistence.store import AdvanceJob
from ..records import Decision, Job, Run, RunState
from ..refusal import conflict_text
from ..schedule import counts_from_end
from .answers import Answer, Answers
from .batch import Admitted
from .book import Live
from .hooks import tell_run, tell_skip
from .reign import MAX_CAUGHT_UP, MAX_QUEUED, Reign

REMEMBERED_TOKENS: Final = 4_096
"""Runs that are remembered by their idempotency keys: more than are submitted while the registry looks one up in the store."""


class Admission:
    """Makes runs."""

    def __init__(self, reign: Reign) -> None:
        self._reign = reign
        self._in_hand: set[str] = set()
        self._answers = Answers()
        # apart, because a client may choose any text for a key, also one of the clock's
        self._deciding: set[str] = set()
        self._decided = Answers()
        self._tokens: OrderedDict[tuple[str, str], Run] = OrderedDict()

    # ---- clients --------------------------------------------------------------------------------------------------------

    def on_admit(self, message: Admit, turn: Turn) -> None:
        """Make the runs of a client's submission."""
        reign = self._reign
        if message.key in self._in_hand:
            return
        answer = self._answers.find(message.key)
        if answer is not None:
            turn.send(message.client, answer)
            return
        refusal = self._refusal(message)
        if refusal is not None:
            turn.send(message.client, refusal)
            return
        self._in_hand.add(message.key)
        now = turn.now
        # numbered without a gap, so that a first number and a count name them, before any hook's run is numbered
        lives = [self._enter(draft, now) for draft in message.drafts]
        for draft, live in zip(message.drafts, lives, strict=True):
            self._release(live, draft, now)
        watchers = (message.client,)
        for live in lives[: message.asked]:
            live.watchers = watchers
        asked = [live.run.run_id for live in lives[: message.asked]]
        audited = audit_events(now, message.client, message, reign.epoch)
        reign.batch.admitted.append(Admitted(message.key, message.client, asked, lives, audited))

    def _refusal(self, message: Admit) -> RequestRejected | None:
        reign = self._reign
        if reign.handing_over:
            return RequestRejected(message.key, "not_leader", "the leader is handing over; ask the next one")
        if reign.quiet:
            return RequestRejected(message.key, "stopping", "the scheduler is shutting down and takes nothing new")
        if reign.store_full:
            return RequestRejected(message.key, "store_full", reign.store_full)
        if len(reign.book.live) + len(message.drafts) > MAX_QUEUED:
            text = (
                f"{len(reign.book.live):,} runs have not ended, the limit is {MAX_QUEUED:,}; submit more when some have"
            )
            return RequestRejected(message.key, "too_many_queued", text)
        return self._token_conflict(message)

    def _token_conflict(self, message: Admit) -> RequestRejected | None:
        """Whether an idempotency key was taken by something else after the registry looked; the store would only say so later."""
        for index, draft in enumerate(message.drafts[: message.asked]):
            old = None if draft.token is None else self._tokens.get((draft.job.tenant, draft.token))
            if old is not None and (old.job, old.arguments) != (draft.job.name, draft.arguments):
                return RequestRejected(message.key, "token_conflict", conflict_text(old), index)
        return None

    def forget_token(self, run: Run) -> None:
        """A run was not stored: its idempotency key is free."""
        if run.token is not None and self._tokens.get((run.tenant, run.token)) is run:
            del self._tokens[(run.tenant, run.token)]

    def answered(self, key: str, answer: Answer | None, elapsed: int) -> None:
        """A submission is stored (or was refused): remember what was said."""
        self._in_hand.discard(key)
        if answer is not None:
            self._answers.keep(key, answer, elapsed)

    def decided(self, decided: Decided, elapsed: int) -> None:
        """A batch of slots is stored: remember what was said."""
        self._deciding.discard(decided.key)
        self._decided.keep(decided.key, decided, elapsed)

    # ---- slots ----------------------------------------------------------------------------------------------------------

    def on_admit_slots(self, message: AdmitSlots, turn: Turn) -> None:
        """Decide overlap and make the runs of due slots."""
        if message.key in self._deciding or self._reign.quiet:
            return
        answer = self._decided.find(message.key)
        if answer is not None:
            turn.send("clock", answer)
            return
        self._deciding.add(message.key)
        kinds: dict[str, int] = {}
        late: list[int] = []
        held: list[tuple[str, str]] = []
        later: list[tuple[str, str]] = []
        for slot in message.slots:
            if slot.due.job.key in self._reign.held:
                held.append(slot.due.job.key)  # whoever lets the job go on decides its slots, or the clock asks again
            elif self._must_wait(slot):
                later.append(slot.due.job.key)
                self._reign.catching_up.add(slot.due.job.key)
            else:
                self._admit_slot(slot, turn, kinds, late)
        self._reign.batch.decided.append(("clock", Decided(message.key, tuple(held), tuple(later))))
        turn.emit(SlotsDecided(kinds, tuple(late)))

    def _must_wait(self, slot: AdmitSlot) -> bool:
        """Tell whether a slot is one of a long row of missed ones, of which so many have live runs that the rest comes later."""
        job, book = slot.due.job, self._reign.book
        if job.catchup.policy != "all" or book.count(job.key) < MAX_CAUGHT_UP:
            return False
        last = book.last_slot_run(job.key)
        first = next((it.slot for it in slot.due.decisions if it.kind == "FIRED"), None)
        return last is not None and first is not None and first <= last.run.created_at

    def _admit_slot(self, slot: AdmitSlot, turn: Turn, kinds: dict[str, int], late: list[int]) -> None:
        reign, due, now = self._reign, slot.due, turn.now
        batch = reign.batch
        earlier = None if due.job.overlap == "allow_all" else reign.book.last_slot_run(due.job.key)
        blocked_by = self._running(due.job.key) if due.job.overlap == "skip" else None
        owed = self._owed_until(due.job)
        drafts = iter(slot.drafts)
        known = reign.mark_of(due.job.key)
        fired: Live | None = None
        for decision in due.decisions:
            kind = decision.kind
            if known is not None and decision.last <= known:
                # the clock was given an older mark by an edit that crossed this slot: it is decided already
                if kind == "FIRED":
                    next(drafts)
            elif kind != "FIRED":
                batch.decisions.append(decision)
                if kind.startswith(("SKIPPED", "DROPPED")) and reign.hooks:
                    reign.call_hooks("on_skip", due.job, tell_skip(decision), now)
            elif not (row := next(drafts)):
                batch.decisions.append(decision)  # its run was made with the slot of a job that it follows
                fired = reign.book.live.get(decision.run_id or 0)
            elif blocked_by is not None and decision.slot > owed:
                self._skip_overlap(decision, blocked_by, now)
                kind = DecisionKind.SKIPPED_OVERLAP
            else:
                earlier = fired = self._fire(decision, row, earlier, now)
                late.append(now - decision.slot)
            kinds[kind] = kinds.get(kind, 0) + decision.count
        reign.note_mark(due.job.key, due.mark)
        if known is None or known <= due.mark:
            self._advance(due, fired, now)

    def _advance(self, due: DueSlot, fired: Live | None, now: int) -> None:
        """Move the mark of a job on; a slot that counts from the end of the last run is known when that has ended."""
        reign, job = self._reign, due.job
        waiting = reign.unarmed.get(job.key)
        if due.exhausted or not counts_from_end(job):
            reign.unarmed.pop(job.key, None)
        else:
            last = fired
            if last is None and waiting is not None:
                last = reign.book.live.get(waiting.run_id)
            last = last or reign.book.last_own_run(job.key, due.mark)
            newest = waiting.job if waiting is not None and waiting.job.version > job.version else job
            if last is None:
                reign.arm(newest, due.mark, due.fires if newest is job else None, now)
                return
            reign.arm_after(last, newest, due.mark)
        reign.batch.advances.append(
            AdvanceJob(job.tenant, job.name, job.version, due.mark, due.fires, due.next_due, due.exhausted)
        )

    def _running(self, key: tuple[str, str]) -> Live | None:
        """The oldest live run of a job: what the next slot would overlap."""
        runs = self._reign.book.by_job.get(key)
        return next(iter(runs.values())) if runs else None

    def _owed_until(self, job: Job) -> int:
        """Up to where slots of a job were missed, and are to run nevertheless: its live runs were all made after they had come.

        The oldest run need not be the first that was made by the clock: that may have been set back since.
        """
        runs = self._reign.book.by_job.get(job.key)
        if job.catchup.policy != "all" or not runs:
            return -1
        return min(live.run.created_at for live in runs.values())

    def _skip_overlap(self, decision: Decision, by: Live, now: int) -> None:
        reign = self._reign
        skipped = replace(decision, kind=DecisionKind.SKIPPED_OVERLAP, run_id=by.run.run_id)
        reign.batch.decisions.append(skipped)
        if reign.hooks:
            reign.call_hooks("on_skip", by.job, tell_skip(skipped), now)

    def _fire(self, decision: Decision, drafts: tuple[Draft, ...], earlier: Live | None, now: int) -> Live:
        """Make the runs of one slot's workflow; those its group has already are not made again."""
        reign = self._reign
        first: Live | None = None
        for draft in drafts:
            present = reign.book.by_group.get((draft.job.tenant, draft.group, draft.job.name)) if draft.group else None
            if present is not None:
                live = reign.book.live[present]
            else:
                behind = earlier if first is None else self._earlier(draft)
                live = self._make(draft, now, behind)
            first = first or live
        assert first is not None, "a slot that fired has at least its own draft"
        reign.batch.decisions.append(replace(decision, run_id=first.run.run_id))
        return first

    def _earlier(self, draft: Draft) -> Live | None:
        """The run of a companion's job that it must not overlap."""
        return None if draft.job.overlap == "allow_all" else self._reign.book.last_slot_run(draft.job.key)

    # ---- making ---------------------------------------------------------------------------------------------------------

    def _make(self, draft: Draft, now: int, behind: Live | None = None) -> Live:
        """Make a run and queue it, or let it wait for what it waits for."""
        live = self._enter(draft, now)
        self._release(live, draft, now, behind)
        return live

    def _enter(self, draft: Draft, now: int) -> Live:
        """Make a run that waits for nothing yet and is not queued."""
        reign = self._reign
        job = draft.job
        run = Run(
            reign.next_run_id(),
            job.tenant,
            job.name,
            job.version,
            draft.cause,
            draft.slot,
            draft.group,
            now,
            draft.not_before if draft.not_before > now else now,
            job.priority if draft.priority is None else draft.priority,
            draft.arguments,
            draft.token,
        )
        live = Live(run, job, RunState.READY)
        reign.batch.runs.append(run)
        reign.enter(live)
        if run.token is not None:
            self._tokens.setdefault((run.tenant, run.token), run)
            if len(self._tokens) > REMEMBERED_TOKENS:
                self._tokens.popitem(last=False)
        return live

    def _release(self, live: Live, draft: Draft, now: int, behind: Live | None = None) -> None:
        """Queue a run, or let it wait for what it waits for."""
        reign, run, job = self._reign, live.run, live.job
        if run.group:
            deadline_at = now + job.wait_deadline_us
            after = job.after if draft.waits else ()
            reign.batch.made.append(MadeRun(run.run_id, run.tenant, run.job, run.group, after, run.slot, deadline_at))
        if behind is not None and behind.run.run_id in reign.book.live:
            reign.book.gate(live, behind.run.run_id)
        if reign.hooks:
            self._call_before(live, now)
        live.waits = draft.waits
        reign.make_ready(live, now)

    def _call_before(self, live: Live, now: int) -> None:
        """The hooks that come before a run: it waits until they have ended, well or not."""
        run = live.run
        told = tell_run("before", run, state="", attempt=1, error=None, reason="")
        for hook in self._reign.call_hooks("before", live.job, told, now, parent=run.run_id):
            if hook.run.run_id in self._reign.book.live:  # the hook may have been removed
                self._reign.book.gate(live, hook.run.run_id)


def accepted(admitted: Admitted, durable: bool, replaced: dict[int, int]) -> Accepted:
    """What a client is told; a run that was there before by its token stands in place of the new one."""
    run_ids = admitted.run_ids
    if replaced:
        run_ids = [replaced.get(run_id, run_id) for run_id in run_ids]
    return Accepted(admitted.key, tuple(run_ids), durable)
