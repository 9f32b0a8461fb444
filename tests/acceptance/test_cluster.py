"""Real nodes as processes, over tcp and ipc: who works for whom, what a planned stop costs, and who is let in.

What happened is told by what the jobs leave behind: each appends a line to a file by one write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from callsheet import Client, Handle
from callsheet.errors import Refused
from support.nodes import WITHIN_S, NodeProcess, Nodes, nodes_in
from support.waiting import eventually

PROGRAM = """
import os, time
from callsheet import Scheduler, every

scheduler = Scheduler("sqlite:///jobs.db", threads=2, processes=0)
FILE = os.open(os.environ["TRACE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def leave(*words):
    os.write(FILE, (" ".join(map(str, words)) + "\\n").encode())


@scheduler.job(every(0.1, start="now"), catchup="all", overlap="allow_all")
def tick(ctx):
    leave("tick", os.getpid(), round(ctx.slot.timestamp() * 1e6), time.time_ns() // 1000)


@scheduler.job(overlap="allow_all")
def where():
    leave("where", os.getpid())
    return os.getpid()


@scheduler.job(overlap="allow_all", labels=["gpu"])
def train():
    leave("train", os.getpid())
    return os.getpid()


@scheduler.job(overlap="allow_all", labels=["slow"])
def nap():
    leave("nap", os.getpid())
    while not os.path.exists("wake"):
        time.sleep(0.01)
    leave("woke", os.getpid())
    return os.getpid()
"""
ANY_PORT = "tcp://127.0.0.1:*"
GAP_US = 900_000
"""The most that may lie between two ticks over a planned change of the leader; they are 100 ms apart."""


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with nodes_in(tmp_path) as made:
        made.write("app.py", PROGRAM)
        yield made


def endpoint(node: NodeProcess) -> str:
    found: str = node.wait_ready()["endpoints"][0]
    return found


def worker(nodes: Nodes, leader: NodeProcess, name: str, *options: str, ready: bool = True) -> NodeProcess:
    """A node that only works, in a folder of its own: what it has of the cluster is an address."""
    folder = nodes.folder / name
    folder.mkdir()
    (folder / "app.py").write_text(PROGRAM)
    return nodes.start(
        "app.py", "--worker-only", "--join", endpoint(leader), *options, name=name, folder=folder, ready=ready
    )


def members(client: Client) -> dict[str, str]:
    return {member.node: member.state for member in client.members()}


def test_nodes_that_only_work_run_what_is_placed_there_and_need_no_store(nodes: Nodes) -> None:
    leader = nodes.start("app.py", "--listen", ANY_PORT, name="n1")
    hand = worker(nodes, leader, "hand")
    smith = worker(nodes, leader, "smith", "--labels", "gpu,zone=eu-1", "--resources", "memory_gb=8")

    with Client(endpoint(leader)) as client:
        eventually(lambda: set(members(client)) == {"n1", "hand", "smith"}, WITHIN_S)
        trained = [client.submit("train") for _ in range(4)]
        assert {handle.result(WITHIN_S) for handle in trained} == {smith.pid}
        eventually(
            lambda: {client.submit("where").result(WITHIN_S) for _ in range(6)} == {leader.pid, hand.pid, smith.pid},
            WITHIN_S,
        )
        roles = {member.node: (member.leads, member.candidate, member.labels) for member in client.members()}

    assert roles == {
        "n1": (True, True, ()),
        "hand": (False, False, ()),
        "smith": (False, False, ("gpu", "zone=eu-1")),
    }
    assert {pid for word, pid, *_ in nodes.traces() if word == "train"} == {str(smith.pid)}
    assert not list((nodes.folder / "hand").glob("*.db*"))
    assert [each.stop() for each in (hand, smith, leader)] == [0, 0, 0]


def test_a_drained_node_ends_well_when_what_runs_there_has(nodes: Nodes) -> None:
    leader = nodes.start("app.py", "--listen", ANY_PORT, name="n1")
    slow = nodes.start("app.py", "--labels", "slow", name="n2")

    with Client(endpoint(leader)) as client:
        handle: Handle = client.submit("nap")
        eventually(lambda: ["nap", str(slow.pid)] in nodes.traces(), WITHIN_S)
        assert client.drain("n2", stop=True) >= 1
        eventually(lambda: members(client)["n2"] == "draining", WITHIN_S)
        assert slow.process.poll() is None
        second = client.submit("nap")  # nobody else has the label
        nodes.write("wake", "")
        assert handle.result(WITHIN_S) == slow.pid
        assert slow.wait_end() == 0, slow.log
        eventually(lambda: "n2" not in members(client), WITHIN_S)
        assert not second.done
        with pytest.raises(Refused, match="no node 'n2'"):
            client.drain("n2")

    assert ["woke", str(slow.pid)] in nodes.traces()
    assert slow.told()[-1]["event"] == "stopped"


def test_a_planned_stop_of_the_leader_hands_over_and_no_firing_is_lost_or_late(nodes: Nodes) -> None:
    started = [nodes.start("app.py", name=name, ready=False) for name in ("n1", "n2")]
    eventually(lambda: ticks(nodes) > 5, WITHIN_S)
    url = f"sqlite:///{nodes.folder}/jobs.db"
    with Client(url) as client:
        leader = next(each for each in started if client.leader is not None and each.name == client.leader.node)
        eventually(lambda: list(members(client).values()) == ["alive", "alive"], WITHIN_S)
        (other,) = (each for each in started if each is not leader)

        assert leader.stop() == 0, leader.log

        eventually(lambda: [it.node for it in client.members() if it.leads] == [other.name], WITHIN_S)
        before = ticks(nodes)
        eventually(lambda: ticks(nodes) > before + 5, WITHIN_S)
    assert other.stop() == 0, other.log

    found = sorted((int(slot), int(at)) for word, _, slot, at in ticked(nodes))
    assert {second - first for (first, _), (second, _) in pairwise(found)} == {100_000}
    assert max(Counter(slot for slot, _ in found).values()) == 1
    instants = sorted(at for _, at in found)
    assert max(second - first for first, second in pairwise(instants)) < GAP_US


def ticked(nodes: Nodes) -> list[list[str]]:
    return [words for words in nodes.traces() if words[0] == "tick"]


def ticks(nodes: Nodes) -> int:
    return len(ticked(nodes))


def test_with_keys_nodes_and_clients_need_one(nodes: Nodes) -> None:
    nodes.command("keys", "new", "cluster", "--role", "node", "--folder", "keys")
    alice = nodes.command("keys", "new", "alice", "--role", "operator", "--folder", "keys")["secret_file"]
    keys = str(nodes.folder / "keys")
    leader = nodes.start("app.py", "--listen", ANY_PORT, "--keys", keys, name="n1")
    hand = worker(nodes, leader, "hand", "--labels", "gpu", "--keys", keys)
    stranger = worker(nodes, leader, "stranger", "--labels", "slow", ready=False)

    with Client(endpoint(leader), key=nodes.folder / alice) as client:
        assert client.submit("train").result(WITHIN_S) == hand.pid
        with pytest.raises(Refused, match="admin"):
            client.drain("hand")
        assert set(members(client)) == {"n1", "hand"}
    with pytest.raises(TimeoutError), Client(endpoint(leader), timeout=1):
        pass

    assert stranger.told() == []
    assert [hand.stop(), leader.stop()] == [0, 0]
