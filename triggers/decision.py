"""What becomes of the slots that have passed.

A mark divides the slots of a job: up to it all are decided, beyond it none. Whoever wakes, begins to lead or resumes
calls `decide`, stores the decisions, their runs and the new mark in one transaction, and arms the next slot. The
ordinary fire is the same call with one slot to decide.

    decided ────┤ mark        slots with due <= now             ├──── next ────▶
                └─ late: SKIPPED_LATE ─┬─ the rest: by catchup ─┘

- The slots that have passed are exactly the first ones after the mark, for the due times of a schedule keep the order
  of its instants (see `schedule`). So each slot is decided once, by whichever call first finds it due.
- Slots are counted, not listed. A kind with at most `max_catchup` slots in one call is told slot by slot; of more,
  each unbroken row is one Decision with its first, last and count. Rows are broken by excluded days.
- Under `all`, one call fires at most `max_catchup` slots, oldest first, and moves the mark only past these. The next
  slot is then due already, so whoever arms it comes back at once for the next batch: that is the pace.
- A clock set back finds no slot that has passed and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Final, Literal, NamedTuple

import msgspec

from .errors import TriggerError
from .instant import DAY_US, MINUTE_US
from .schedule import Schedule, Slot

MIN_WINDOW_US: Final = 5 * MINUTE_US
MAX_WINDOW_US: Final = DAY_US
# Up to this lateness a slot is on time, not missed: a jump of the clock by more counts as downtime.
DOWNTIME_US: Final = MINUTE_US
MAX_CATCHUP: Final = 100
MAX_MAX_CATCHUP: Final = 100_000


class DecisionKind(StrEnum):
    """What became of a slot. Those that `decide` does not give are given further on, when the run would start."""

    FIRED = "FIRED"
    COALESCED_INTO = "COALESCED_INTO"
    SKIPPED_OVERLAP = "SKIPPED_OVERLAP"
    SKIPPED_LATE = "SKIPPED_LATE"
    SKIPPED_CATCHUP = "SKIPPED_CATCHUP"
    SKIPPED_PAUSED = "SKIPPED_PAUSED"
    SKIPPED_CALENDAR = "SKIPPED_CALENDAR"
    SKIPPED_QUOTA = "SKIPPED_QUOTA"
    DROPPED_BUFFER_FULL = "DROPPED_BUFFER_FULL"


class CatchUp(msgspec.Struct, frozen=True):
    """What to do about slots that were missed.

    policy: `latest` fires the last and coalesces the others into it; `earliest` the first; `all` fires each, oldest
    first; `none` fires only what is at most a minute late, and of that the last.
    window_us: a slot later than this is SKIPPED_LATE. None: one period (from the last slot that has passed to the
    next), at least 5 minutes, at most 24 hours.
    max_catchup: how many slots are fired by one call, and how many of a kind are listed singly.
    """

    policy: Literal["latest", "earliest", "all", "none"] = "latest"
    window_us: int | None = None
    max_catchup: int = MAX_CATCHUP

    def __post_init__(self) -> None:
        if self.policy not in ("latest", "earliest", "all", "none"):
            raise TriggerError(f"catchup must be 'latest', 'earliest', 'all' or 'none'; {self.policy!r} was given")
        if self.window_us is not None and self.window_us < 0:
            raise TriggerError(f"catchup_window must not be negative; {self.window_us} µs was given")
        if not 1 <= self.max_catchup <= MAX_MAX_CATCHUP:
            raise TriggerError(f"max_catchup must be from 1 to {MAX_MAX_CATCHUP}; {self.max_catchup} was given")


class Decision(msgspec.Struct, frozen=True):
    """One decision, for one slot (first == last, count 1) or an unbroken row of slots.

    first, last: instants, µs UTC. into: the slot that took these over, for COALESCED_INTO, else None.
    """

    kind: DecisionKind
    first: int
    last: int
    count: int = 1
    into: int | None = None


class Missed(msgspec.Struct, frozen=True):
    """The answer of `decide`: the decisions oldest first (empty when no slot has passed), the new mark, the next slot.

    next is None when the trigger has no further slot. It may be due already (see `all`).
    """

    decisions: tuple[Decision, ...]
    mark: int
    next: Slot | None


class _Row(NamedTuple):
    """Slots in an unbroken row."""

    first: int
    last: int
    size: int
    excluded: bool


DEFAULT: Final = CatchUp()


def decide(schedule: Schedule, mark: int, now: int, policy: CatchUp = DEFAULT, *, paused: bool = False) -> Missed:
    """Decide every slot that has passed: its instant is after `mark` and it is due at `now` (µs UTC).

    paused: the job was paused all the while; everything is SKIPPED_PAUSED.
    """
    first = schedule.next_instant(mark)
    if first is None:
        return Missed((), mark, None)
    if schedule.due(first) > now:
        return Missed((), mark, schedule.slot(first))
    last = first
    following = schedule.next_instant(first)
    if following is not None and schedule.due(following) <= now:
        last = schedule.last_due(following, now)
        following = schedule.next_instant(last)
    if paused:
        row = _Row(first, last, 1 if first == last else schedule.count(mark, last), False)
        decisions = [_decision(DecisionKind.SKIPPED_PAUSED, row)]
    else:
        window = _window(last, following) if policy.window_us is None else policy.window_us
        if first == last:
            decisions = [Decision(_decide_one(schedule, first, now, window, policy), first, first)]
        else:
            decisions, decided = _decide_many(schedule, mark, first, last, now, window, policy)
            if decided != last:
                last, following = decided, schedule.next_instant(decided)
    upcoming = None if following is None else schedule.slot(following)
    if len(decisions) > 1 or decisions[0].count > 1:
        decisions = _listed(schedule, decisions, policy.max_catchup)
    return Missed(tuple(decisions), last, upcoming)


def _window(last: int, following: int | None) -> int:
    if following is None:
        return MAX_WINDOW_US
    return min(max(following - last, MIN_WINDOW_US), MAX_WINDOW_US)


def _decide_one(schedule: Schedule, instant: int, now: int, window: int, policy: CatchUp) -> DecisionKind:
    """Decide the only slot that has passed: the ordinary fire."""
    late = now - schedule.due(instant)
    if schedule.excluded(instant) is not None:
        return DecisionKind.SKIPPED_CALENDAR
    if late > window:
        return DecisionKind.SKIPPED_LATE
    if late > DOWNTIME_US and policy.policy == "none":
        return DecisionKind.SKIPPED_CATCHUP
    return DecisionKind.FIRED


def _decide_many(
    schedule: Schedule, mark: int, first: int, last: int, now: int, window: int, policy: CatchUp
) -> tuple[list[Decision], int]:
    """Return the decisions about (mark, last], and the last slot they cover."""
    decisions: list[Decision] = []
    start = mark
    oldest = now - window
    if schedule.due(first) < oldest:
        start = schedule.last_due(first, oldest - 1)
        decisions = [_plain(row, DecisionKind.SKIPPED_LATE) for row in _rows(schedule, mark, start)]
        start = decisions[-1].last
    rows = list(_rows(schedule, start, last))
    if not rows:
        return decisions, start
    last = rows[-1].last
    if policy.policy == "all":
        fired, last = _fire_all(schedule, rows, policy.max_catchup)
        return decisions + fired, last
    chosen = _chosen(schedule, rows, now, policy)
    for row in rows:
        decisions.extend(_around(schedule, row, chosen, policy))
    return decisions, last


def _chosen(schedule: Schedule, rows: list[_Row], now: int, policy: CatchUp) -> int | None:
    """Return the one slot that fires, or None."""
    allowed = [row for row in rows if not row.excluded]
    if not allowed:
        return None
    if policy.policy == "earliest":
        return allowed[0].first
    latest = allowed[-1].last
    if policy.policy == "none" and now - schedule.due(latest) > DOWNTIME_US:
        return None
    return latest


def _around(schedule: Schedule, row: _Row, chosen: int | None, policy: CatchUp) -> Iterator[Decision]:
    """Decide one row: the chosen slot, which is its first or last if it is in it, fires; the others do not."""
    if policy.policy == "none":
        other, into = DecisionKind.SKIPPED_CATCHUP, None
    else:
        other, into = DecisionKind.COALESCED_INTO, chosen
    if row.excluded or chosen not in (row.first, row.last):
        yield _plain(row, other, into)
        return
    if chosen == row.last and row.size > 1:
        rest = schedule.latest_instant(row.first - 1, row.last - 1)
        assert rest is not None
        yield _plain(_Row(row.first, rest, row.size - 1, False), other, into)
    yield Decision(DecisionKind.FIRED, chosen, chosen)
    if chosen == row.first and row.size > 1:
        rest = schedule.next_instant(row.first)
        assert rest is not None
        yield _plain(_Row(rest, row.last, row.size - 1, False), other, into)


def _fire_all(schedule: Schedule, rows: list[_Row], most: int) -> tuple[list[Decision], int]:
    """Fire the oldest `most` slots; return the decisions and the last slot they cover."""
    decisions: list[Decision] = []
    last = rows[-1].last
    for row in rows:
        if row.excluded:
            decisions.append(_plain(row, DecisionKind.SKIPPED_CALENDAR))
            continue
        for instant in _instants(schedule, row):
            if most == 0:
                return decisions, decisions[-1].last
            decisions.append(Decision(DecisionKind.FIRED, instant, instant))
            most -= 1
        if decisions[-1].last != row.last:
            return decisions, decisions[-1].last  # a difference that ends within the row
    return decisions, last


def _rows(schedule: Schedule, after: int, last: int) -> Iterator[_Row]:
    """Yield the slots in (after, last] in rows that are wholly excluded or wholly not; `last` is a slot.

    A difference ends where it drops too many instants in a row, also when there are more behind them.
    """
    while after < last:
        first = schedule.next_instant(after)
        if first is None:
            return
        change = schedule.stretch_end(first)
        end: int | None = last
        if change is not None and change <= last:
            end = schedule.latest_instant(after, change - 1)
        assert end is not None
        size = 1 if first == end else schedule.count(after, end)
        yield _Row(first, end, size, schedule.excluded(first) is not None)
        after = end


def _plain(row: _Row, kind: DecisionKind, into: int | None = None) -> Decision:
    return _decision(DecisionKind.SKIPPED_CALENDAR, row) if row.excluded else _decision(kind, row, into)


def _decision(kind: DecisionKind, row: _Row, into: int | None = None) -> Decision:
    return Decision(kind, row.first, row.last, row.size, into)


def _listed(schedule: Schedule, decisions: list[Decision], most: int) -> list[Decision]:
    """Tell the rows of a kind slot by slot, where the kind has at most `most` slots."""
    totals: dict[DecisionKind, int] = {}
    for decision in decisions:
        totals[decision.kind] = totals.get(decision.kind, 0) + decision.count
    listed: list[Decision] = []
    for decision in decisions:
        if decision.count == 1 or totals[decision.kind] > most:
            listed.append(decision)
            continue
        row = _Row(decision.first, decision.last, decision.count, False)
        listed.extend(Decision(decision.kind, at, at, 1, decision.into) for at in _instants(schedule, row))
    return listed


def _instants(schedule: Schedule, row: _Row) -> Iterator[int]:
    instant: int | None = row.first
    while instant is not None and instant <= row.last:
        yield instant
        instant = schedule.next_instant(instant)
