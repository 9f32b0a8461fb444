"""Bugs that only a cluster can have, planted on purpose: see `simulation.plant`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from msgspec import structs

from callsheet.actors import stage
from callsheet.actors.coordinator import election, membership, reign, request, rescue, shutdown
from callsheet.actors.executor import executor
from callsheet.actors.messages import Lead, NodeStopped, Stop
from callsheet.actors.persistence.store import GetCounters
from callsheet.actors.registry import registry
from callsheet.triggers import cron_series
from simulation import disk, runner
from simulation.planting import Plant, replaced


def _commit_unfenced(commit: Any) -> Any:
    def planted(self: Any, writes: Any, *, epoch: int, holder: str, seq: int) -> Any:
        lease = self._disk.cache.lease()
        batch = tuple(writes)
        after = self._watcher.on_commit(batch, epoch)
        committed = self._write(
            lambda store: store.commit(batch, epoch=lease.epoch, holder=lease.holder, seq=seq), batch
        )
        after()
        return committed

    return planted


def _lease_unseen(take_lease: Any) -> Any:
    def planted(self: Any, holder: str, address: str, seen: Any) -> Any:
        found = self._disk.cache.lease()
        lease = self._write(lambda store: store.take_lease(holder, address, store.lease()))
        self._watcher.on_take_over(seen, found, lease)
        return lease

    return planted


def _suspicion_is_death(take_back: Any) -> Any:
    def planted(self: Any, place: Any, turn: Any) -> None:
        self.give_up(place, turn)

    return planted


def _rumour_is_death(inspect: Any) -> Any:
    def planted(self: Any, incarnations: Any, turn: Any) -> None:
        for incarnation in incarnations:
            place = self._reign.places.of(incarnation)
            if place is not None:
                self.give_up(place, turn)

    return planted


def _taken_without_revoking(take_back: Any) -> Any:
    def planted(self: Any, place: Any, turn: Any) -> None:
        for live in [live for live in self._at(place) if not live.begun]:
            self._attempts.give_back(live, turn.now)

    return planted


def _never_revoked(revoke: Any) -> Any:
    def planted(self: Any, incarnation: str, fence: int) -> Any:
        return structs.replace(self.begun(incarnation), revoked=fence)

    return planted


@contextmanager
def _old_orders_taken() -> Iterator[None]:
    """Neither the stage nor the executor looks at the epoch of what comes."""
    opened = stage.Stage.open

    def open_any(self: Any, envelope: Any) -> None:
        opened(self, structs.replace(envelope, epoch=0))

    def is_current(self: Any, epoch: int, turn: Any) -> bool:
        self._leader = turn.sender or self._leader
        return True

    with patch.object(stage.Stage, "open", open_any), patch.object(executor.Executor, "_is_current", is_current):
        yield


@contextmanager
def _read_before_taken() -> Iterator[None]:
    """A new leader goes on numbering from what it read when it last looked at the lease."""
    look, read = disk.DiskStore.lease, disk.DiskStore.read

    def lease(self: Any) -> Any:
        self.early = read(self, GetCounters())
        return look(self)

    def late(self: Any, question: Any) -> Any:
        return self.early if isinstance(question, GetCounters) and hasattr(self, "early") else read(self, question)

    with patch.object(disk.DiskStore, "lease", lease), patch.object(disk.DiskStore, "read", late):
        yield


def _any_life(is_for_me: Any) -> Any:
    def planted(self: Any, message: Any, turn: Any) -> bool:
        return bool(self._is_current(message.epoch, turn))

    return planted


def _first_answer_counts(on_withdrawn: Any) -> Any:
    def planted(self: Any, message: Any, turn: Any) -> None:
        holding = self._holding.get(message.key)
        if holding is not None:
            holding.waits_for.clear()
        on_withdrawn(self, message, turn)

    return planted


def _refuses_for_ever(receive: Any) -> Any:
    def planted(self: Any, message: Any, turn: Any) -> None:
        leader = self._leader
        receive(self, message, turn)
        if isinstance(message, Lead):
            self._leader = leader

    return planted


def _hints_answered(self: Any, epoch: int, node: str, address: str, turn: Any) -> None:
    if node and node != self.me.node and self.stance == "looking" and epoch >= self.leader.epoch:
        self._send_beat(f"coordinator@{node}", turn)


def _one_fold(following: Any) -> Any:
    """Take the hour that a clock has twice for one hour."""

    def planted(self: Any, after: int) -> Any:
        found = following(self, after)
        while found is not None and _is_second(self, found):
            found = following(self, found)
        return found

    return planted


def _is_second(series: Any, instant: int) -> bool:
    segment = series._zone.segment(instant)
    return bool(instant - segment.start < segment.before - segment.offset)


def _unsaved_is_nothing(receive: Any) -> Any:
    def planted(self: Any, message: Any, turn: Any) -> None:
        if isinstance(message, Stop) and not self._held:
            turn.reply(NodeStopped(self._node, 0))
        else:
            receive(self, message, turn)

    return planted


@contextmanager
def _parts_before_saved() -> Iterator[None]:
    """What has ended counts as nothing before it is stored, for the leader and for the executor."""
    receive = _unsaved_is_nothing(executor.Executor.receive)
    with (
        patch.object(reign.Reign, "in_hand", lambda self, place: place.busy()),
        patch.object(executor.Executor, "receive", receive),
    ):
        yield


def _last_word_counts(on_alone: Any) -> Any:
    """A node that nobody leads believes that it has nothing, without a look."""

    def planted(self: Any, turn: Any) -> None:
        self.on_nothing_left(turn, leads=False)

    return planted


def _never_closed(on_beat: Any) -> Any:
    def planted(self: Any, beat: Any, turn: Any) -> None:
        on_beat(self, structs.replace(beat, draining=False), turn)

    return planted


_ALL: Final = (
    Plant(
        "commit_unfenced", replaced(disk.DiskStore, "commit", _commit_unfenced), ("2",), "nodes=3,faults=freeze+pause"
    ),
    Plant(
        "lease_unseen",
        replaced(disk.DiskStore, "take_lease", _lease_unseen),
        ("1",),
        "nodes=3,faults=freeze+kill+actor",
    ),
    Plant(
        "suspicion_is_death",
        replaced(rescue.Rescue, "take_back", _suspicion_is_death),
        ("4", "5"),
        "nodes=3,faults=freeze+partition+pause",
    ),
    Plant(
        "rumour_is_death",
        replaced(rescue.Rescue, "inspect", _rumour_is_death),
        ("4", "5"),
        "nodes=3,faults=rumour+partition",
    ),
    Plant(
        "taken_without_revoking",
        replaced(rescue.Rescue, "take_back", _taken_without_revoking),
        ("4", "5", "8"),
        "nodes=3,faults=freeze+partition+pause+worker",
    ),
    Plant(
        "never_revoked",
        replaced(runner.SimulatedRunner, "revoke", _never_revoked),
        ("4", "5", "8"),
        "nodes=3,apart=no,faults=freeze+partition+pause+worker",
    ),
    Plant("old_orders_taken", _old_orders_taken, ("4", "5", "8"), "nodes=3,faults=freeze+partition+lines+pause"),
    Plant("read_before_taken", _read_before_taken, ("8", "15"), "nodes=3,faults=freeze+partition+actor"),
    Plant(
        "any_life_answers",
        replaced(executor.Executor, "_is_for_me", _any_life),
        ("4", "5", "8"),
        "nodes=3,faults=kill+power",
    ),
    Plant(
        "first_answer_counts",
        replaced(request.Requests, "on_withdrawn", _first_answer_counts),
        ("10",),
        "nodes=3,constants=yes,apart=no,faults=partition+slow,actions=submit+pause,faulty_s=30,clients=4",
    ),
    Plant(
        "refuses_for_ever",
        replaced(registry.Registry, "receive", _refuses_for_ever),
        ("20",),
        "nodes=3,faults=kill+freeze",
    ),
    Plant("hints_answered", lambda: patch.object(election.Election, "hint", _hints_answered), ("16",), "nodes=3"),
    Plant(
        "parts_before_saved",
        _parts_before_saved,
        ("27",),
        "nodes=3,faults=leave+store+stop,faulty_s=30",
    ),
    Plant(
        "parts_without_a_look",
        replaced(shutdown.Shutdown, "on_alone", _last_word_counts),
        ("27",),
        "nodes=3,faults=leave+stop,faulty_s=30",
    ),
    Plant(
        "drained_in_vain",
        replaced(membership.Membership, "on_beat", _never_closed),
        ("28",),
        "nodes=3,faults=leave,faulty_s=30",
    ),
    Plant("one_fold", replaced(cron_series.CronSeries, "next", _one_fold), ("18", "23")),
)
CLUSTER_PLANTS: Final = {plant.name: plant for plant in _ALL}
