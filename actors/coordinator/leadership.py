"""Leading: everything that one reign holds, and the way of its batches. It is thrown away whole when the reign ends.

    LeaseTaken ─▶ Lead to clock, registry, dependencies ─▶ rebuild ─▶ work ─▶ LeaseLost, fenced, a newer leader

It gathers facts in a `Batch` and has one `Save` on its way at a time; orders, answers and acknowledgements leave only when
the batch that holds their facts is durable. When a batch is refused because the store is full, new submissions in it are
refused. What is left of a refused batch is sent again, by another key, until it is written: nothing that ran is forgotten.

A message of another reign, an outcome with a stale fence and a key that was answered before change nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, assert_never

from msgspec.structs import replace

from ..actor import DEPENDENCIES, EXECUTOR, MILLISECOND, PERSISTENCE, REIGNING, SECOND, Turn, next_multiple
from ..messages import (
    Admit,
    AdmitSlots,
    AttemptsBegun,
    AttemptsEnded,
    AttemptsLost,
    AttemptsProgressed,
    CancelLive,
    Describe,
    Found,
    HoldJob,
    KnowJobs,
    Lead,
    LeaseTaken,
    Member,
    Noted,
    Offer,
    ReadRejected,
    RenewLease,
    Resolve,
    RunsMade,
    Save,
    Saved,
    SaveRejected,
    StepDown,
    StockTaken,
    Unblock,
    WatchLive,
    Withdrawn,
)
from ..reminder import Reminder
from .acquaintance import Acquaintances
from .admission import Admission
from .attempts import Attempts
from .batch import Batch
from .book import Live
from .election import Me
from .followup import Followup
from .membership import Membership
from .rebuild import Rebuild, made_runs
from .reign import AUDIT_US, Reign
from .request import Requests
from .rescue import Rescue
from .stock import Stock

BEAT_US: Final = 500 * MILLISECOND
"""How often the leader renews its lease."""

SAVE_AGAIN_US: Final = 200 * MILLISECOND
"""How long a refused batch waits before it is sent again."""

SAVE_LOST_US: Final = 5 * SECOND
"""After how long a batch that got no answer is sent again."""

HELD_MESSAGES: Final = 10_000
"""Messages that wait for the end of a rebuild at most; the senders of further ones ask again."""

HELD_A_TURN: Final = 16
"""Of these so many are done in one turn: if all are submissions of 256 runs, in some hundredths of a second."""

AUDITED_A_TURN: Final = 5_000
"""Runs that are asked about, and of which is said why they wait, in one turn: some hundredths of a second."""

Work = (
    Admit
    | AdmitSlots
    | Unblock
    | Resolve
    | Noted
    | AttemptsBegun
    | AttemptsEnded
    | AttemptsLost
    | AttemptsProgressed
    | Withdrawn
    | HoldJob
    | KnowJobs
    | CancelLive
    | Describe
    | WatchLive
)
"""What only a leader that has rebuilt its memory can take."""

_TIMERS: Final = (
    "beat",
    "audit",
    "members",
    "look",
    "rebuild",
    "audit_runs",
    "save",
    "unsettled",
    "passed",
    "parked",
    "held",
    "hand_over",
)


class Leadership:
    """One reign of this node.

    Args:
        taken: the lease that begins it.
        me: this node.
        offer: what its own executor has offered already, if it has.
        acquaintances: the nodes that this one knows of.
        durable: whether what the store has acknowledged survives the process.
    """

    def __init__(
        self, taken: LeaseTaken, me: Me, offer: Offer | None, acquaintances: Acquaintances, *, durable: bool
    ) -> None:
        self.reign = reign = Reign(taken.epoch, me.node, taken.counters)
        self._me = me
        if offer is not None:
            reign.places.offer(EXECUTOR, offer)
        self._attempts = Attempts(reign)
        self.rescue = Rescue(reign, self._attempts)
        self.membership = Membership(reign, me, self.rescue, acquaintances)
        self._admission = Admission(reign)
        self._requests = Requests(reign, self._attempts)
        self._followup = Followup(reign, self._attempts, self._admission, durable=durable)
        self._rebuild = Rebuild(reign, self.rescue)
        self._stock = Stock()
        self._save: Save | None = None
        self._saves = 0
        self._sent_at = 0
        self._saved_at = 0
        self._held: OrderedDict[tuple[type, str | int], tuple[str, Work | Offer | StockTaken]] = OrderedDict()
        self._held_count = 0
        self._unaudited: Iterator[Live] = iter(())
        self._lead_reminder = Reminder(BEAT_US, AUDIT_US)

    # ---- begin and end --------------------------------------------------------------------------------------------------

    def begin(self, turn: Turn) -> None:
        """Let the other actors of the reign begin theirs, and rebuild the memory."""
        turn.epoch = self.reign.epoch
        turn.set_timer("beat", next_multiple(turn.elapsed, BEAT_US), steady=True)
        turn.set_timer("audit", turn.elapsed + AUDIT_US, steady=True)
        self.tell_lead(turn)
        self._rebuild.ask(turn)

    def tell_lead(self, turn: Turn) -> None:
        """Tell the other actors of the reign that it goes on, and remind them; harmless to those who know."""
        self._lead_reminder.begin(turn.elapsed)
        self._say_lead(turn)

    def _say_lead(self, turn: Turn) -> None:
        for actor in REIGNING:
            turn.send(actor, Lead(self.reign.epoch, self.reign.node))

    def end(self, turn: Turn) -> None:
        """The reign is over."""
        for actor in REIGNING:
            turn.send(actor, StepDown(self.reign.epoch))
        for key in _TIMERS:
            turn.cancel_timer(key)

    @property
    def is_ready(self) -> bool:
        """Whether the memory is rebuilt."""
        return self._rebuild.done

    def on_rebuild_answer(
        self, message: Found | ReadRejected | StockTaken, members: Iterable[Member], turn: Turn
    ) -> bool:
        """Take what was asked for while rebuilding, or of other nodes later; say whether the memory is rebuilt by it."""
        rebuild = self._rebuild
        if isinstance(message, StockTaken):
            whole = self._stock.put(message) if message.epoch == self.reign.epoch else None
            if whole is None:
                return False
            message = whole
        if rebuild.done:
            if isinstance(message, StockTaken) and not self._hold(message, turn):
                self._on_stock_taken(message, turn)
            return False
        match message:
            case Found():
                rebuild.on_found(message, turn)
            case StockTaken() if message.incarnation == self._me.incarnation:
                rebuild.on_stock_taken(message, turn)
            case _:
                pass  # the timer asks again
        return self._has_rebuilt(members, turn)

    def on_rebuild_timer(self, members: Iterable[Member], turn: Turn) -> bool:
        """Ask again, or go on with what there is; say whether the memory is rebuilt by it."""
        if self._rebuild.done:
            return False
        self._rebuild.ask(turn)
        return self._has_rebuilt(members, turn)

    def _has_rebuilt(self, members: Iterable[Member], turn: Turn) -> bool:
        if self._rebuild.done:
            self.membership.adopt(members, turn)
            self.rescue.clear_marks(self._rebuild.left)
        return self._rebuild.done

    def _on_stock_taken(self, message: StockTaken, turn: Turn) -> None:
        for incarnation in self.rescue.on_stock_taken(message, turn):
            self.membership.remove(incarnation, turn)

    # ---- what must wait -------------------------------------------------------------------------------------------------

    def _hold(self, message: Work | Offer | StockTaken, turn: Turn) -> bool:
        """Keep what comes until the memory is rebuilt, and then until what came before it is done; say whether it waits.

        A submission, or a batch of slots, that is asked for again waits once.
        """
        if self._rebuild.done and not self._held:
            return False
        if len(self._held) >= HELD_MESSAGES:
            return isinstance(message, Work)  # nobody asks for the others again
        self._held_count += 1
        key = message.key if isinstance(message, Admit | AdmitSlots) else self._held_count
        self._held.setdefault((type(message), key), (turn.sender, message))
        if self._rebuild.done:
            self._do_held(2, turn)  # else who sends more than is done in between would never see the end of it
        return True

    def take_held(self, turn: Turn) -> None:
        """Do what came while the memory was being rebuilt, some of it at a time: the members are to hear their leader."""
        self._do_held(HELD_A_TURN, turn)
        if self._held:
            turn.set_timer("held", turn.elapsed, steady=True)

    def _do_held(self, most: int, turn: Turn) -> None:
        sender = turn.sender
        for _ in range(min(most, len(self._held))):
            _, (turn.sender, waiting) = self._held.popitem(last=False)
            match waiting:
                case Offer():
                    self._on_offer(waiting, turn)
                case StockTaken():
                    self._on_stock_taken(waiting, turn)
                case _:
                    self._do(waiting, turn)
        turn.sender = sender  # more may stand in the envelope in hand

    # ---- work -----------------------------------------------------------------------------------------------------------

    def on_work(self, message: Work, turn: Turn) -> None:
        """Do it, when its time has come."""
        if 0 < turn.epoch < self.reign.epoch and isinstance(message, Admit | AdmitSlots):
            return  # of an older reign: it may be stored already, and who sent it asks this reign again
        if not self._hold(message, turn):
            self._do(message, turn)

    def _do(self, message: Work, turn: Turn) -> None:  # noqa: C901 - a flat table of messages
        match message:
            case AttemptsEnded():
                self._attempts.on_attempts_ended(message, turn)
            case AttemptsLost():
                self.rescue.on_attempts_lost(message, turn)
            case Admit():
                self._admission.on_admit(message, turn)
            case AdmitSlots():
                self._admission.on_admit_slots(message, turn)
            case AttemptsBegun():
                self._attempts.on_attempts_begun(message)
            case AttemptsProgressed():
                self._requests.on_progress(message)
            case Unblock() | Resolve():
                self._requests.on_verdict(message, turn)
            case Noted():
                self.reign.unnoted.pop(message.key, None)
            case HoldJob():
                self._requests.on_hold_job(message, turn)
            case Withdrawn():
                self._requests.on_withdrawn(message, turn)
            case KnowJobs():
                self._requests.on_know_jobs(message, turn)
            case CancelLive():
                self._requests.on_cancel(message, turn)
            case Describe():
                self._requests.on_describe(message, turn)
            case WatchLive():
                self._requests.on_watch(message, turn)
            case _:
                assert_never(message)

    def on_offer(self, message: Offer, turn: Turn) -> None:
        """An executor offers places; what was parked may have one.

        Nobody would notice the end of a node that is no member, so it gets nothing; one that comes is asked what it offers.
        """
        if not self._hold(message, turn):
            self._on_offer(message, turn)

    def _on_offer(self, message: Offer, turn: Turn) -> None:
        if not self.membership.is_known(message.incarnation):
            return
        reign = self.reign
        may_run_more = reign.places.offer(turn.sender, message)
        self.membership.on_offer(message)
        if may_run_more and self.is_ready:
            reign.try_again(message.incarnation, reign.book.parked.values(), f"{message.node} may know its function")

    def settle(self, turn: Turn) -> bool:
        """Claim what there is room for, and send the batch in hand, if none is on its way; say whether all is stored."""
        reign = self.reign
        self.membership.settle(turn)
        if not self.is_ready:
            return False
        if self._save is None:
            self._requests.settle_held(turn)
            if reign.sort_parked(turn.now):
                turn.set_timer("parked", turn.elapsed, steady=True)
            self._attempts.claim(turn)
            if reign.batch:
                self._send_batch(turn)
        look = reign.next_look()
        if look is not None and (reign.look_timer_at is None or look < reign.look_timer_at):
            reign.look_timer_at = look
            turn.set_timer("look", look)
        return self._save is None and not reign.batch and not self._held

    # ---- batches --------------------------------------------------------------------------------------------------------

    def _send_batch(self, turn: Turn) -> None:
        reign = self.reign
        reign.move_settled()
        batch, reign.batch = reign.batch, Batch()
        writes = batch.writes(reign.epoch, turn.now)
        if not writes:
            self._followup.perform(batch, None, turn)
            return
        self._saves += 1
        reign.sent = batch
        self._save = Save(f"batch/{reign.epoch}/{self._saves}", reign.epoch, writes)
        turn.send(PERSISTENCE, self._save)
        self._sent_at = turn.elapsed

    def _send_again(self, save: Save, turn: Turn) -> None:
        self._sent_at = turn.elapsed
        turn.send(PERSISTENCE, save)

    def on_saved(self, message: Saved, turn: Turn) -> None:
        """The batch that was on its way is durable."""
        if self._save is None or message.key != self._save.key:
            return
        reign = self.reign
        batch, reign.sent, self._save = reign.sent, None, None
        assert batch is not None
        self._saved_at = turn.elapsed
        self.reign.store_full = ""
        self._followup.perform(batch, message.committed, turn)

    def on_save_rejected(self, message: SaveRejected, turn: Turn) -> bool:
        """The batch that was on its way was not written; say whether the reign goes on."""
        reign = self.reign
        batch = reign.sent
        if self._save is None or batch is None or message.key != self._save.key:
            return True
        if message.code == "fenced":
            return False
        if message.code != "busy":
            reign.store_full = f"the store takes no writes: {message.text}"
            self._followup.refuse(batch, reign.store_full, turn)
        self._saves += 1
        self._save = Save(f"batch/{reign.epoch}/{self._saves}", reign.epoch, batch.writes(reign.epoch, turn.now))
        turn.set_timer("save", turn.elapsed + SAVE_AGAIN_US, steady=True)
        return True

    # ---- time -----------------------------------------------------------------------------------------------------------

    def on_timer(self, key: str, turn: Turn) -> None:
        """A timer of the reign."""
        match key:
            case "members":
                self.membership.on_timer(turn)
            case "beat":
                self._renew(turn)
            case "save" if self._save is not None:
                self._send_again(self._save, turn)
            case "look":
                self.reign.look_timer_at = None
                self._requests.on_looks(turn)
            case "audit":
                self._audit(turn)
            case "audit_runs":
                self._audit_runs(turn)
            case "held":
                self.take_held(turn)
            case _:
                pass

    def _renew(self, turn: Turn) -> None:
        """Show that this leader lives; a batch that was written lately has shown it already."""
        turn.set_timer("beat", next_multiple(turn.elapsed, BEAT_US), steady=True)
        if turn.elapsed - self._saved_at >= BEAT_US:
            turn.send(PERSISTENCE, RenewLease(self._me.holder, self.reign.epoch))
        if self._save is not None and turn.elapsed - self._sent_at >= SAVE_LOST_US:
            self._send_again(self._save, turn)
        if not self.reign.quiet and self._lead_reminder.is_due(turn.elapsed):
            self._say_lead(turn)

    def _audit(self, turn: Turn) -> None:
        """Ask again about what waits for a message, in case it was lost."""
        turn.set_timer("audit", turn.elapsed + AUDIT_US, steady=True)
        reign = self.reign
        if not self.is_ready:
            return
        for unnoted in reign.unnoted.values():  # who else is in a group may have ended since, and be forgotten there
            again = replace(unnoted, rebuilt=True) if isinstance(unnoted, RunsMade) else unnoted
            turn.send(DEPENDENCIES, again)
        for place in reign.places.all():  # that it has room again is told once
            self.rescue.take_stock(place.address, turn)
        self._attempts.send_again(turn)
        self._requests.forget_holds(turn)
        reign.forget_marks()
        reign.forget_removed()
        reign.book.ready.tidy()
        self._unaudited = iter(list(reign.book.live.values()))
        self._audit_runs(turn)

    def _audit_runs(self, turn: Turn) -> None:
        """Ask again about runs that wait for others, and renew the reasons of all.

        Of very many in several turns: members that hear nothing for so long would take the lead.
        """
        reign = self.reign
        lives = list(islice(self._unaudited, AUDITED_A_TURN))
        waiting = made_runs(live for live in lives if live.waits and live.run.run_id in reign.book.live)
        for start in range(0, len(waiting), 256):
            made = tuple(waiting[start : start + 256])
            turn.send(DEPENDENCIES, RunsMade(f"made/{reign.epoch}/audit", made, rebuilt=True))
        reign.renew(lives, turn.now)
        if len(lives) == AUDITED_A_TURN:
            turn.set_timer("audit_runs", turn.elapsed, steady=True)
