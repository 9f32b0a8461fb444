"""The faults of the simulated network, each shown to happen and to end."""

from functools import partial
from random import Random

import pytest

from callsheet.actors.messages import Noted
from callsheet.errors import DataError
from callsheet.transport.contract import Envelope
from callsheet.transport.simulated import NO_FAULTS, Faults, SimulatedNetwork, SimulatedTransport
from support.virtual_time import VirtualTime

NODES = ("n1", "n2", "n3")


class World:
    """Three nodes with a clock actor each, which keeps when what arrived."""

    def __init__(self, seed: int = 1, faults: Faults = NO_FAULTS, *, local_faults: bool = False) -> None:
        self.time = VirtualTime()
        self.network = SimulatedNetwork(self.time, Random(seed), faults=faults, local_faults=local_faults)
        self.nodes: dict[str, SimulatedTransport] = {}
        self.arrived: dict[str, list[tuple[int, str]]] = {}
        for node in NODES:
            self.open(node)

    def open(self, node: str) -> None:
        self.nodes[node] = self.network.transport(node)
        self.arrived[node] = []
        self.nodes[node].attach("clock", lambda envelope: self.take(node, envelope))

    def take(self, node: str, envelope: Envelope) -> bool:
        self.arrived[node].append((self.time.now, envelope.messages[0].key))
        return True

    def send(self, origin: str, destination: str, key: object = "x", sender: str = "clock") -> None:
        self.nodes[origin].send(Envelope(f"{sender}@{origin}", f"clock@{destination}", 1, (Noted(str(key)),)))

    def send_many(
        self, origin: str = "n1", destination: str = "n2", count: int = 400, every_us: int = 100
    ) -> list[str]:
        """Sends numbered envelopes and runs until all is quiet; answers what arrived, in order."""
        start = self.time.now
        for number in range(count):
            self.time.call_at(start + number * every_us, partial(self.send, origin, destination, number))
        self.time.run()
        return self.keys(destination)

    def keys(self, node: str) -> list[str]:
        return [key for _, key in self.arrived[node]]


IN_ORDER = [str(number) for number in range(400)]


def test_a_line_without_faults_takes_its_latency_and_keeps_the_order() -> None:
    world = World()

    assert world.send_many() == IN_ORDER
    assert [at for at, _ in world.arrived["n2"]] == [number * 100 + 100 for number in range(400)]
    assert world.network.dropped() == {}
    assert world.network.in_flight == 0


def test_some_are_lost_and_counted() -> None:
    world = World(faults=Faults(lost=0.2))

    arrived = world.send_many()

    assert 0 < 400 - len(arrived) == world.network.dropped()["lost"] < 160
    assert arrived == sorted(arrived, key=int)


def test_some_are_late_and_hold_up_those_behind_them() -> None:
    world = World(faults=Faults(late=0.05, late_us=10_000))

    assert world.send_many() == IN_ORDER
    waits = [at - int(key) * 100 for at, key in world.arrived["n2"]]
    assert min(waits) == 100
    assert 1_000 < max(waits) <= 10_100


def test_some_are_doubled() -> None:
    world = World(faults=Faults(doubled=0.2))

    arrived = world.send_many()

    assert {*arrived} == {*IN_ORDER}
    assert 400 < len(arrived) < 560


def test_some_are_overtaken() -> None:
    world = World(faults=Faults(overtaken=0.2))

    arrived = world.send_many()

    assert sorted(arrived, key=int) == IN_ORDER
    assert arrived != IN_ORDER


def test_some_find_the_mailbox_full() -> None:
    world = World(faults=Faults(full=0.2))

    arrived = world.send_many()

    assert 0 < 400 - len(arrived) == world.network.dropped()["full"] < 160


def test_taking_one_fault_away_changes_nothing_but_that_fault() -> None:
    all_faults = Faults(lost=0.1, overtaken=0.1, doubled=0.1)
    with_loss = World(faults=all_faults).send_many()
    without_loss = World(faults=Faults(overtaken=0.1, doubled=0.1)).send_many()

    assert len(with_loss) < len(without_loss)
    assert [key for key in without_loss if key in {*with_loss}] == with_loss


def test_one_seed_is_one_history_and_another_is_another() -> None:
    faults = Faults(lost=0.1, late=0.1, overtaken=0.1, doubled=0.1, full=0.1)
    histories = []
    for seed in (1, 1, 2):
        world = World(seed, faults)
        world.send_many()
        histories.append(world.arrived)

    assert histories[0] == histories[1]
    assert histories[0] != histories[2]


def test_a_cut_line_carries_nothing_one_way_until_it_is_mended() -> None:
    world = World()
    world.send("n1", "n2", "on its way")
    world.network.cut("n1", "n2")
    world.send("n1", "n2", "cut")
    world.send("n2", "n1", "back")
    world.time.run()
    world.network.mend("n1", "n2")
    world.send("n1", "n2", "mended")
    world.time.run()

    assert world.keys("n2") == ["mended"]
    assert world.keys("n1") == ["back"]
    assert world.network.dropped() == {"cut": 2}


