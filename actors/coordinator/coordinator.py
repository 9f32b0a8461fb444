"""The coordinator: takes the lead, and on the leader moves every run from admission to its end.

    Started ─▶ TakeLease ─▶ LeaseTaken(epoch) ─▶ Lead to clock, registry, dependencies ─▶ rebuild ─▶ work ─▶ LeaseLost, Stop

While it leads it gathers facts in a `Batch` and has one `Save` on its way at a time; orders, answers and acknowledgements
leave only when the batch that holds their facts is durable. When a batch is refused because the store is full or busy, new
submissions in it are refused and the rest is sent again, the same key, until it is written: nothing that ran is forgotten.

A message of another reign, an outcome with a stale fence and a key that was answered before change nothing.
"""

from __future__ import annotations

from typing import Any, Final, assert_never

from ..actor import (
    CLOCK,
    DEPENDENCIES,
    EXECUTOR,
    MILLISECOND,
    PERSISTENCE,
    REIGNING,
    SECOND,
    Turn,
)
from ..messages import (
    Admit,
    AdmitSlots,
    AttemptsBegun,
    AttemptsEnded,
    AttemptsProgressed,
    CancelLive,
    ClearMarks,
    Describe,
    Found,
    HoldJob,
    KnowJobs,
    Lead,
    LeaseLost,
    LeaseRejected,
    LeaseRenewed,
    LeaseTaken,
    Noted,
    Offer,
    PeerRestarted,
    ReadRejected,
    RenewLease,
    Resolve,
    RunsMade,
    Save,
    Saved,
    SaveRejected,
    Started,
    StepDown,
    StockTaken,
    Stop,
    TakeLease,
    TimerFired,
    Unblock,
    WatchLive,
    Withdrawn,
)
from .admission import Admission
from .attempts import Attempts
from .batch import Batch
from .followup import Followup
from .rebuild import Rebuild, made_runs
from .reign import AUDIT_US, Reign
from .request import Requests
from .shutdown import Shutdown

BEAT_US: Final = SECOND
"""How often the leader renews its lease."""

LEASE_RETRY_US: Final = 500 * MILLISECOND
"""How long a node that may not lead waits before it tries again."""

SAVE_AGAIN_US: Final = 200 * MILLISECOND
"""How long a refused batch waits before it is sent again."""

SAVE_LOST_US: Final = 5 * SECOND
"""After how long a batch that got no answer is sent again."""

HELD_MESSAGES: Final = 10_000
"""Messages that wait for the end of a rebuild at most; the senders of further ones ask again."""

Accepted = (
    Started
    | Stop
    | PeerRestarted
    | TimerFired
    | LeaseTaken
    | LeaseRejected
    | LeaseRenewed
    | LeaseLost
    | Found
    | ReadRejected
    | Saved
    | SaveRejected
    | StockTaken
    | Offer
    | Admit
    | AdmitSlots
    | Unblock
    | Resolve
    | Noted
    | AttemptsBegun
    | AttemptsEnded
    | AttemptsProgressed
    | Withdrawn
    | HoldJob
    | KnowJobs
    | CancelLive
    | Describe
    | WatchLive
)


