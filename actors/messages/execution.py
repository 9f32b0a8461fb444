"""Messages between the coordinator and the executors."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ..executor.runner import Capacity, Order, Outcome, Progress, Reported, StopReason

ALL_FENCES: Final = 2**63 - 1
"""No fence is greater."""


class Offer(Struct, frozen=True, tag="offer"):
    """What a node can take, by kind: how many attempts may be with it at once (its places, and a little ahead for short work).

    `labels` are what it has that others may not; `resources` what its attempts share, in whole units of each. `knows` grows when
    it has learned functions: what it answered `unknown_target` for may be tried again.
    """

    node: str
    incarnation: str
    room: dict[str, int]
    capacity: Capacity
    labels: tuple[str, ...] = ()
    resources: dict[str, int] = {}
    knows: int = 0


class Assign(Struct, frozen=True, tag="assign"):
    """Run these attempts; they are claimed for this incarnation, durably. Idempotent by fence.

    What was meant for another life of the node is dropped (as of `StopAttempts` and `Withdraw`); an empty name means any.
    """

    epoch: int
    orders: tuple[Order, ...]
    incarnation: str = ""


class StopAttempts(Struct, frozen=True, tag="stop_attempts"):
    """End these attempts. Idempotent by fence; each is answered in `AttemptsEnded`."""

    epoch: int
    fences: tuple[int, ...]
    reason: StopReason
    grace_us: int
    incarnation: str = ""


class Withdraw(Struct, frozen=True, tag="withdraw"):
    """Give back those of these that have not begun; answered by `AttemptsEnded` (`not_started`) and then `Withdrawn(key)`."""

    epoch: int
    key: str
    fences: tuple[int, ...]
    incarnation: str = ""


class Withdrawn(Struct, frozen=True, tag="withdrawn"):
    """What had not begun was given back; the others, `begun` (run and fence), go on.

    `unknown` fences never came here, and will not begin if they come now. `over` are those that were given back or have ended.
    So each fence that was asked for is in one of the three, of this message or of another under this key. `incarnation` is who
    says so.
    """

    key: str
    begun: tuple[tuple[int, int], ...]
    unknown: tuple[int, ...] = ()
    incarnation: str = ""
    over: tuple[int, ...] = ()


class AttemptsBegun(Struct, frozen=True, tag="attempts_begun"):
    """The functions of these attempts (run and fence) were called a while ago and still run."""

    begun: tuple[tuple[int, int], ...]


class AttemptsEnded(Struct, frozen=True, tag="attempts_ended"):
    """How attempts ended. Sent again until `Recorded` names their fences."""

    node: str
    outcomes: tuple[Outcome, ...]


class RunnerReported(Struct, frozen=True, tag="runner_reported"):
    """What the runner tells its executor: outcomes, progress, places that are free again, that it has learned functions."""

    reports: tuple[Reported, ...]


class AttemptsLost(Struct, frozen=True, tag="attempts_lost"):
    """The functions of these attempts were called, and how they ended is known to nobody: the executor that knew has failed.

    Said whenever they are spoken of, until `Recorded` names them.
    """

    incarnation: str
    fences: tuple[int, ...]


class AttemptsProgressed(Struct, frozen=True, tag="attempts_progressed"):
    """How far running attempts say they are."""

    progress: tuple[Progress, ...]


class Recorded(Struct, frozen=True, tag="recorded"):
    """These outcomes are durable, or of no more interest: forget them and their marks."""

    fences: tuple[int, ...]


class TakeStock(Struct, frozen=True, tag="take_stock"):
    """Tell what you hold, and what the marks of these other incarnations say.

    `revoke` not 0: first see to it that none of them begins what it was given under a fence up to this one. `left`: tell also
    of whom marks are left.
    """

    epoch: int
    incarnations: tuple[str, ...] = ()
    revoke: int = 0
    left: bool = False


class MarksRead(Struct, frozen=True, gc=False, array_like=True):
    """What the marks of an incarnation say; where `readable` is false, what was claimed counts as begun.

    `dead` only if its process certainly is; one that lives may set more marks, but for fences up to `revoked`.
    """

    incarnation: str
    readable: bool
    fences: tuple[int, ...]
    dead: bool = False
    revoked: int = 0


class StockTaken(Struct, frozen=True, tag="stock_taken"):
    """What an executor holds: fences it was given and that have not ended, and outcomes that are not recorded yet.

    Who holds many says so in parts, in ascending order: `held` is complete for the fences from `first` to `last`, so that parts
    of two answers never make a gap. The last part has the rest. `marks` are as long as they are: only the own node asks for them.
    `left`, if it was asked for: the incarnations that certainly are dead, and have left marks where this executor can read them.
    """

    epoch: int
    node: str
    incarnation: str
    held: tuple[int, ...]
    marks: tuple[MarksRead, ...]
    left: tuple[str, ...] = ()
    first: int = 0
    last: int = ALL_FENCES


class ClearMarks(Struct, frozen=True, tag="clear_marks"):
    """What these, who are dead, had begun is dealt with, durably: their marks may go. Nobody else's: they may be needed yet."""

    incarnations: tuple[str, ...] = ()
