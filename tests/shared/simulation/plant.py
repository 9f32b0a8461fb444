"""Bugs planted on purpose, by name. A simulation that does not find each of them is too weak.

Those that only a cluster can have are in `simulation.cluster_plant`, those of deadlines and upstreams in `simulation.word_plant`.

A plant patches a class of the actors, or of the simulated world below them, while a world runs. Each names the invariants of
which one must find it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from msgspec import structs

from callsheet.actors.clock import clock
from callsheet.actors.coordinator import admission, attempts, followup, leadership, rebuild, reign, request
from callsheet.actors.coordinator.batch import Batch
from callsheet.actors.coordinator.book import Live
from callsheet.actors.dependencies import dependencies
from callsheet.actors.executor import executor
from callsheet.actors.messages import CancelLive, JobHeld, RunsCreated
from callsheet.actors.metrics import metrics
from callsheet.actors.persistence import persistence
from callsheet.actors.persistence.store import AdvanceJob
from callsheet.actors.records import End, RunState
from callsheet.actors.registry import announcement, inquiry
from callsheet.actors.schedule import step_job
from simulation import disk, runner
from simulation.cluster_plant import CLUSTER_PLANTS
from simulation.planting import Plant, replaced
from simulation.word_plant import WORD_PLANTS


def _ack_before_commit(send_batch: Any) -> Any:
    def planted(self: Any, turn: Any) -> None:
        for admitted in self.reign.batch.admitted:
            turn.send(admitted.client, admission.accepted(admitted, True, {}))
        send_batch(self, turn)

    return planted


def _no_fence(on_attempts_ended: Any) -> Any:
    def planted(self: Any, message: Any, turn: Any) -> None:
        for outcome in message.outcomes:
            live = self._reign.book.live.get(outcome.run_id)
            if live is not None and live.fence:
                live.fence = outcome.fence
        on_attempts_ended(self, message, turn)

    return planted


def _stale_epoch(write: Any) -> Any:
    def planted(self: Any, group: Any, turn: Any) -> None:
        write(self, [(sender, structs.replace(save, epoch=self._epoch)) for sender, save in group], turn)

    return planted


def _stale_saves_kept(on_take_lease: Any) -> Any:
    def planted(self: Any, message: Any, turn: Any) -> None:
        saves = list(self._saves)
        on_take_lease(self, message, turn)
        self._saves.extend(saves)

    return planted


@contextmanager
def _any_epoch() -> Iterator[None]:
    owner = persistence.Persistence
    with (
        patch.object(owner, "_write", _stale_epoch(owner._write)),
        patch.object(owner, "_on_take_lease", _stale_saves_kept(owner._on_take_lease)),
    ):
        yield


def _lost_retried(crashed: Any) -> Any:
    def planted(self: Any, live: Live, outcome: Any, now: int) -> None:
        live.job = structs.replace(live.job, delivery="at_least_once", max_crashes=9)
        crashed(self, live, outcome, now)

    return planted


def _marks_ignored(begun: Any) -> Any:
    def planted(self: Any, incarnation: str) -> Any:
        return structs.replace(begun(self, incarnation), readable=False)

    return planted


def _without_advances(writes: Any) -> Any:
    def planted(self: Any, *arguments: Any) -> Any:
        return tuple(write for write in writes(self, *arguments) if not isinstance(write, AdvanceJob))

    return planted


def _never_resent(on_timer_fired: Any) -> Any:
    def planted(self: Any, message: Any, turn: Any) -> None:
        if message.key != "resend":
            on_timer_fired(self, message, turn)

    return planted


def _pause_said_early(fetch_back: Any) -> Any:
    def planted(self: Any, message: Any, turn: Any) -> None:
        turn.reply(JobHeld(message.key))

    return planted


def _first_success(verdict: Any) -> Any:
    def planted(after: Any, members: Any, gone: Any) -> Any:
        done = [members[name] for name in after if name in members and members[name].state is RunState.SUCCEEDED]
        return tuple(member.result for member in done) if done else verdict(after, members, gone)

    return planted


def _tokens_ignored(on_admit: Any) -> Any:
    def planted(self: Any, message: Any, turn: Any) -> None:
        drafts = tuple(structs.replace(draft, token=None) for draft in message.drafts)
        on_admit(self, structs.replace(message, drafts=drafts), turn)

    return planted


def _cancelled_afterwards(on_cancel: Any) -> Any:
    def planted(self: Any, message: Any, turn: Any) -> None:
        if message.run_id not in self._reign.book.live:
            self._reign.batch.ends.append(End(message.run_id, RunState.CANCELLED, turn.now))
        on_cancel(self, message, turn)

    return planted


def _too_early(step_job: Any) -> Any:
    def planted(job: Any, schedule: Any, mark: int, fires: int, now: int) -> Any:
        return step_job(job, schedule, mark, fires, now + 2_000_000)

    return planted


def _no_wait(make_ready: Any) -> Any:
    def planted(self: Any, live: Live, *arguments: Any, **named: Any) -> None:
        live.next_at = 0
        make_ready(self, live, *arguments, **named)

    return planted


def _never_slow(write: Any) -> Any:
    def planted(self: Any, *arguments: Any) -> Any:
        answer = write(self, *arguments)
        self.slow_us = 0
        return answer

    return planted


def _unordered(evaluate: Any) -> Any:
    """Visit the members of a group as a set of texts would: in another order under another hash seed."""

    def planted(self: Any, key: Any, turn: Any, jobs: Any = None) -> None:
        group = self._groups.get(key)
        if group is not None:
            group.members = {name: group.members[name] for name in frozenset(group.members)}
        evaluate(self, key, turn, None if jobs is None else frozenset(jobs))

    return planted


def _another_fence(order: Any) -> Any:
    """Order under a fence that was not claimed, now and then."""

    def planted(live: Live) -> Any:
        made = order(live)
        return structs.replace(made, fence=made.fence + (zlib.crc32(b"%d" % made.fence) % 7 == 0))

    return staticmethod(planted)


def _counted_twice(receive: Any) -> Any:
    def planted(self: Any, message: Any, turn: Any) -> None:
        receive(self, message, turn)
        if isinstance(message, RunsCreated):
            receive(self, message, turn)

    return planted


def _asked_nobody(self: Any, client: str, message: Any, turn: Any) -> None:
    """Pass a cancel on without asking the store whether the run has ended."""
    turn.send("coordinator", CancelLive(message.key, client, message.run_id, message.reason))


@contextmanager
def _final_overwritten() -> Iterator[None]:
    owner = request.Requests
    with (
        patch.object(owner, "on_cancel", _cancelled_afterwards(owner.on_cancel)),
        patch.object(inquiry.Inquiries, "on_cancel_run", _asked_nobody),
    ):
        yield


@contextmanager
def _mark_after_call() -> Iterator[None]:
    over = runner.SimulatedRunner._over

    def late(self: Any, live: Any, ends: Any) -> None:
        self._marks.add(live.order.fence)
        over(self, live, ends)

    with (
        patch.object(runner.SimulatedRunner, "mark", lambda self, order: None),
        patch.object(runner.SimulatedRunner, "_over", late),
    ):
        yield


@contextmanager
def _pauses_forgotten() -> Iterator[None]:
    on_found = rebuild.Rebuild.on_found

    def planted(self: Any, message: Any, turn: Any) -> None:
        on_found(self, message, turn)
        self._reign.held.clear()

    with patch.object(rebuild.Rebuild, "on_found", planted):
        yield


_ALL: Final = (
    Plant("ack_before_commit", replaced(leadership.Leadership, "_send_batch", _ack_before_commit), ("15",)),
    Plant("answers_before_sync", replaced(disk.DiskStore, "_write", _never_slow), ("15", "8")),
    Plant(
        "no_fence",
        replaced(attempts.Attempts, "on_attempts_ended", _no_fence),
        ("4", "5", "6", "7", "8", "12", "15"),
        "faults=local+store+mailbox,faulty_s=40,actions=submit",
    ),
    Plant(
        "wrong_fence",
        lambda: patch.object(attempts.Attempts, "_order", _another_fence(attempts.Attempts._order)),
        ("4", "8"),
    ),
    Plant("stale_epoch", _any_epoch, ("2",), "faults=local+actor+store+mailbox,faulty_s=40"),
    Plant("lost_retried", replaced(attempts.Attempts, "crashed", _lost_retried), ("4",)),
    Plant("marks_ignored", replaced(runner.SimulatedRunner, "begun", _marks_ignored), ("15",)),
    Plant("mark_after_call", _mark_after_call, ("4", "5", "7", "8")),
    Plant(
        "mark_not_moved",
        lambda: patch.object(Batch, "writes", _without_advances(Batch.writes)),
        ("3", "18"),
    ),
    Plant("delay_not_armed", lambda: patch.object(reign.Reign, "arm_after", lambda self, *arguments: None), ("18",)),
    Plant(
        "due_not_sent_again",
        replaced(clock.Clock, "_on_timer_fired", _never_resent),
        ("16", "18"),
        "faults=mailbox,faulty_s=30",
    ),
    Plant(
        "jobs_not_said_again",
        lambda: patch.object(announcement.Announcements, "on_timer", lambda self, turn: None),
        ("18", "20"),
        "faults=mailbox,actions=reschedule+remove+edit,faulty_s=40",
    ),
    Plant("pause_said_early", replaced(request.Requests, "_fetch_back", _pause_said_early), ("10",)),
    Plant("pauses_forgotten", _pauses_forgotten, ("10", "22")),
    Plant(
        "retried_for_ever",
        lambda: patch.object(attempts, "is_retried", lambda retry, spent, error: retry is not None),
        ("7",),
    ),
    Plant(
        "first_success_unblocks",
        lambda: patch.object(dependencies, "_verdict", _first_success(dependencies._verdict)),
        ("12",),
    ),
    Plant("tokens_ignored", replaced(admission.Admission, "on_admit", _tokens_ignored), ("15",)),
    Plant("final_overwritten", _final_overwritten, ("6",)),
    Plant("slots_early", lambda: patch("callsheet.actors.clock.clock.step_job", _too_early(step_job)), ("9",)),
    Plant("waits_skipped", replaced(reign.Reign, "make_ready", _no_wait), ("9",)),
    Plant("overlap_ignored", lambda: patch.object(admission.Admission, "_running", lambda self, key: None), ("11",)),
    Plant(
        "never_forgotten", lambda: patch.object(executor.Executor, "_on_recorded", lambda self, message: None), ("16",)
    ),
    Plant("counted_twice", replaced(metrics.Metrics, "receive", _counted_twice), ("17",)),
    Plant(
        "ends_not_told",
        lambda: patch.object(followup.Followup, "_tell_dependencies", lambda self, batch, turn: None),
        ("12", "19", "16"),
    ),
    Plant("set_iterated", replaced(dependencies.Dependencies, "_evaluate", _unordered), ("determinism",)),
)
PLANTS: Final = {plant.name: plant for plant in _ALL} | CLUSTER_PLANTS | WORD_PLANTS
"""All plants. `set_iterated` is found by comparing digests under different hash seeds, the others by an invariant."""


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Plant a bug for a while; no name, no bug."""
    if not name:
        yield
        return
    with PLANTS[name].make():
        yield
