"""Kill -9 of the writing process, again and again: what was acknowledged is there, and no batch is there by half."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from callsheet.actors.persistence.sqlite import SQLiteStore
from callsheet.actors.persistence.store import GetCounters, GetLiveRuns, ListDecisions, ListRuns
from callsheet.actors.records import RunState

KILLS = 24
BATCH = 5
MOST_COMMITS_BEFORE_A_KILL = 60

WRITER = """
import sys
sys.path.insert(0, sys.argv[3])
from callsheet.actors.persistence.sqlite import SQLiteStore
from callsheet.actors.persistence.store import AddClaim, AddDecisions, AddEnds, AddRuns, AdvanceJob, GetCounters
from callsheet.actors.records import Claim, ClaimEntry, Decision
from callsheet.triggers import DecisionKind
from support.stored import Leader, a_record, a_run, an_end, insert

store = SQLiteStore(sys.argv[1], sys.argv[2])
store.open()
leader = Leader(store)
leader.write(insert(a_record("job")))
first = store.read(GetCounters())[0].run_id + 1
print("open", flush=True)
while True:
    runs = range(first, first + 5)
    leader.write(
        AddRuns(tuple(a_run(number, token=f"t{number}") for number in runs)),
        AddDecisions((Decision("default", "job", first, first, 1, DecisionKind.FIRED, first, run_id=first),)),
        AdvanceJob("default", "job", 1, first, first, first + 1),
        AddClaim(Claim("n", "i", leader.epoch, 1, tuple(ClaimEntry(number, 1, number) for number in runs))),
        AddEnds(tuple(an_end(number, result=bytes(500)) for number in runs if number % 5)),
    )
    print(first, flush=True)
    first += 5
    if first % 7 == 0:
        store.tidy()
"""


def kill_one(path: Path, synchronous: str, chance: random.Random) -> list[int]:
    """Start a writer, kill it at some moment of some commit, and answer the batches that it said were done."""
    shared = Path(__file__).parents[1] / "shared"
    wanted = chance.randrange(MOST_COMMITS_BEFORE_A_KILL)
    acknowledged: list[int] = []
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, path, synchronous, shared], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        while len(acknowledged) < wanted:
            acknowledged.append(int(writer.stdout.readline()))
        for _ in range(chance.randrange(20_000)):
            pass  # some part of the next commit
        writer.kill()
        acknowledged += [int(line) for line in writer.stdout if line.endswith("\n")]
    return acknowledged


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
def test_all_that_was_acknowledged_survives_a_kill_and_no_batch_is_half_there(tmp_path: Path, synchronous: str) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201 -- shown when it fails
    chance = random.Random(seed)
    path = tmp_path / "jobs.db"
    acknowledged: list[int] = []
    for _ in range(KILLS // 2):
        acknowledged += kill_one(path, synchronous, chance)
        check(path, acknowledged)
    assert len(acknowledged) > KILLS


def check(path: Path, acknowledged: list[int]) -> None:
    store = SQLiteStore(path)
    store.open()
    numbers: list[int] = []
    while page := store.read(ListRuns(tenant="default", before=numbers[-1] if numbers else None, limit=1_000)):
        numbers += [record.run.run_id for record in page]
        for record in page:
            assert record.state is (RunState.SUCCEEDED if record.run.run_id % BATCH else RunState.CLAIMED)
    slots: list[int] = []
    before: int | None = None
    while decisions := store.read(ListDecisions(tenant="default", job="job", before=before, limit=1_000)):
        slots += [decision.slot for decision in decisions]
        before = slots[-1]
    [counters] = store.read(GetCounters())
    assert len(numbers) % BATCH == 0
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert sorted(slots) == list(range(1, len(numbers) + 1, BATCH))
    assert {*acknowledged} <= {*slots}
    assert len(slots) - len(acknowledged) <= KILLS, "each kill leaves at most one batch that nobody was told of"
    assert counters.run_id == len(numbers)
    assert len(store.read(GetLiveRuns())) == min(len(numbers) // BATCH, 1_000)
    store.close()
