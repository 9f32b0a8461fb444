"""What the leader remembers of the runs that have not ended: the book of live runs, and the queues of those that are ready."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Final

from ..actor import MINUTE, SECOND, Address
from ..lifecycle import check_move
from ..portions import command_size
from ..records import ExecutorKind, Job, Run, RunState
from .places import Needs, Place

JobKey = tuple[str, str]
Rank = tuple[int, int]
"""How urgent a run is, less is more."""

PRIORITY_STEP_US: Final = MINUTE
"""Waiting this long is worth one step of priority, so the lowest priority starts within a stated bound."""


MOMENT_US: Final = SECOND
"""So long who has just become ready may be on its way to its place, although its start deadline passes, or has passed."""

LARGE_BYTES: Final = 4 * 1024
"""Orders of so many bytes are counted on their way; those below cannot fill a line."""


class Live:
    """A run that has not ended.

    `next_at` is the instant before which nothing of it begins: said at submit, or a retry's wait. `attempts` and `crashes` are
    spent ones; `fence` names the attempt in hand, 0 when none is, and `place` is where it is. It was queued at `ready_at`, and
    has waited for the attempt in hand `since` (0: not yet). It begins when it neither `waits` for upstreams nor stands behind
    `gates`, which are runs of hooks and earlier runs of its job.
    """

    __slots__ = (
        "attempts",
        "begun",
        "crashes",
        "fence",
        "gates",
        "handed",
        "job",
        "load",
        "look_at",
        "next_at",
        "node",
        "place",
        "ready_at",
        "reason",
        "run",
        "since",
        "state",
        "ticket",
        "waits",
        "watchers",
    )

    def __init__(self, run: Run, job: Job, state: RunState, reason: str = "") -> None:
        self.run = run
        self.job = job
        self.state = state
        self.reason = reason
        self.look_at: int | None = None
        self.next_at = run.not_before if run.not_before > run.created_at else 0
        self.attempts = 0
        self.crashes = 0
        self.fence = 0
        self.node = ""
        self.place: Place | None = None
        self.begun = False
        self.load = 0
        self.ready_at = 0
        self.since = 0
        self.ticket = 0
        self.waits = False
        self.gates = 0
        self.handed: tuple[bytes, ...] = ()
        self.watchers: tuple[Address, ...] = ()

    def move(self, state: RunState, reason: str = "", look_at: int | None = None) -> None:
        """Go to another state, by a legal move, with the reason why it is not further and when somebody looks again."""
        check_move(self.run.run_id, self.state, state)
        self.state = state
        self.reason = reason
        self.look_at = look_at

    def weigh(self, place: Place) -> None:
        """Count a large order as on its way to a place."""
        size = len(self.run.arguments or self.job.arguments) + sum(map(len, self.handed))
        if self.job.command is not None:
            size += command_size(self.job.command)
        if size >= LARGE_BYTES:
            self.load = size
            place.loading += size

    def arrive(self) -> None:
        """The order in hand is not on its way any more."""
        if self.load and self.place is not None:
            self.place.loading -= self.load
            self.load = 0

    @property
    def has_begun(self) -> bool:
        """Whether an attempt of it has begun and ended: each that did leaves an instant before which the next may not begin."""
        return self.next_at not in (0, self.run.not_before)

    def wait_until(self, at: int) -> None:
        """After an attempt that has begun: let the next begin at `at`, at the soonest."""
        # an instant that differs from the first, so that whoever rebuilds knows by it that an attempt has begun
        self.next_at = at + 1 if at == self.run.not_before else at
        self.since = 0

    def wait(self, now: int, *, was_blocked: bool) -> None:
        """It is ready. What came back unspent, was parked or paused, or was read from the store has waited before."""
        self.ready_at = now
        if not self.since:
            self.since = now if was_blocked else min(now, self.next_at or self.run.created_at)

    def is_late(self, now: int) -> bool:
        """Whether its deadline for all attempts has passed: nothing of it begins any more."""
        return self.job.run_deadline_us is not None and now >= self.run.created_at + self.job.run_deadline_us

    @property
    def start_by(self) -> int | None:
        """The instant by which its first attempt must have begun; None when there is none, or it has."""
        if self.job.start_deadline_us is None or self.has_begun:
            return None
        return max(self.run.created_at, self.run.not_before) + self.job.start_deadline_us

    @property
    def place_by(self) -> int | None:
        """The instant by which it must have a place: `start_by`; a moment is left to what was ready later than it might have been."""
        waited_for = max(self.run.created_at, self.run.not_before) < self.since
        return self.begin_by if waited_for else self.start_by

    @property
    def begin_by(self) -> int | None:
        """The instant by which what was handed out must have begun: `start_by`, or a moment after it became ready."""
        start_by = self.start_by
        return None if start_by is None else max(start_by, self.since + MOMENT_US)

    @property
    def key(self) -> JobKey:
        """The job's tenant and name."""
        return (self.run.tenant, self.run.job)


