"""Several nodes share a store, and whatever goes wrong between them, what must hold holds."""

import pytest

from simulation.option import CLUSTER_FAULTS, NODES, draw_options, read_options, write_options
from simulation.trial import Result, replay_command, run_trial
from simulation.world import World
from support.simulations import assert_held, digest

THREE, FIVE = range(10), range(1_000, 1_004)


def run(seed: int, nodes: int, text: str = "") -> Result:
    result = run_trial(read_options(seed, text, nodes))
    assert_held(result)
    return result


@pytest.mark.parametrize("seed", THREE)
def test_all_invariants_hold_among_three_nodes(seed: int) -> None:
    assert run(seed, 3).counts["ended SUCCEEDED"] >= 3


@pytest.mark.parametrize("seed", FIVE)
def test_all_invariants_hold_among_five_nodes(seed: int) -> None:
    assert run(seed, 5).counts["ended SUCCEEDED"] >= 3


@pytest.mark.parametrize("apart", ["no", "yes"])
@pytest.mark.parametrize("fault", CLUSTER_FAULTS)
def test_all_invariants_hold_under_each_class_of_faults_alone(fault: str, apart: str) -> None:
    run(2_000, 3, f"faults={fault},faulty_s=20,apart={apart}")


def test_the_lead_changes_and_work_runs_on_more_than_one_node() -> None:
    results = [run(seed, 3, "faults=kill+freeze,faulty_s=20") for seed in range(3_000, 3_005)]

    assert sum("leaders changed" in result.counts for result in results) >= 3, (
        "a fault may miss the leader, most do not"
    )
    assert all(result.counts["worlds with work on several nodes"] for result in results)


def test_without_faults_nobody_is_deposed_and_no_attempt_is_lost() -> None:
    result = run(4_000, 3, "faults=,faulty_s=20")

    assert "leaders changed" not in result.counts
    assert "ended LOST" not in result.counts
    assert result.counts["worlds with work on several nodes"]


@pytest.mark.parametrize("nodes", [nodes for nodes in NODES if nodes > 1])
def test_a_seed_gives_the_same_trace_whatever_the_order_of_sets(nodes: int) -> None:
    digests = {digest(8, hash_seed, nodes=nodes) for hash_seed in ("1", "2", "3")}

    assert len(digests) == 1
    assert digests != {"0"}


def test_more_nodes_leave_the_workload_as_it_is() -> None:
    alone, among = (World(draw_options(7, nodes)) for nodes in (1, 3))

    assert [work.job for work in alone.workload.works] == [work.job for work in among.workload.works]


def test_options_are_said_as_they_are_read() -> None:
    options = read_options(5, "nodes=3,apart=yes,workers=2,faults=freeze+kill")

    assert read_options(5, write_options(options)) == options
    assert "nodes=3" in replay_command(options)
    with pytest.raises(ValueError, match="faults has no nonsense"):
        read_options(5, "faults=nonsense")