class Coordinator:
    """Elects itself, and leads."""

    def __init__(self, *, durable: bool) -> None:
        self._durable = durable
        self._node = ""
        self._holder = ""
        self._address = ""
        self._shutdown = Shutdown()
        self._step_down()

    def _step_down(self) -> None:
        """Forget the reign."""
        self._reign: Reign | None = None
        self._rebuild: Rebuild | None = None
        self._sent: Batch | None = None
        self._save: Save | None = None
        self._save_refused = False
        self._saves = 0
        self._sent_at = 0
        self._held: list[tuple[str, Any]] = []
        self._offers: dict[str, Offer] = getattr(self, "_offers", {})

    # ---- messages -------------------------------------------------------------------------------------------------------

    def receive(self, message: Accepted, turn: Turn) -> None:  # noqa: C901 - a flat table of messages
        """Take a message: of this node, of the store, or of the reign."""
        match message:
            case Started():
                self._node, self._address = message.node, message.address
                self._holder = f"{message.node}/{message.incarnation}"
                self._take_lease(turn)
            case Saved():
                self._on_saved(message, turn)
            case SaveRejected():
                self._on_save_rejected(message, turn)
            case TimerFired():
                self._on_timer_fired(message, turn)
            case LeaseTaken():
                self._on_lease_taken(message, turn)
            case LeaseRejected():
                turn.set_timer("lease", turn.elapsed + LEASE_RETRY_US, steady=True)
            case LeaseRenewed():
                pass
            case LeaseLost():
                if self._reign is not None and message.epoch == self._reign.epoch:
                    self._lose(turn)
            case PeerRestarted():
                self._lose(turn)
            case Stop():
                self._on_stop(message, turn)
            case Offer():
                self._on_offer(message, turn)
            case Found() | ReadRejected() | StockTaken():
                self._on_rebuild_answer(message, turn)
            case _:
                self._on_work(message, turn)

    def _on_work(self, message: Any, turn: Turn) -> None:  # noqa: C901 - a flat table of messages
        """What only a leader that has rebuilt its memory can take."""
        if self._reign is None or self._rebuild is None:
            return
        if 0 < turn.epoch < self._reign.epoch and isinstance(message, Admit | AdmitSlots):
            return  # of an older reign: it may be stored already, and who sent it asks this reign again
        if not self._rebuild.done:
            if len(self._held) < HELD_MESSAGES:
                self._held.append((turn.sender, message))
            return
        match message:
            case AttemptsEnded():
                self._attempts.on_attempts_ended(message, turn)
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
                self._reign.unnoted.pop(message.key, None)
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

    def settle(self, turn: Turn) -> None:
        """Claim what there is room for, and send the batch in hand, if none is on its way."""
        reign = self._reign
        if reign is None or self._rebuild is None or not self._rebuild.done:
            return
        if self._save is None:
            self._attempts.claim(turn)
            if reign.batch:
                self._send_batch(reign, turn)
        look = reign.next_look()
        if look is not None and (reign.look_timer_at is None or look < reign.look_timer_at):
            reign.look_timer_at = look
            turn.set_timer("look", look)
        self._shutdown.settle(reign, saving=self._save is not None, turn=turn)

    # ---- batches --------------------------------------------------------------------------------------------------------

    def _send_batch(self, reign: Reign, turn: Turn) -> None:
        reign.move_settled()
        batch, reign.batch = reign.batch, Batch()
        writes = batch.writes(reign.epoch, turn.now, reign.places.incarnations())
        if not writes:
            self._followup.perform(batch, None, turn)
            return
        self._saves += 1
        self._sent = batch
        self._save = Save(f"batch/{reign.epoch}/{self._saves}", reign.epoch, writes)
        turn.send(PERSISTENCE, self._save)
        self._sent_at = turn.elapsed

    def _send_again(self, save: Save, turn: Turn) -> None:
        self._sent_at = turn.elapsed
        turn.send(PERSISTENCE, save)

    def _on_saved(self, message: Saved, turn: Turn) -> None:
        if self._reign is None or self._save is None or message.key != self._save.key:
            return
        batch, self._sent, self._save = self._sent, None, None
        assert batch is not None
        self._save_refused = False
        self._reign.store_full = ""
        self._followup.perform(batch, message.committed, turn)

    def _on_save_rejected(self, message: SaveRejected, turn: Turn) -> None:
        reign, batch = self._reign, self._sent
        if reign is None or self._save is None or batch is None or message.key != self._save.key:
            return
        if message.code == "fenced":
            self._lose(turn)
            return
        self._save_refused = True
        if message.code != "busy":
            reign.store_full = f"the store takes no writes: {message.text}"
            self._followup.refuse(batch, reign.store_full, turn)
            writes = batch.writes(reign.epoch, turn.now, reign.places.incarnations())
            self._saves += 1
            self._save = Save(f"batch/{reign.epoch}/{self._saves}", reign.epoch, writes)
        turn.set_timer("save", turn.elapsed + SAVE_AGAIN_US, steady=True)

    # ---- leading --------------------------------------------------------------------------------------------------------

    def _take_lease(self, turn: Turn) -> None:
        turn.send(PERSISTENCE, TakeLease(self._holder, self._address))
        turn.set_timer("lease", turn.elapsed + SAVE_LOST_US, steady=True)

    def _on_lease_taken(self, message: LeaseTaken, turn: Turn) -> None:
        if self._reign is not None and self._reign.epoch >= message.epoch:
            return
        self._step_down()
        reign = Reign(message.epoch, self._node, message.counters)
        self._reign = reign
        for offer in self._offers.values():
            reign.places.offer(EXECUTOR, offer)
        self._attempts = Attempts(reign)
        self._admission = Admission(reign)
        self._requests = Requests(reign, self._attempts)
        self._followup = Followup(reign, self._attempts, self._admission, durable=self._durable)
        self._rebuild = Rebuild(reign, self._attempts)
        turn.epoch = message.epoch
        turn.cancel_timer("lease")
        turn.set_timer("beat", turn.elapsed + BEAT_US, steady=True)
        turn.set_timer("audit", turn.elapsed + AUDIT_US, steady=True)
        for actor in REIGNING:
            turn.send(actor, Lead(message.epoch, self._node))
        self._rebuild.ask(turn)

    def _lose(self, turn: Turn) -> None:
        """Stop leading at once, and stand for election again."""
        if self._reign is not None:
            for actor in REIGNING:
                turn.send(actor, StepDown(self._reign.epoch))
        self._step_down()
        if not self._shutdown.begun:
            self._take_lease(turn)

    def _on_rebuild_answer(self, message: Found | ReadRejected | StockTaken, turn: Turn) -> None:
        rebuild = self._rebuild
        if rebuild is None or rebuild.done:
            return
        match message:
            case Found():
                rebuild.on_found(message, turn)
            case StockTaken():
                rebuild.on_stock_taken(message, turn)
            case ReadRejected():
                pass  # the timer asks again
        if rebuild.done:
            assert self._reign is not None
            self._reign.batch.send(EXECUTOR, ClearMarks())
            held, self._held = self._held, []
            sender = turn.sender
            for turn.sender, waiting in held:
                self._on_work(waiting, turn)
            turn.sender = sender  # more may stand in the envelope in hand

    def _on_offer(self, message: Offer, turn: Turn) -> None:
        self._offers[message.node] = message
        if self._reign is not None:
            self._reign.places.offer(turn.sender, message)

    # ---- time -----------------------------------------------------------------------------------------------------------

    def _on_timer_fired(self, message: TimerFired, turn: Turn) -> None:
        reign = self._reign
        match message.key:
            case "lease" if reign is None and not self._shutdown.begun:
                self._take_lease(turn)
            case "beat" if reign is not None:
                turn.send(PERSISTENCE, RenewLease(self._holder, reign.epoch))
                turn.set_timer("beat", turn.elapsed + BEAT_US, steady=True)
                if self._save is not None and turn.elapsed - self._sent_at >= SAVE_LOST_US:
                    self._send_again(self._save, turn)
            case "save" if self._save is not None:
                self._send_again(self._save, turn)
            case "rebuild" if self._rebuild is not None:
                self._rebuild.ask(turn)
            case "look" if reign is not None:
                reign.look_timer_at = None
                self._requests.on_looks(turn)
            case "audit" if reign is not None:
                self._audit(reign, turn)
            case "stop":
                self._shutdown.on_timer(reign, turn)
            case _:
                pass

    def _audit(self, reign: Reign, turn: Turn) -> None:
        """Ask again about what waits for a message, in case it was lost."""
        turn.set_timer("audit", turn.elapsed + AUDIT_US, steady=True)
        if self._rebuild is None or not self._rebuild.done:
            return
        for actor in () if reign.quiet else REIGNING:
            turn.send(actor, Lead(reign.epoch, self._node))
        for unnoted in reign.unnoted.values():
            turn.send(DEPENDENCIES, unnoted)
        waiting = made_runs(reign, waiting_only=True)
        for start in range(0, len(waiting), 256):
            turn.send(
                DEPENDENCIES, RunsMade(f"made/{reign.epoch}/audit", tuple(waiting[start : start + 256]), rebuilt=True)
            )
        self._attempts.send_again(turn)
        self._requests.forget_holds(turn)
        reign.book.ready.tidy()

    # ---- stopping -------------------------------------------------------------------------------------------------------

    def _on_stop(self, message: Stop, turn: Turn) -> None:
        if self._reign is not None:
            self._reign.quiet = True
            turn.send(CLOCK, StepDown(self._reign.epoch))
        self._shutdown.begin(message, turn)
