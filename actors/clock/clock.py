"""The clock: fires each slot of each job once, however late it wakes.

It holds the jobs that are due within a horizon, in a heap; the rest waits in the store, which is asked again every half
horizon. A slot that has passed is decided by the trigger's arithmetic (`callsheet.triggers.decide`) and sent on as `Due`; it
stays with the clock until `Decided` says that decision, run and high-water mark are stored together. So a clock that dies
loses nothing: the next one begins at the stored marks. Of one job only one `Due` is on its way at a time, for a mark that
overtook an earlier one would pass slots that have no decision. What changes meanwhile the registry says (`KnowJobs`), and says
again until it is acknowledged; a record that is not newer than what is watched, or was decided, changes nothing.

The next slot of a job that counts from the end of its last run is known to the coordinator, which writes it and says so
(`JobEnded`). Where such a job has none in the store, the clock sends a `Due` without a decision, which asks for it: its run may
have ended unseen, when the job was declared anew or the leader changed just then.

    Lead ─▶ Read(DueJobs) ─▶ Found ─▶ heap ──timer──▶ Due ─▶ (dependencies, coordinator, persistence) ─▶ Decided

A clock that is set back fires nothing twice, because slots up to the mark are done. A jump forward of more than a minute is
downtime like any other, decided by each job's catch-up policy, and reported.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final, NamedTuple, assert_never

from ...triggers import Schedule, Unreadable
from ..actor import DEPENDENCIES, MILLISECOND, MINUTE, PERSISTENCE, SECOND, Turn
from ..listener import Listener
from ..messages import (
    Decided,
    Due,
    DueSlot,
    Found,
    Gauged,
    Happened,
    JobEnded,
    KnowJobs,
    Lead,
    Read,
    ReadRejected,
    Started,
    StepDown,
    TimerFired,
)
from ..persistence.store import MAX_PAGE, DueJobs, GetJobs, ListUnarmed
from ..records import Event, JobRecord
from ..schedule import compile_job, counts_from_end, step_job

HORIZON_US: Final = 10 * MINUTE
"""How far ahead jobs are held in memory."""

ASK_AGAIN_US: Final = 5 * SECOND
"""How long the store has to say what is due before it is asked again."""

JUMP_US: Final = 60 * SECOND
"""A step of the wall clock against the steady one that is reported."""

DUE_BATCH: Final = 256
"""Jobs that one `Due` carries at most."""

MAX_UNDECIDED: Final = 64
"""`Due` messages that may be on their way; the clock waits for `Decided` before it sends more."""

MAX_WAITING: Final = 64
"""Decisions of a job that wait until those before them are stored; after so many the job waits itself."""

HELD_US: Final = 100 * MILLISECOND
"""After how long the store is asked about jobs that were held when their slots came to be decided."""

RESEND_US: Final = 2 * SECOND
"""After how long an undecided `Due` is sent again."""

REMEMBERED_US: Final = 15 * MINUTE
"""How long it is known of a job that is watched no more up to where its slots are decided: longer than an edit is on its way."""

MAX_TOLD: Final = 3
"""Jobs that cannot be read here which are named at a time."""

AT_ONCE: Final = 0
"""When a job is due that has no slot to come: the coordinator knows of one, or writes that there is none."""

Accepted = Started | Lead | StepDown | KnowJobs | JobEnded | Decided | Found | ReadRejected | TimerFired
JobKey = tuple[str, str]


class _Entry:
    """A job that the clock watches."""

    __slots__ = ("fires", "mark", "next_due", "record", "schedule", "ticket", "undecided", "waiting")

    def __init__(self, record: JobRecord, schedule: Schedule) -> None:
        self.record = record
        self.schedule = schedule
        self.mark = record.state.mark
        self.fires = record.state.fires
        self.next_due: int | None = record.state.next_due
        self.ticket = 0
        self.undecided = ""
        self.waiting: list[DueSlot] = []


class _Passed(NamedTuple):
    """Up to where the slots of a job are decided and stored that was dropped then, at an instant of the steady clock."""

    version: int
    mark: int
    fires: int
    anchor: int
    at: int


class Clock:
    """Owns the heap of next due instants, and nothing further than a horizon."""

    def __init__(self) -> None:
        self._sent = 0  # these two count on when a leader that was drained goes on: what was answered is remembered
        self._scan = 0
        self._reset(0)
        self._offset: int | None = None

    def _reset(self, epoch: int) -> None:
        """Forget everything; epoch 0 means that there is no reign to fire in."""
        self._epoch = epoch
        self._listener = Listener(epoch)
        self._entries: dict[JobKey, _Entry] = {}
        self._heap: list[tuple[int, int, JobKey]] = []
        self._ticket = 0
        self._undecided: dict[str, tuple[int, Due]] = {}
        self._passed: dict[JobKey, _Passed] = {}
        self._timer_at: int | None = None
        self._held: dict[JobKey, None] = {}

    def receive(self, message: Accepted, turn: Turn) -> None:  # noqa: C901 - a flat table of messages
        """Take a message."""
        self._watch_jumps(turn)
        match message:
            case TimerFired():
                self._on_timer_fired(message, turn)
            case Decided():
                self._on_decided(message, turn)
            case KnowJobs():
                if self._listener.hears(message, turn):
                    for record in message.records:
                        self._know(record, turn.now)
            case JobEnded():
                self._on_job_ended(message, turn)
            case Found():
                self._on_found(message, turn)
            case Lead():
                if message.epoch > self._epoch:
                    self._reset(message.epoch)
                    self._ask(turn, after=None)
            case StepDown():
                if message.epoch >= self._epoch:
                    self._reset(0)
            case Started():
                pass
            case ReadRejected():
                turn.set_timer("horizon", turn.now + SECOND)
            case _:
                assert_never(message)

    def settle(self, turn: Turn) -> None:
        """Fire what is due, and wake again for the next."""
        if self._epoch:
            self._fire(turn)
            self._arm_timer(turn)

    # ---- what is watched ------------------------------------------------------------------------------------------------

    def _know(self, record: JobRecord, now: int) -> None:
        """A job is stored as this: watch it on, unless that is known, or leave it if it is due no more."""
        key, old = record.job.key, self._entries.get(record.job.key)
        if record.state.status != "active":
            self._drop(key)
            return
        if self._is_passed(record) or (old is not None and _age(record) <= (old.record.job.version, old.mark)):
            return  # what is on its way will be answered; if that was not decided, the store is asked then
        if old is None and record.state.next_due is not None and record.state.next_due > now + HORIZON_US:
            return  # the store keeps it until then
        self._enter(record)
        entry = self._entries.get(key)
        # one that was resumed begins at its mark: what was on its way was decided as skipped, or is not decided at all
        if old is not None and entry is not None and old.record.job.version < record.job.version:
            self._carry(old, entry)

    def _is_passed(self, record: JobRecord) -> bool:
        """Tell whether slots of a job were decided since it was stored as this, and the job was dropped then."""
        passed = self._passed.get(record.job.key)
        return passed is not None and _age(record) < (passed.version, passed.mark)

    def _enter(self, record: JobRecord) -> None:
        """Watch a job from its stored state on, if it is due within the horizon at all."""
        key = record.job.key
        self._drop(key)
        if record.state.status != "active" or isinstance(record.job.trigger, Unreadable):
            return
        entry = _Entry(record, compile_job(record.job, record.state))
        if entry.next_due is None:
            if not counts_from_end(record.job):
                return
            entry.next_due = AT_ONCE
        self._entries[key] = entry
        self._push(key, entry)
        passed = self._passed.get(key)
        if passed is not None:
            self._begin_behind(entry, passed.mark, passed.fires, passed.anchor)

    def _carry(self, old: _Entry, entry: _Entry) -> None:
        """An edited job goes on behind what is on its way: the edit was read from the store before that was stored."""
        entry.undecided, entry.waiting = old.undecided, old.waiting
        self._begin_behind(entry, old.mark, old.fires, old.record.job.anchor)

    def _begin_behind(self, entry: _Entry, mark: int, fires: int, anchor: int) -> None:
        """Pass over what is decided up to a mark, though the record of a job was read before that was stored."""
        if mark <= entry.mark:
            return
        entry.mark = mark
        if anchor == entry.record.job.anchor:
            entry.fires = fires
        upcoming = entry.schedule.next(entry.mark)
        entry.next_due = AT_ONCE if upcoming is None else upcoming.due
        self._push(entry.record.job.key, entry)

    def _push(self, key: JobKey, entry: _Entry) -> None:
        assert entry.next_due is not None
        self._ticket += 1
        entry.ticket = self._ticket
        heappush(self._heap, (entry.next_due, self._ticket, key))

    def _drop(self, key: JobKey) -> None:
        self._entries.pop(key, None)

    def _on_job_ended(self, message: JobEnded, turn: Turn) -> None:
        """The slots of this job go on; what is stored already says from where."""
        key = (message.tenant, message.job)
        if self._epoch and (message.next_due <= turn.now + HORIZON_US or key in self._entries):
            turn.send(PERSISTENCE, Read(f"job/{self._epoch}", GetJobs((key,))))

    # ---- the horizon ----------------------------------------------------------------------------------------------------

    def _ask(self, turn: Turn, after: tuple[int, str, str] | None) -> None:
        if after is None:
            self._scan += 1
            self._forget(turn.elapsed)
        question = DueJobs(until=turn.now + HORIZON_US, after=after, limit=MAX_PAGE)
        turn.send(PERSISTENCE, Read(f"due/{self._epoch}/{self._scan}", question))
        turn.set_timer("horizon", turn.now + ASK_AGAIN_US)  # unless the answer comes

    def _forget(self, elapsed: int) -> None:
        """Forget what was dropped long ago; the first that is remembered was dropped first."""
        while self._passed:
            key, passed = next(iter(self._passed.items()))
            if passed.at + REMEMBERED_US > elapsed:
                return
            del self._passed[key]

    def _ask_unarmed(self, turn: Turn, after: JobKey | None) -> None:
        """Ask for the jobs that wait for the end of a run; it may have ended unseen."""
        turn.send(PERSISTENCE, Read(f"unarmed/{self._epoch}/{self._scan}", ListUnarmed(after)))

    def _on_found(self, message: Found, turn: Turn) -> None:
        if message.key in (f"job/{self._epoch}", f"held/{self._epoch}"):
            records: tuple[JobRecord, ...] = message.rows
            for record in records:
                if message.key.startswith("held"):
                    self._held.pop(record.job.key, None)
                known = self._entries.get(record.job.key)
                if known is None or (not known.undecided and _age(record) >= (known.record.job.version, known.mark)):
                    self._enter(record)
            return
        is_scan = message.key == f"due/{self._epoch}/{self._scan}"
        if not is_scan and message.key != f"unarmed/{self._epoch}/{self._scan}":
            return
        _tell_unreadable(message.rows, turn)
        for record in message.rows:
            key = record.job.key
            # what is watched, or was decided since the question was put, is newer here than in the answer
            if key not in self._entries and not self._is_passed(record):
                self._enter(record)
        is_more = len(message.rows) == MAX_PAGE
        if not is_scan:
            if is_more:
                self._ask_unarmed(turn, after=_place(message.rows[-1])[1:])
            return
        if is_more:
            self._ask(turn, after=_place(message.rows[-1]))
        else:
            turn.set_timer("horizon", turn.now + HORIZON_US // 2)
            self._ask_unarmed(turn, after=None)
        turn.emit(Gauged({"armed": float(len(self._entries))}))

    # ---- firing ---------------------------------------------------------------------------------------------------------

    def _on_timer_fired(self, message: TimerFired, turn: Turn) -> None:
        if not self._epoch:
            return
        if message.key == "next":
            self._timer_at = None
        elif message.key == "horizon":
            self._ask(turn, after=None)
        elif message.key == "held" and self._held:
            turn.send(PERSISTENCE, Read(f"held/{self._epoch}", GetJobs(tuple(self._held))))
            turn.set_timer("held", turn.elapsed + RESEND_US, steady=True)  # unless the answer comes
        elif message.key == "resend":
            for key, (sent_at, due) in self._undecided.items():
                if sent_at + RESEND_US <= turn.elapsed:
                    self._undecided[key] = (turn.elapsed, due)
                    turn.send(DEPENDENCIES, due)
            if self._undecided:
                turn.set_timer("resend", turn.elapsed + RESEND_US, steady=True)

    def _fire(self, turn: Turn) -> None:
        slots: list[DueSlot] = []
        heap = self._heap
        while heap and heap[0][0] <= turn.now and len(self._undecided) < MAX_UNDECIDED:
            _, ticket, key = heappop(heap)
            entry = self._entries.get(key)
            if entry is None or entry.ticket != ticket:
                continue
            if entry.waiting and len(entry.waiting[-1].decisions) >= MAX_WAITING:
                continue  # it goes on when it is decided
            slot = self._decide(key, entry, turn.now)
            if entry.undecided:
                _append(entry.waiting, slot)
                continue
            entry.undecided = self._next_key()
            slots.append(slot)
            if len(slots) == DUE_BATCH:
                self._send(slots, turn)
                slots = []
        if slots:
            self._send(slots, turn)

    def _decide(self, key: JobKey, entry: _Entry, now: int) -> DueSlot:
        """Decide what has passed of a job, and move it on."""
        job = entry.record.job
        step = step_job(job, entry.schedule, entry.mark, entry.fires, now)
        entry.mark, entry.fires, entry.next_due = step.mark, step.fires, step.next_due
        if entry.next_due is not None:
            self._push(key, entry)
        return DueSlot(job, step.decisions, step.mark, step.fires, step.next_due, step.exhausted)

    def _next_key(self) -> str:
        return f"due/{self._epoch}/{self._sent + 1}"

    def _send(self, slots: list[DueSlot], turn: Turn) -> None:
        due = Due(self._next_key(), tuple(slots))
        self._sent += 1
        if not self._undecided:
            turn.set_timer("resend", turn.elapsed + RESEND_US, steady=True)
        self._undecided[due.key] = (turn.elapsed, due)
        turn.send(DEPENDENCIES, due)

    def _on_decided(self, message: Decided, turn: Turn) -> None:
        _, due = self._undecided.pop(message.key, (0, None))
        if due is None:
            return
        slots: list[DueSlot] = []
        for slot in due.slots:
            key = slot.job.key
            entry = self._entries.get(key)
            if entry is None or entry.undecided != message.key:
                continue  # it was dropped meanwhile, or begun anew by an edit
            entry.undecided = ""
            if key in message.held:
                self._drop(key)
                self._look_again(key, turn)
            elif key in message.later:
                self._drop(key)  # the store has its mark; the coordinator says when it is to be looked at
            elif entry.waiting:
                slots.append(entry.waiting.pop(0))
                entry.undecided = self._next_key()
                if entry.next_due is not None:
                    self._push(key, entry)
            elif entry.next_due is None or entry.next_due > turn.now + HORIZON_US:
                self._passed.pop(key, None)
                job = entry.record.job
                self._passed[key] = _Passed(job.version, entry.mark, entry.fires, job.anchor, turn.elapsed)
                self._drop(key)
        if slots:
            self._send(slots, turn)

    def _look_again(self, key: JobKey, turn: Turn) -> None:
        """Ask the store about a job that was held: it is paused, or goes on and its coordinator has not heard of it yet."""
        if not self._held:
            turn.set_timer("held", turn.elapsed + HELD_US, steady=True)
        self._held[key] = None

    # ---- time -----------------------------------------------------------------------------------------------------------

    def _arm_timer(self, turn: Turn) -> None:
        heap = self._heap
        while heap and not self._is_current(heap[0]):
            heappop(heap)
        if not heap or len(self._undecided) >= MAX_UNDECIDED:
            return
        at = heap[0][0]
        if self._timer_at is None or at < self._timer_at or self._timer_at <= turn.now:
            self._timer_at = at
            turn.set_timer("next", at)

    def _is_current(self, item: tuple[int, int, JobKey]) -> bool:
        entry = self._entries.get(item[2])
        return entry is not None and entry.ticket == item[1]

    def _watch_jumps(self, turn: Turn) -> None:
        offset = turn.now - turn.elapsed
        before, self._offset = self._offset, offset
        if before is None or abs(offset - before) < JUMP_US:
            return
        step = (offset - before) / SECOND
        text = f"the wall clock jumped by {step:+.1f} s; what was missed is decided by each job's catch-up policy"
        turn.emit(Happened(Event(turn.now, "clock_jumped", text=text), "warning"))
        self._timer_at = None


def _tell_unreadable(rows: tuple[JobRecord, ...], turn: Turn) -> None:
    """Tell a person of the jobs whose triggers cannot be read here: they wait in the store."""
    unreadable = [(row.job, row.job.trigger.text) for row in rows if isinstance(row.job.trigger, Unreadable)]
    if unreadable:
        some = "; ".join(f"{job.name!r} of tenant {job.tenant!r}: {text}" for job, text in unreadable[:MAX_TOLD])
        text = f"{len(unreadable)} jobs whose triggers cannot be read here do not fire: {some}"
        turn.emit(Happened(Event(turn.now, "jobs_unreadable", text=text), "warning"))


def _place(row: JobRecord) -> tuple[int, str, str]:
    """Where a job stands in the order of what is due."""
    return row.state.next_due or 0, row.job.tenant, row.job.name


def _age(record: JobRecord) -> tuple[int, int]:
    """Order what is stored of a job, one time and another: by its version, then by how far its slots are decided."""
    return record.job.version, record.state.mark


def _append(waiting: list[DueSlot], slot: DueSlot) -> None:
    """Let a due slot wait behind the earlier ones of its job, as one with the last of them, unless an edit lies between."""
    last = waiting[-1] if waiting else None
    if last is None or last.job.version != slot.job.version:
        waiting.append(slot)
    else:
        decisions = last.decisions + slot.decisions
        waiting[-1] = DueSlot(slot.job, decisions, slot.mark, slot.fires, slot.next_due, slot.exhausted)
