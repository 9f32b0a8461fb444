"""The disk of a simulated machine loses what a real one loses, and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest

from callsheet.actors.persistence.store import AddRuns, GetLiveRuns, Lease, Write
from callsheet.errors import Fenced, StoreBusy
from simulation.disk import BUSY_US, SYNC_EVERY_US, Disk, DiskStore
from simulation.virtual import Timeline
from support.stored import a_run

TAKES_US = 1_000


class Nobody:
    """Looks on, and judges nothing."""

    def on_commit(self, writes: tuple[Write, ...], epoch: int) -> Callable[[], None]:
        return lambda: None

    def on_take_over(self, seen: Lease | None, found: Lease | None, taken: Lease | None) -> None:
        pass


class Machine:
    def __init__(self, *, durable: bool = True) -> None:
        self.time = Timeline()
        self.disk = Disk(self.time, durable=durable)
        self.store = self.process("me")
        assert self.store.take_lease("me", "", None) is not None
        self._seq = 0
        self.wait(SYNC_EVERY_US)

    def process(self, name: str, *, dead: str = "") -> DiskStore:
        return DiskStore(self.disk, lambda: TAKES_US, Nobody(), owner=name, is_dead=lambda holder: holder == dead)

    def add(self, run_id: int) -> None:
        self._seq += 1
        self.store.slow_us = 0
        self.store.commit([AddRuns((a_run(run_id),))], epoch=1, holder="me", seq=self._seq)

    def wait(self, length_us: int) -> None:
        self.time.run(self.time.now + length_us, most_events=10)

    def runs(self) -> list[int]:
        return list(self.disk.tables.runs)


def lost() -> bool:
    return False


def kept() -> bool:
    return True


def test_what_is_over_survives_a_kill_and_what_is_in_flight_may() -> None:
    for luck, expected in ((lost, [1]), (kept, [1, 2])):
        machine = Machine()
        machine.add(1)
        machine.wait(TAKES_US)
        machine.add(2)
        assert machine.runs() == [1, 2]

        machine.disk.die(luck, "me")

        assert machine.runs() == expected


def test_a_durable_disk_keeps_what_is_over_when_the_power_goes() -> None:
    machine = Machine()
    machine.add(1)
    machine.wait(TAKES_US)
    machine.add(2)

    assert machine.disk.lose_power(lost) == []
    assert machine.runs() == [1]


def test_another_disk_may_lose_the_last_commits_and_says_which() -> None:
    machine = Machine(durable=False)
    for run_id in (1, 2):
        machine.add(run_id)
        machine.wait(TAKES_US)

    machine.disk.die(lost, "me")
    assert machine.runs() == [1, 2], "a kill leaves what the system has"
    writes: list[Any] = machine.disk.lose_power(lost)

    assert [run.run_id for write in writes for run in write.runs] == [1, 2]
    assert machine.runs() == []


def test_what_was_kept_once_stays() -> None:
    machine = Machine()
    machine.add(1)
    machine.disk.lose_power(kept)
    machine.add(2)
    machine.wait(TAKES_US)

    machine.disk.lose_power(lost)

    assert machine.runs() == [1, 2]


# ---- several processes --------------------------------------------------------------------------------------------------


def test_one_process_writes_at_a_time_and_the_other_waits() -> None:
    machine = Machine()
    other = machine.process("you")
    machine.add(1)

    assert other.take_lease("you", "", other.lease()) is not None

    assert other.slow_us == 2 * TAKES_US


def test_what_is_in_flight_is_seen_by_nobody_else() -> None:
    machine = Machine()
    machine.store.slow_us = 0
    machine.store.renew_lease("me", 1)
    seen = machine.process("you").lease()
    machine.wait(TAKES_US)
    later = machine.process("you").lease()

    assert seen is not None
    assert later is not None
    assert (seen.beat, later.beat) == (0, 1)


def test_what_is_in_flight_is_read_by_nobody_else() -> None:
    machine = Machine()
    other = machine.process("you")
    machine.add(1)
    question = GetLiveRuns(after=0, limit=10)

    own, others = machine.store.read(question), other.read(question)
    machine.wait(TAKES_US)

    assert ([len(own), len(others)], len(other.read(question))) == ([1, 0], 1)


def test_who_stands_still_in_the_middle_of_a_step_keeps_the_lock_and_others_are_told() -> None:
    machine = Machine()
    machine.add(1)
    machine.disk.stand_still("me", machine.time.now + 2 * BUSY_US)
    other = machine.process("you")

    with pytest.raises(StoreBusy):
        other.take_lease("you", "", other.lease())
    machine.wait(2 * BUSY_US)
    other.slow_us = 0

    assert other.take_lease("you", "", other.lease()) is not None
    machine.wait(TAKES_US)
    with pytest.raises(Fenced):
        machine.add(2)


def test_a_step_that_another_has_queued_behind_is_done_whatever_becomes_of_its_process() -> None:
    machine = Machine()
    machine.add(1)
    other = machine.process("you")
    assert other.take_lease("you", "", other.lease()) is not None

    machine.disk.die(lost, "me")

    assert machine.runs() == [1]


def one_that_stands_still_and_one_that_waits() -> tuple[Machine, DiskStore]:
    """`me` is in the middle of a step, `you` queues behind it; answers a third process."""
    machine = Machine()
    machine.add(1)
    machine.disk.stand_still("me", machine.time.now + BUSY_US)
    waiting, third = machine.process("you"), machine.process("she")
    assert waiting.take_lease("you", "", waiting.lease()) is not None
    return machine, third


def test_who_dies_while_it_waits_has_done_nothing_and_leaves_the_lock_with_who_has_it() -> None:
    machine, third = one_that_stands_still_and_one_that_waits()

    machine.disk.die(kept, "you")

    lease = machine.disk.cache.lease()
    assert lease is not None
    assert lease.holder == "me"
    assert third.take_lease("she", "", lease) is not None
    assert third.slow_us == BUSY_US + TAKES_US, "it waits for who stands still in the middle of a step"


def test_a_step_that_will_be_found_done_keeps_the_lock_when_nobody_is_left_who_waits_for_it() -> None:
    machine, third = one_that_stands_still_and_one_that_waits()

    machine.disk.die(kept, "you")
    machine.disk.die(kept, "me")

    assert third.take_lease("she", "", third.lease()) is not None
    assert third.slow_us == BUSY_US + TAKES_US
