"""The executor: takes orders, has them run, and reports how they ended until somebody has recorded it.

It holds the port to the runner. What it is told of an attempt is keyed by its fence, so an order that comes twice runs once.
Outcomes are kept, and sent again, until `Recorded` names them; so a lost message loses no result.

How much work it takes is its own measure: its places, and for short work as many attempts ahead as the places would finish
within `AHEAD_US`. With long work nothing is taken ahead, so a late urgent run does not wait behind claimed ones.

The coordinator that leads may be on another node. What is to be said is said to the one who spoke last in the newest reign
that was heard of; before anybody did, to the node's own. A new leader takes stock first, and hears then what it missed.

An executor that was made anew has forgotten how attempts ended whose functions were called: their marks tell that there are
such. They are never begun again, and are told as lost, but for those whose outcome waited in the mailbox.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, assert_never

from ..actor import COORDINATOR, MILLISECOND, SECOND, Address, Turn
from ..messages import (
    Assign,
    AttemptsBegun,
    AttemptsEnded,
    AttemptsLost,
    AttemptsProgressed,
    ClearMarks,
    HoldStarts,
    MarksRead,
    NodeStopped,
    Offer,
    Recorded,
    RunnerReported,
    Started,
    StockTaken,
    Stop,
    StopAttempts,
    TakeStock,
    TimerFired,
    Withdraw,
    Withdrawn,
)
from ..portions import fence_portions, outcome_size, portions, progress_size
from ..records import EXECUTOR_KINDS, ExecutorKind
from .runner import Freed, Learned, Order, Outcome, Progress, Runner
from .unrecorded import Unrecorded

AHEAD_US: Final = 30 * MILLISECOND
"""How much work, in time, is taken ahead of free places."""

MAX_AHEAD: Final = 4_096
"""Attempts of a kind that are taken ahead at most."""

LONG_US: Final = 100 * MILLISECOND
"""An attempt that is still held after this is looked at: has it begun?"""

RESEND_US: Final = 2 * SECOND
"""After how long outcomes that nobody recorded are sent again."""

REMEMBERED: Final = 16_384
"""Fences of attempts that are over, so that an order which comes late, or a second time, does not begin."""

WEIGHT: Final = 0.02
"""Of one attempt in the running mean of durations."""

Accepted = (
    Started
    | Assign
    | StopAttempts
    | Withdraw
    | Recorded
    | TakeStock
    | HoldStarts
    | ClearMarks
    | RunnerReported
    | Stop
    | TimerFired
)


class Executor:
    """Owns what was given to this node and has not been recorded yet.

    `labels` and `resources` (whole units of each) are offered as they are; whoever makes the executor has checked them.
    """

    def __init__(self, runner: Runner, labels: Sequence[str] = (), resources: Mapping[str, int] | None = None) -> None:
        self._runner = runner
        self._labels = tuple(sorted(labels))
        self._resources = dict(sorted((resources or {}).items()))
        self._leader: Address = COORDINATOR
        self._node = ""
        self._incarnation = ""
        self._epoch = 0
        self._held: dict[int, Order] = dict.fromkeys(runner.held(), _RESTORED)
        self._lost: dict[int, None] = {}
        self._seen: list[int] = []
        self._told: dict[int, None] = {}
        self._ended = Unrecorded()
        self._withdrawing: dict[str, dict[int, bool]] = {}
        self._over: dict[int, None] = {}
        self._mean_us: dict[ExecutorKind, float] = {}
        self._stuck: dict[ExecutorKind, int] = dict.fromkeys(EXECUTOR_KINDS, 0)
        self._offered: dict[str, int] = {}
        self._knows = runner.knows
        self._offered_knows = self._knows
        self._watching = False
        self._resending = False
        self._parted = False

    def receive(self, message: Accepted, turn: Turn) -> None:  # noqa: C901 - a flat table of messages
        """Take a message; those of an older epoch than was seen are dropped."""
        match message:
            case RunnerReported():
                self._on_reported(message, turn)
            case Assign():
                if self._is_for_me(message, turn):
                    self._on_assign(message, turn)
            case Recorded():
                self._on_recorded(message)
            case StopAttempts():
                if self._is_for_me(message, turn):
                    for fence in message.fences:
                        if fence in self._held:
                            self._runner.stop(fence, message.reason, message.grace_us)
            case Withdraw():
                if self._is_for_me(message, turn):
                    self._on_withdraw(message, turn)
            case TakeStock():
                if self._is_current(message.epoch, turn):
                    self._on_take_stock(message, turn)
            case HoldStarts():
                self._runner.hold(message.held or self._parted)
            case ClearMarks():
                self._runner.sweep(message.incarnations)
            case TimerFired():
                self._on_timer_fired(message, turn)
            case Started():
                self._node, self._incarnation = message.node, message.incarnation
                begun = self._runner.begun(self._incarnation).fences  # by an executor actor before this one, if any
                self._lost = dict.fromkeys(sorted(begun.difference(self._held)))
                self._knows = self._runner.knows
                self._offer(turn)
            case Stop():
                if not (self._held or self._ended or self._lost):
                    self._parted = True
                    self._runner.hold(True)  # a leader that does not know yet that this node goes may send orders still
                    turn.reply(NodeStopped(self._node, 0))
            case _:
                assert_never(message)

    def settle(self, turn: Turn) -> None:
        """Send the outcomes that were gathered, and a new offer if the room has changed much or functions were learned."""
        self._send_ended(turn)
        room = self._room()
        changed = any(abs(room[kind] - self._offered.get(kind, 0)) * 4 > self._offered.get(kind, 0) for kind in room)
        if changed or self._knows > self._offered_knows:
            self._offer(turn)

    def _send_ended(self, turn: Turn) -> None:
        due = self._ended.due()
        if not due:
            return
        for portion in portions(due, outcome_size):
            turn.send(self._leader, AttemptsEnded(self._node, portion))
        if not self._resending:
            self._resending = True
            turn.set_timer("resend", turn.elapsed + RESEND_US, steady=True)

    def _is_for_me(self, message: Assign | StopAttempts | Withdraw, turn: Turn) -> bool:
        """Whether this life is meant, by the leader. Another life of this node can say nothing of its attempts, nor run them."""
        return self._is_current(message.epoch, turn) and message.incarnation in ("", self._incarnation)

    def _is_current(self, epoch: int, turn: Turn) -> bool:
        """Whether this is no older reign than was heard of; whoever speaks in the newest is the leader from now on."""
        if epoch < self._epoch:
            return False
        if epoch > self._epoch:
            self._epoch = epoch
            self._told.clear()  # another leader was told
            self._seen = list(self._held)
            self._watch(turn)
        self._leader = turn.sender or COORDINATOR
        return True

    # ---- work -----------------------------------------------------------------------------------------------------------

    def _on_assign(self, message: Assign, turn: Turn) -> None:
        held, ended, over = self._held, self._ended, self._over
        if self._lost:
            self._tell_lost(turn)
            over.update(self._lost)
        self._on_orders_again([it for it in message.orders if it.fence in held])
        orders = [
            it for it in message.orders if it.fence not in held and it.fence not in ended and it.fence not in over
        ]
        for order in orders:
            held[order.fence] = order
        self._runner.start(orders)
        self._watch(turn)

    def _on_orders_again(self, orders: list[Order]) -> None:
        """Whoever sends an order again has not heard that it has begun, if it has: that is to be told again."""
        for order in orders:
            self._held[order.fence] = order
            if order.fence in self._told:
                del self._told[order.fence]
                self._seen.append(order.fence)

    def _watch(self, turn: Turn) -> None:
        if self._held and not self._watching:
            self._watching = True
            turn.set_timer("long", turn.elapsed + LONG_US, steady=True)

    def _tell_lost(self, turn: Turn) -> None:
        for portion in fence_portions(tuple(self._lost)):
            turn.send(self._leader, AttemptsLost(self._incarnation, portion))

    def _on_reported(self, message: RunnerReported, turn: Turn) -> None:
        progress: list[Progress] = []
        for it in message.reports:
            match it:
                case Outcome():
                    order = self._held.pop(it.fence, None)
                    if order is None and it.fence not in self._lost:
                        continue
                    self._lost.pop(it.fence, None)  # it was on its way when this actor was made
                    self._ended.keep(it)
                    if order is not None and order is not _RESTORED:
                        self._learn(order, it)
                case Progress():
                    progress.append(it)
                case Freed():
                    self._stuck[it.kind] -= 1
                case Learned():
                    self._knows = max(self._knows, it.knows)
                case _:
                    assert_never(it)
        for portion in portions(progress, progress_size):
            turn.send(self._leader, AttemptsProgressed(portion))

    def _learn(self, order: Order, outcome: Outcome) -> None:
        """Keep a running mean of how long attempts of each kind take."""
        if outcome.stuck:
            self._stuck[order.kind] += 1
        if outcome.started_at and outcome.outcome != "unknown_target":
            took = max(1, outcome.ended_at - outcome.started_at)
            mean = self._mean_us.get(order.kind)
            self._mean_us[order.kind] = took if mean is None else mean + (took - mean) * WEIGHT

    def _on_recorded(self, message: Recorded) -> None:
        over = self._over
        if self._lost:
            for fence in message.fences:
                self._lost.pop(fence, None)
        self._ended.forget(message.fences)
        over.update(dict.fromkeys(message.fences))
        self._runner.forget(message.fences)
        if len(over) > 2 * REMEMBERED:
            self._over = dict.fromkeys(list(over)[-REMEMBERED:])

    def _on_withdraw(self, message: Withdraw, turn: Turn) -> None:
        """Give back what has not begun. The runner answers for each within moments; what still runs then has begun."""
        self._tell_lost(turn)
        wanted = tuple(fence for fence in message.fences if fence in self._held)
        strange = [fence for fence in message.fences if fence not in self._held and fence not in self._ended]
        begun = self._runner.begun(self._incarnation).fences if strange else frozenset()
        unknown = [fence for fence in strange if fence not in begun]
        self._over.update(dict.fromkeys(unknown))  # their orders may still be on their way
        self._runner.withdraw(wanted)
        asked = self._withdrawing.setdefault(message.key, {})  # it may be asked again before it is answered
        asked.update(dict.fromkeys(message.fences, False))
        asked.update(dict.fromkeys(unknown, True))
        turn.set_timer(f"withdraw/{message.key}", turn.elapsed + MILLISECOND, steady=True)

    def _on_take_stock(self, message: TakeStock, turn: Turn) -> None:
        """Tell a new leader what is here; first what has ended, as much as is sent at a time. The rest is held, so not lost.

        The offer comes after the outcomes: what they say of functions that are not known is no newer than it.
        """
        self._ended.send_again()
        self._send_ended(turn)
        self._offer(turn)
        marks = []
        for incarnation in message.incarnations:
            begun = self._runner.revoke(incarnation, message.revoke)
            marks.append(MarksRead(incarnation, begun.readable, tuple(sorted(begun.fences)), begun.dead, begun.revoked))
        left = tuple(self._runner.left()) if message.left else ()
        self._tell_lost(turn)
        node, incarnation = self._node, self._incarnation
        *parts, rest = [*fence_portions(sorted((*self._held, *self._ended)))] or [()]
        first = 0
        for part in parts:
            turn.send(self._leader, StockTaken(message.epoch, node, incarnation, part, (), first=first, last=part[-1]))
            first = part[-1] + 1
        turn.send(self._leader, StockTaken(message.epoch, node, incarnation, rest, tuple(marks), left, first=first))

    # ---- time -----------------------------------------------------------------------------------------------------------

    def _on_timer_fired(self, message: TimerFired, turn: Turn) -> None:
        if message.key == "long":
            self._on_long(turn)
        elif message.key == "resend":
            self._resending = False
            self._ended.send_again()
        elif message.key.startswith("withdraw/"):
            self._tell_withdrawn(message.key.removeprefix("withdraw/"), turn)

    def _tell_withdrawn(self, key: str, turn: Turn) -> None:
        """Say of each attempt that was to be given back what became of it."""
        held, asked = self._held, self._withdrawing.pop(key, {})
        for fences in fence_portions(tuple(asked)):
            unknown = tuple(fence for fence in fences if asked[fence])
            over = tuple(fence for fence in fences if not asked[fence] and fence not in held)
            begun = self._named(fence for fence in fences if fence in held)
            turn.send(self._leader, Withdrawn(key, begun, unknown, self._incarnation, over))

    def _on_long(self, turn: Turn) -> None:
        """Say of attempts that are held for a while that their functions were called; each once to a leader."""
        waiting = [fence for fence in self._seen if fence in self._held]
        begun = self._runner.begun(self._incarnation).fences if waiting else frozenset()
        long = tuple(fence for fence in waiting if fence in begun)
        for portion in fence_portions(self._named(long)):
            turn.send(self._leader, AttemptsBegun(portion))
        self._told = dict.fromkeys(fence for fence in (*self._told, *long) if fence in self._held)
        self._seen = [fence for fence in self._held if fence not in self._told]
        self._watching = False
        if self._seen:
            self._watch(turn)

    def _named(self, fences: Iterable[int]) -> tuple[tuple[int, int], ...]:
        """Attempts as the coordinator finds them: run and fence."""
        return tuple((self._held[fence].run_id, fence) for fence in fences)

    # ---- room -----------------------------------------------------------------------------------------------------------

    def _room(self) -> dict[str, int]:
        room: dict[str, int] = {}
        for kind in EXECUTOR_KINDS:
            places = max(0, self._runner.capacity.of(kind) - self._stuck[kind])
            mean = self._mean_us.get(kind)
            ahead = 0 if mean is None else min(MAX_AHEAD, int(places * AHEAD_US / mean))
            room[kind] = places + ahead
        return room

    def _offer(self, turn: Turn) -> None:
        self._offered, self._offered_knows = self._room(), self._knows
        offer = Offer(
            self._node,
            self._incarnation,
            self._offered,
            self._runner.capacity,
            self._labels,
            self._resources,
            self._offered_knows,
        )
        turn.send(self._leader, offer)


_RESTORED: Final = Order(0, 0, 0, "", "", "thread", "", b"")
"""Stands for an order that an earlier executor actor of this node had taken."""
