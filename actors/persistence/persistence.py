"""The actor that alone touches a store.

It gathers what it is asked to save while it is busy, and writes it as one group: one transaction, one fsync. An answer goes
out only after the group is durable ("saved before sent"). Questions are answered after the writes that came with them, so
who saves and then asks sees what it saved.

    Save, Save, Save ──settle──▶ store.commit(all of them) ──▶ Saved, Saved, Saved
                                     │ Fenced                    SaveRejected("fenced"): the reign is over
                                     │ StoreFull, StoreBusy      SaveRejected("full" | "busy"): nothing was written
                                     │ StoreUnknown              the lease's last_seq is read back: one of the two above

Where even that cannot be read because the store is busy, nobody knows whether the group is there: the answer is "fenced", the
reign is over, and the next one reads what there is. A store that is broken is told as such, so that clients hear its fault at
once; what they are refused then may turn out to be stored.

A `Save` whose key was answered before in this reign is answered the same again: what was written is not written twice, and
what was refused stays refused, since who sent it has gone on, and a copy of it may come late. Who tries again takes a new
key. A reign ends here with the first sign of its end; what is asked to be saved in its name later is answered "fenced" without
asking the store.

On a node that does not lead, the store is read only: questions are answered, the lease is watched, and may be taken as it
was seen. Nothing else is written there.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import Any, Final, Literal, assert_never

from ...errors import Fenced, StoreBusy, StoreError, StoreFull, StoreUnknown
from ..actor import MILLISECOND, SECOND, Address, Turn
from ..messages import (
    Found,
    Happened,
    LeaseLost,
    LeaseRejected,
    LeaseSeen,
    LeaseTaken,
    Read,
    ReadRejected,
    RenewLease,
    Save,
    Saved,
    SaveRejected,
    Started,
    TakeLease,
    TimerFired,
    WatchLease,
)
from ..records import Event
from ..reminder import Reminder
from .store import AddRuns, Committed, GetCounters, InsertJob, Store, Write

REMEMBERED_KEYS: Final = 4_096
"""Keys of batches whose answers are kept, to answer a repeated one."""

GROUP_WRITES: Final = 20_000
"""Rows, about, that one transaction holds at most; more are written in several."""

REMIND_US: Final = 60 * SECOND
"""How seldom at last it is said again that something cannot be read."""

IDLE_US: Final = 100 * MILLISECOND
"""After how long without a write the store may put itself in order."""

NOBODY: Final = 0
"""The epoch of who does not lead; the first reign is epoch 1."""

Accepted = Started | TimerFired | WatchLease | TakeLease | RenewLease | Save | Read


class Persistence:
    """Writes groups, answers questions, keeps the lease; holds the only port to a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._name = ""
        self._holder = ""
        self._epoch = NOBODY
        self._seq = 0
        self._idle_since: int | None = None
        self._saves: list[tuple[Address, Save]] = []
        self._reads: list[tuple[Address, Read]] = []
        self._unread = ""
        self._unread_reminder = Reminder(SECOND, REMIND_US)
        self._answered: OrderedDict[tuple[Address, str], Saved | SaveRejected] = OrderedDict()

    def receive(self, message: Accepted, turn: Turn) -> None:
        """Gather what is to be written or read; lease messages are done at once."""
        match message:
            case Save():
                self._saves.append((turn.sender, message))
            case Read():
                self._reads.append((turn.sender, message))
            case RenewLease():
                self._on_renew_lease(message, turn)
            case WatchLease():
                self._on_watch_lease(turn)
            case TakeLease():
                self._on_take_lease(message, turn)
            case TimerFired():
                self._on_timer_fired(turn)
            case Started():
                self._name = f"{message.node}/{message.incarnation}"
                with suppress(StoreError):  # tried again, and told, before this node is to lead
                    self._store.enter(self._name)
            case _:
                assert_never(message)

    def settle(self, turn: Turn) -> None:
        """Write what was gathered as one group, then answer the questions."""
        if self._saves:
            saves, self._saves = self._saves, []
            for group in _groups(saves):
                self._write(group, turn)
            if self._epoch != NOBODY:
                if self._idle_since is None:
                    turn.set_timer("tidy", turn.elapsed + IDLE_US, steady=True)
                self._idle_since = turn.elapsed
        if self._reads:
            reads, self._reads = self._reads, []
            for sender, read in reads:
                self._read(sender, read, turn)

    def _on_timer_fired(self, turn: Turn) -> None:
        """Let the store put itself in order, once nothing was written for a while; who does not lead leaves that to the leader."""
        if self._epoch == NOBODY:
            self._idle_since = None
        if self._idle_since is None:
            return
        if self._saves or turn.elapsed - self._idle_since < IDLE_US:
            turn.set_timer("tidy", self._idle_since + IDLE_US, steady=True)
            return
        self._idle_since = None
        with suppress(StoreError):  # what stands in its way now stands in the way of the next commit too, which says so
            self._store.tidy()

    # ---- lease ----------------------------------------------------------------------------------------------------------

    def _on_watch_lease(self, turn: Turn) -> None:
        try:
            lease = self._store.lease()
            dead = lease is not None and self._store.is_dead(lease.holder)
        except StoreError as error:
            turn.reply(LeaseRejected(str(error)))
        else:
            turn.reply(LeaseSeen(lease, dead))

    def _on_take_lease(self, message: TakeLease, turn: Turn) -> None:
        try:
            if self._name:
                self._store.enter(self._name)
            lease = self._store.take_lease(message.holder, message.address, message.seen)
            if lease is None:
                turn.reply(LeaseRejected())
                return
            counters = self._store.read(GetCounters())[0]
        except StoreError as error:
            turn.reply(LeaseRejected(str(error)))
            return
        self._holder, self._epoch, self._seq = message.holder, lease.epoch, 0
        self._saves.clear()
        self._answered.clear()
        turn.reply(LeaseTaken(lease.epoch, counters))

    def _on_renew_lease(self, message: RenewLease, turn: Turn) -> None:
        try:
            self._store.renew_lease(message.holder, message.epoch)
        except Fenced:
            self._end_reign(message.epoch)
            turn.reply(LeaseLost(message.epoch))
        except StoreError:
            return  # it renews again soon, and who takes the lease meanwhile fences this leader

    def _end_reign(self, epoch: int) -> None:
        """From now on nothing is written in the name of this epoch."""
        if epoch == self._epoch:
            self._holder, self._epoch = "", NOBODY

    # ---- writing --------------------------------------------------------------------------------------------------------

    def _write(self, group: list[tuple[Address, Save]], turn: Turn) -> None:
        fresh = []
        for sender, save in group:
            answer = self._answered.get((sender, save.key))
            if save.epoch != self._epoch:
                now = f"now is {self._epoch}" if self._epoch else "this node does not lead"
                turn.send(sender, SaveRejected(save.key, "fenced", f"epoch {save.epoch} is over, {now}"))
            elif answer is not None:
                turn.send(sender, answer)
            else:
                fresh.append((sender, save))
        if not fresh:
            return
        writes: list[Write] = [write for _, save in fresh for write in save.writes]
        self._seq += 1
        try:
            committed = self._commit(writes)
        except StoreError as error:
            code = _code(error)
            if code == "fenced":
                self._end_reign(self._epoch)
            for sender, save in fresh:
                self._answer(sender, SaveRejected(save.key, code, str(error)), turn)
            return
        alone = len(fresh) == 1
        for sender, save in fresh:
            share = committed if alone else _share(committed, save)
            self._answer(sender, Saved(save.key, share), turn)

    def _commit(self, writes: list[Write]) -> Committed:
        try:
            return self._store.commit(writes, epoch=self._epoch, holder=self._holder, seq=self._seq)
        except StoreUnknown as error:
            return self._read_back(writes, error)

    def _read_back(self, writes: list[Write], cut_off: StoreUnknown) -> Committed:
        """What became of a commit that was cut off."""
        try:
            lease = self._store.lease()
            took_effect = lease is not None and lease.epoch == self._epoch and lease.last_seq == self._seq
            committed = self._store.found_before(writes) if took_effect else Committed()
        except (StoreBusy, StoreFull, StoreUnknown) as error:
            raise Fenced(f"a commit was cut off, and whether it took effect cannot be read: {error}") from error
        if lease is None or lease.epoch != self._epoch:
            raise Fenced("the reign ended while a commit was cut off") from cut_off
        if not took_effect:
            raise StoreBusy(f"a commit was cut off and did not take effect: {cut_off}") from cut_off
        return committed

    def _answer(self, sender: Address, answer: Saved | SaveRejected, turn: Turn) -> None:
        self._answered[sender, answer.key] = answer
        if len(self._answered) > REMEMBERED_KEYS:
            self._answered.popitem(last=False)
        turn.send(sender, answer)

    # ---- reading --------------------------------------------------------------------------------------------------------

    def _read(self, sender: Address, read: Read, turn: Turn) -> None:
        try:
            rows: list[Any] = self._store.read(read.question)
        except StoreError as error:
            turn.send(sender, ReadRejected(read.key, str(error)))
            self._report_unread(str(error), turn)
        else:
            turn.send(sender, Found(read.key, tuple(rows)))

    def _report_unread(self, text: str, turn: Turn) -> None:
        """Say that something could not be read: who asked asks again each second, and a person must know why nothing comes."""
        if text != self._unread:
            self._unread = text
            self._unread_reminder.begin(turn.elapsed)
        elif not self._unread_reminder.is_due(turn.elapsed):
            return
        turn.emit(Happened(Event(turn.now, "read_rejected", text=text), "warning"))