class Ready:
    """Runs that wait for a place, most urgent first.

    Urgency is the priority, raised by waiting: one step a minute. So the rank of a run, since when it waits less its priority in
    minutes, never changes, and among runs of one priority the first that came has the best. A retry goes a step behind first
    attempts of its priority. What wants the same of an executor has a lane for every priority (and one for its retries), a heap
    by rank; the most urgent run is the best of the lanes' heads.
    """

    def __init__(self) -> None:
        self._lanes: dict[Needs, dict[int, list[_Entry]]] = {}
        self._ticket = 0

    def push(self, live: Live, needs: Needs) -> None:
        """Queue a run that has just become ready."""
        self._ticket += 1
        live.ticket = self._ticket
        steps = live.run.priority - 1 if live.attempts else live.run.priority
        lanes = self._lanes.get(needs)
        if lanes is None:
            lanes = self._lanes[needs] = {}
        number = steps * 2 + 1 if live.attempts else steps * 2
        lane = lanes.get(number)
        if lane is None:
            lane = lanes[number] = []
        heappush(lane, (live.since - steps * PRIORITY_STEP_US, self._ticket, live))

    def pop(self, needs: Needs) -> Live | None:
        """Take the most urgent run of these needs that is still ready."""
        number = self._best_lane(needs)
        if number is None:
            return None
        lane = self._lanes[needs][number]
        live = heappop(lane)[2]
        if not lane:
            self._drop(needs, number)
        return live

    def first(self, needs: Needs) -> Live | None:
        """The most urgent run of these needs that is still ready; it stays queued."""
        number = self._best_lane(needs)
        return None if number is None else self._lanes[needs][number][0][2]

    def _best_lane(self, needs: Needs) -> int | None:
        """The lane whose head is the most urgent run; what is not ready any more is thrown out before."""
        lanes = self._lanes.get(needs)
        while lanes:
            number, lane = next(iter(lanes.items())) if len(lanes) == 1 else min(lanes.items(), key=_head)
            if _is_ready(lane[0]):
                return number
            heappop(lane)
            if not lane:
                self._drop(needs, number)
        return None

    def _drop(self, needs: Needs, number: int) -> None:
        lanes = self._lanes[needs]
        del lanes[number]
        if not lanes:
            del self._lanes[needs]

    def __bool__(self) -> bool:
        """Whether anything may be queued."""
        return bool(self._lanes)

    def waiting(self, kind: ExecutorKind) -> list[Needs]:
        """The different needs of this kind for which anything may be queued."""
        return [needs for needs in self._lanes if needs.kind == kind]

    def with_target(self) -> list[Needs]:
        """The different needs that name a function for which anything may be queued."""
        return [needs for needs in self._lanes if needs.target]

    def with_resources(self) -> list[Needs]:
        """The different needs of resources for which anything may be queued, the most urgent first."""
        return sorted((needs for needs in self._lanes if needs.resources), key=self.rank)

    def rank(self, needs: Needs) -> Rank:
        """How urgent the most urgent run of these is, less is more; what is not ready any more counts until `first` is asked."""
        return min(map(_head, self._lanes[needs].items()))

    def tidy(self) -> None:
        """Throw out what is no longer ready."""
        ready = RunState.READY
        for needs, lanes in list(self._lanes.items()):
            kept: dict[int, list[_Entry]] = {}
            for number, lane in lanes.items():
                # in line, because all that waits is looked at here in one turn
                still = [entry for entry in lane if entry[2].ticket == entry[1] and entry[2].state is ready]
                if len(still) < len(lane):
                    heapify(still)
                if still:
                    kept[number] = still
            if kept:
                self._lanes[needs] = kept
            else:
                del self._lanes[needs]


