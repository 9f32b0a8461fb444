"""A new version of a program is brought to a cluster node by node, while it works.

The new version has one more job. Its runs wait until a node knows the job's function, and nothing else is lost meanwhile: each
slot has fired once, and each run that was submitted has ended well, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from callsheet import Client, Handle
from callsheet.client.reading import StoreReading
from callsheet.triggers import to_datetime
from support.nodes import WITHIN_S, Nodes, nodes_in
from support.waiting import eventually

OLD = """
import os, time
from callsheet import Scheduler, every

scheduler = Scheduler("sqlite:///jobs.db", threads=2, processes=0)
FILE = os.open(os.environ["TRACE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def leave(*words):
    os.write(FILE, (" ".join(map(str, words)) + "\\n").encode())


@scheduler.job(every(0.1, start="now"), catchup="all", overlap="allow_all")
def tick(ctx):
    leave("tick", round(ctx.slot.timestamp() * 1e6), os.getpid())


@scheduler.job(overlap="allow_all")
def order(number):
    leave("order", number, os.getpid())
    time.sleep(0.02)
    return number
"""
NEW = """

@scheduler.job(overlap="allow_all")
def invoice(number):
    leave("invoice", number, os.getpid())
    return -number
"""
NAMES = ("n1", "n2", "n3")


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with nodes_in(tmp_path) as made:
        made.write("app.py", OLD)
        yield made


def test_three_nodes_are_restarted_in_turn_with_a_new_job_and_nothing_is_lost(nodes: Nodes) -> None:
    running = {name: nodes.start("app.py", name=name, ready=False) for name in NAMES}
    for each in running.values():
        each.wait_ready()
    orders: list[Handle] = []
    invoices: list[Handle] = []

    with Client(f"sqlite:///{nodes.folder}/jobs.db") as client:
        eventually(lambda: len(client.members()) == len(NAMES), WITHIN_S)
        nodes.write("app.py", OLD + NEW)
        for name in NAMES:
            orders += submit(client, "order", len(orders))
            assert running[name].stop() == 0, running[name].log
            orders += submit(client, "order", len(orders))
            running[name] = nodes.start("app.py", name=name)
            # from the first of them on the job is known, and one node knows its function
            invoices += submit(client, "invoice", len(invoices))
        assert [handle.result(WITHIN_S) for handle in orders] == list(range(len(orders)))
        assert [handle.result(WITHIN_S) for handle in invoices] == [-number for number in range(len(invoices))]
        eventually(lambda: {member.state for member in client.members()} == {"alive"}, WITHIN_S)

    assert [each.stop() for each in running.values()] == [0, 0, 0]
    judge(nodes, len(orders), len(invoices))


def test_runs_of_a_job_whose_only_node_is_away_wait_for_one_that_knows_it(nodes: Nodes) -> None:
    old = nodes.start("app.py", name="n1")
    nodes.write("app.py", OLD + NEW)
    new = nodes.start("app.py", name="n2")

    with Client(f"sqlite:///{nodes.folder}/jobs.db") as client:
        assert client.submit("invoice", 1).result(WITHIN_S) == -1
        assert new.stop() == 0, new.log
        waiting = client.submit("invoice", 2)
        eventually(lambda: "the function 'invoice'" in client.run_view(waiting.run_id).reason, WITHIN_S)
        assert client.run_view(waiting.run_id).state in ("READY", "PARKED")
        new = nodes.start("app.py", name="n2")
        assert waiting.result(WITHIN_S) == -2
        assert client.run_view(waiting.run_id).node == "n2"

    assert {pid for word, _, pid in nodes.traces() if word == "invoice"} >= {str(new.pid)}
    assert [each.stop() for each in (old, new)] == [0, 0]


def submit(client: Client, job: str, first: int) -> list[Handle]:
    return client.submit_many([(job, number) for number in range(first, first + 10)])


def judge(nodes: Nodes, orders: int, invoices: int) -> None:
    """Each slot and each run has left one line."""
    traces = nodes.traces()
    for word, count in (("order", orders), ("invoice", invoices)):
        lines = Counter(int(number) for kind, number, _ in traces if kind == word)
        assert lines == Counter(range(count)), word
    slots = sorted(int(slot) for kind, slot, _ in traces if kind == "tick")
    missing = [slot for slot in range(slots[0], slots[-1], 100_000) if slot not in slots]
    assert [what_became_of(nodes, slot) for slot in missing] == []
    assert max(Counter(slots).values()) == 1
    assert len(slots) > 10


def what_became_of(nodes: Nodes, slot: int) -> str:
    """What the store says of a slot that has left no line, for whoever reads that this test failed."""
    with StoreReading(nodes.folder / "jobs.db") as reading:
        for row in reading.decisions("tick", limit=1_000):
            if row.slot <= to_datetime(slot) <= row.last:
                return f"{row} {reading.run_view(row.run_id) if row.run_id else ''}"
    return f"{slot}: no decision"