def _code(error: StoreError) -> Literal["fenced", "full", "busy", "broken"]:
    match error:
        case Fenced():
            return "fenced"
        case StoreFull():
            return "full"
        case StoreBusy() | StoreUnknown():
            return "busy"
        case _:
            return "broken"


def _groups(saves: list[tuple[Address, Save]]) -> list[list[tuple[Address, Save]]]:
    """Cut what was gathered into transactions: not too large, no job inserted twice in one, no key twice in one."""
    groups: list[list[tuple[Address, Save]]] = [[]]
    rows = 0
    seen: set[object] = set()
    for sender, save in saves:
        marks: list[object] = [(sender, save.key)]
        for write in save.writes:
            if isinstance(write, InsertJob):
                marks.append(write.job.key)
            elif isinstance(write, AddRuns):
                rows += len(write.runs)
        if rows > GROUP_WRITES or not seen.isdisjoint(marks):
            groups.append([])
            rows = 0
            seen.clear()
        seen.update(marks)
        groups[-1].append((sender, save))
    return groups


def _share(committed: Committed, save: Save) -> Committed:
    """What of a group's findings belongs to one of its batches."""
    if not committed.existing and not committed.tokens:
        return committed
    inserted = {write.job.key for write in save.writes if isinstance(write, InsertJob)}
    added = {run.run_id for write in save.writes if isinstance(write, AddRuns) for run in write.runs}
    return Committed(
        existing=tuple(name for name in committed.existing if name in inserted),
        tokens=tuple((run_id, run) for run_id, run in committed.tokens if run_id in added),
    )