_Entry = tuple[int, int, Live]
"""Rank, ticket, run. A run whose ticket has changed was queued anew, or is not ready any more."""


def _head(lane: tuple[int, list[_Entry]]) -> tuple[int, int]:
    rank, ticket, _ = lane[1][0]
    return rank, ticket


def _urgency(live: Live) -> int:
    return live.since - live.run.priority * PRIORITY_STEP_US


def _is_ready(entry: _Entry) -> bool:
    _, ticket, live = entry
    return live.ticket == ticket and live.state is RunState.READY


class Book:
    """All live runs, by number, by job, and those of groups by their job's name."""

    def __init__(self) -> None:
        self.live: dict[int, Live] = {}
        self.by_job: dict[JobKey, dict[int, Live]] = {}
        self.by_group: dict[tuple[str, str, str], int] = {}
        self.ready = Ready()
        self.parked: dict[int, Live] = {}
        self.gated: dict[int, list[int]] = {}
        self._aside: dict[JobKey, dict[int, Live]] = {}

    def enter(self, live: Live) -> None:
        """Add a run."""
        run = live.run
        self.live[run.run_id] = live
        key = (run.tenant, run.job)
        runs = self.by_job.get(key)
        if runs is None:
            self.by_job[key] = {run.run_id: live}
        else:
            runs[run.run_id] = live
        if run.group:
            self.by_group[(run.tenant, run.group, run.job)] = run.run_id

    def leave(self, live: Live) -> None:
        """Remove a run that has ended, or that was never stored."""
        run = live.run
        del self.live[run.run_id]
        self.parked.pop(run.run_id, None)
        key = (run.tenant, run.job)
        if self._aside:
            self.take_aside(live)
        runs = self.by_job[key]
        del runs[run.run_id]
        if not runs:
            del self.by_job[key]
        if run.group:
            self.by_group.pop((run.tenant, run.group, run.job), None)

    def put_aside(self, live: Live) -> None:
        """Keep a run that is ready for when its job goes on, which is paused."""
        self._aside.setdefault(live.key, {})[live.run.run_id] = live

    def aside(self, key: JobKey) -> list[Live]:
        """The runs of a job that were put aside and have not ended, the most urgent first."""
        return sorted(self._aside.get(key, {}).values(), key=_urgency)

    def take_aside(self, live: Live) -> bool:
        """Keep a run aside no more; answers whether it was."""
        runs = self._aside.get(live.key, {})
        if runs.pop(live.run.run_id, None) is None:
            return False
        if not runs:
            del self._aside[live.key]
        return True

    def gate(self, live: Live, behind: int) -> None:
        """Let a run wait until run `behind` has ended."""
        live.gates += 1
        self.gated.setdefault(behind, []).append(live.run.run_id)

    def open_gates(self, ended: Live) -> Iterator[Live]:
        """The runs that waited for this one alone; one behind an earlier run of its job waits for those before that too."""
        for waiting in self.gated.pop(ended.run.run_id, ()):
            live = self.live.get(waiting)
            if live is None:
                continue
            if live.key == ended.key:
                first = self._first_slot_run(live.key)
                if first is not None and first.run.run_id < waiting:
                    self.gated.setdefault(first.run.run_id, []).append(waiting)
                    continue
            live.gates -= 1
            if not live.gates:
                yield live

    def _first_slot_run(self, key: JobKey) -> Live | None:
        return next((live for live in self.by_job.get(key, {}).values() if live.run.slot is not None), None)

    def last_slot_run(self, key: JobKey) -> Live | None:
        """The newest live run of a job that a slot made."""
        runs = self.by_job.get(key)
        if runs is None:
            return None
        return next((live for live in reversed(runs.values()) if live.run.slot is not None), None)

    def count(self, key: JobKey) -> int:
        """The number of live runs of a job."""
        return len(self.by_job.get(key, ()))

    def last_own_run(self, key: JobKey, mark: int) -> Live | None:
        """The newest live run that a job's own slots made, or, if another job's did, that stands for its slot at `mark`."""
        runs = self.by_job.get(key, {})
        return next(
            (live for live in reversed(runs.values()) if live.run.cause == "slot" or live.run.slot == mark), None
        )

    def oldest(self) -> int | None:
        """The least number of a live run; None when nothing lives. Numbers are entered in ascending order."""
        return next(iter(self.live), None)
