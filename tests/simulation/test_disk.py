"""The disk of a simulated machine loses what a real one loses, and nothing else."""

from typing import Any

from callsheet.actors.persistence.store import AddRuns
from simulation.disk import SYNC_EVERY_US, Disk, DiskStore
from simulation.virtual import Timeline
from support.stored import a_run

TAKES_US = 1_000


class Machine:
    def __init__(self, *, durable: bool = True) -> None:
        self.time = Timeline()
        self.disk = Disk(self.time, durable=durable)
        self.store = DiskStore(self.disk, lambda: TAKES_US, lambda writes, epoch: lambda: None)
        assert self.store.take_lease("me", "", None) is not None
        self._seq = 0
        self.wait(SYNC_EVERY_US)

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

        machine.disk.die(luck)

        assert machine.runs() == expected


def test_a_durable_disk_keeps_what_is_over_when_the_power_goes() -> None:
    machine = Machine()
    machine.add(1)
    machine.wait(TAKES_US)
    machine.add(2)

    assert machine.disk.lose_power(lost) == []
    assert machine.runs() == [1]
    assert machine.disk.boot == 2


def test_another_disk_may_lose_the_last_commits_and_says_which() -> None:
    machine = Machine(durable=False)
    for run_id in (1, 2):
        machine.add(run_id)
        machine.wait(TAKES_US)

    machine.disk.die(lost)
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
