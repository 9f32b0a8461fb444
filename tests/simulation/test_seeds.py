"""Whatever goes wrong, what must hold holds; and a simulation can be trusted to be the same one again."""

import pytest

from callsheet.actors.actor import COORDINATOR
from callsheet.actors.messages import AttemptsStarted, Envelope, NodeStopped
from callsheet.transport.contract import Receive
from simulation.final import Final
from simulation.option import FAULTS, Options, draw_options, read_options, write_options
from simulation.slots import LATE_US
from simulation.trial import run_trial, shrink
from simulation.trigger import brute_force
from simulation.virtual import MILLION
from simulation.world import World
from support.simulations import assert_held, digest


@pytest.mark.parametrize("seed", range(24))
def test_all_invariants_hold(seed: int) -> None:
    result = run_trial(draw_options(seed))

    assert_held(result)
    assert result.counts["ended SUCCEEDED"] >= 3


@pytest.mark.parametrize("fault", FAULTS)
def test_all_invariants_hold_under_each_class_of_faults_alone(fault: str) -> None:
    assert_held(run_trial(read_options(1_000, f"faults={fault},faulty_s=20")))


def test_a_seed_gives_the_same_trace_whatever_the_order_of_sets() -> None:
    digests = {digest(8, hash_seed) for hash_seed in ("1", "2", "3")}

    assert len(digests) == 1
    assert digests != {"0"}


def test_a_set_that_is_iterated_is_found() -> None:
    assert len({digest(8, hash_seed, "set_iterated") for hash_seed in ("1", "2", "3", "4")}) > 1


def test_taking_a_fault_away_leaves_the_workload_as_it_is() -> None:
    with_kills, without = (World(read_options(7, f"faults={faults}")) for faults in ("kill+network", "network"))

    assert [work.job for work in with_kills.workload.works] == [work.job for work in without.workload.works]


@pytest.mark.parametrize("seed", [3, 11, 19])
def test_without_faults_exactly_the_slots_of_the_calendar_are_decided(seed: int) -> None:
    world = World(read_options(seed, "faults=,actions=,faulty_s=20,constants=no"))
    world.run()

    seen = 0
    now = world.wall()
    for key, record in world.disk.tables.jobs.items():
        job, state = record.job, record.state
        expected = brute_force(job.trigger, job.anchor, job.anchor - 1, state.mark)
        if not expected:
            continue
        decisions = world.disk.tables.decisions.get(key, {}).values()
        decided = sorted(at for it in decisions for at in expected if it.slot <= at <= it.last)
        assert decided == expected
        assert state.status == "exhausted" or not brute_force(job.trigger, job.anchor, state.mark, now - 2 * LATE_US)
        seen += len(decided)
    assert seen > 10


def test_what_is_reported_at_the_very_end_is_counted_before_it_is_judged() -> None:
    world = World(read_options(3, "faults=,actions=,faulty_s=20,constants=no"))
    world.run()
    life = world.leader()
    assert life is not None
    life.report(COORDINATOR, AttemptsStarted(1, 0))

    Final(world).judge()


def ear(said: list[Envelope]) -> Receive:
    """Takes what is said into a list."""

    def hear(envelope: Envelope) -> bool:
        said.append(envelope)
        return True

    return hear


def test_nobody_hears_of_what_was_said_just_before_the_power_took_it_back() -> None:
    heard: dict[bool, list[Envelope]] = {False: [], True: []}
    for durable, said in heard.items():
        world = World(
            read_options(4, f"durable={'yes' if durable else 'no'},faults=power,actions=,jobs=0,constants=no")
        )
        world.outside.attach("listener", ear(said))
        (node,) = world.nodes
        node.start()
        world.clients[0].declare(world.workload.works)
        world.time.run(MILLION, most_events=1_000)
        assert node.life is not None
        node.life.transport.send(Envelope("coordinator@n1", "listener@outside", 1, (NodeStopped("n1", 0),)))
        world.cut_power(node.machine)
        world.time.run(2 * MILLION, most_events=1_000)
        assert bool(world.counts["commits lost to power"]) is not durable

    assert [len(said) for said in heard.values()] == [0, 1]


def test_a_world_without_work_fails() -> None:
    result = run_trial(read_options(1, "faults=,actions=,jobs=,healed_s=27,faulty_s=2"))

    assert result.invariant in ("progress", "20")


def test_options_are_said_as_they_are_read() -> None:
    options: Options = read_options(5, "faults=kill+store,jobs=0+2,until_s=9,durable=no")

    assert read_options(5, write_options(options)) == options
    with pytest.raises(ValueError, match="there is no option 'nonsense'"):
        read_options(5, "nonsense=1")


def test_a_failing_case_becomes_smaller_and_fails_the_same_way() -> None:
    result = run_trial(read_options(0, "faults=kill+store+network"), "slots_early")
    assert result.invariant == "9"

    small = shrink(result, "slots_early")

    assert small.invariant == "9"
    assert small.options.faults == ()
    assert len(small.options.jobs) < len(result.options.jobs)
    assert 0 < small.options.until_s * MILLION <= result.at + MILLION
    again = run_trial(small.options, "slots_early")
    assert (again.invariant, again.text) == (small.invariant, small.text)