@pytest.mark.parametrize("one_way", [False, True])
def test_a_partition_parts_groups_and_leaves_each_whole(one_way: bool) -> None:
    world = World()
    world.network.partition(["n1"], ["n2", "n3"], one_way=one_way)

    for origin in NODES:
        for destination in NODES:
            world.send(origin, destination, origin)
    world.time.run()

    assert sorted(world.keys("n1")) == (["n1", "n2", "n3"] if one_way else ["n1"])
    assert sorted(world.keys("n2")) == sorted(world.keys("n3")) == ["n2", "n3"]


def test_a_flapping_line_opens_and_closes_and_is_open_in_the_end() -> None:
    world = World()
    world.network.flap("n1", "n2", every_us=10_000, until=35_000)

    arrived = [int(key) for key in world.send_many()]  # one each 100 µs, for 40 ms

    assert not [number for number in arrived if number < 100 or 200 <= number < 299]
    assert {*range(100, 199), *range(350, 400)} <= {*arrived}
    assert len(arrived) + world.network.dropped()["cut"] == 400


def test_a_slow_peer_is_slow_both_ways_until_it_is_not() -> None:
    world = World()
    world.network.slow("n2", 5_000)
    for origin, destination in (("n1", "n2"), ("n2", "n1"), ("n1", "n3"), ("n2", "n2")):
        world.send(origin, destination, f"{origin} {destination}")
    world.time.run()

    assert world.arrived["n2"] == [(0, "n2 n2"), (5_100, "n1 n2")]
    assert world.arrived["n1"] == [(5_100, "n2 n1")]
    assert world.arrived["n3"] == [(100, "n1 n3")]

    world.network.slow("n2", 0)
    world.send("n1", "n2", "quick")
    world.time.run()
    assert world.arrived["n2"][-1] == (5_200, "quick")


def test_a_mailbox_can_be_said_to_be_full() -> None:
    world = World()
    world.network.fill("clock@n2")
    world.send("n1", "n2", "full")
    world.send("n2", "n2", "full")
    world.time.run()
    world.network.fill("clock@n2", full=False)
    world.send("n1", "n2", "room")
    world.time.run()

    assert world.keys("n2") == ["room"]
    assert world.network.dropped() == {"full": 2}


def test_faults_can_be_those_of_one_line_or_one_pair_and_the_narrowest_counts() -> None:
    world = World()
    world.network.set_line("n1", "n2", Faults(lost=1.0))
    world.network.set_pair("registry@n1", "clock@n2", NO_FAULTS)
    world.network.set_pair("clock@n1", "clock@n3", Faults(lost=1.0))
    for sender in ("clock", "registry"):
        for destination in ("n2", "n3"):
            world.send("n1", destination, sender, sender=sender)
    world.send("n2", "n1", "back")
    world.time.run()

    assert world.keys("n2") == world.keys("n3") == ["registry"]
    assert world.keys("n1") == ["back"]


@pytest.mark.parametrize(("local_faults", "expected"), [(False, 400), (True, 0)])
def test_actors_of_one_node_meet_faults_only_when_told(local_faults: bool, expected: int) -> None:
    world = World(faults=Faults(lost=1.0), local_faults=local_faults)

    assert len(world.send_many("n1", "n1")) == expected


def test_healing_ends_every_fault() -> None:
    world = World(faults=Faults(lost=1.0))
    world.network.partition(["n1"], ["n2"], ["n3"])
    world.network.set_line("n1", "n2", Faults(lost=1.0))
    world.network.set_pair("clock@n1", "clock@n2", Faults(lost=1.0))
    world.network.slow("n2", 1_000_000)
    world.network.fill("clock@n2")
    assert world.send_many() == []

    world.network.heal()

    assert world.send_many() == IN_ORDER


def test_a_node_that_is_gone_gets_nothing_and_its_next_life_only_its_own() -> None:
    world = World()
    first = world.nodes["n2"]
    world.send("n1", "n2", "to the first")
    first.close()
    world.time.run()
    world.open("n2")
    world.send("n1", "n2", "to the second")
    first.send(Envelope("clock@n2", "clock@n1", 1, (Noted("from the grave"),)))
    world.time.run()

    assert world.keys("n2") == ["to the second"]
    assert world.keys("n1") == []
    assert world.network.dropped() == {"absent": 1, "closed": 1}


def test_what_cannot_travel_is_refused_on_a_node_too() -> None:
    world = World()

    with pytest.raises(DataError, match="no message"):
        world.nodes["n1"].send(Envelope("clock", "clock", 0, (object(),)))

    assert world.network.dropped() == {"unsendable": 1}
