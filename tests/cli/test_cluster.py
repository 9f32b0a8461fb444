"""`callsheet cluster` and `callsheet drain`, and the script that runs a cluster on one machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callsheet import Client, Scheduler
from callsheet.actors.messages import DrainNode, Envelope, Follow, LeaderIs, NodeDraining
from callsheet.cli.cluster_command import Eye, Look, drain_command, render
from support.carrying import Network
from support.nodes import WITHIN_S
from support.reached import Make
from support.source import ROOT
from support.waiting import eventually

from .conftest import Shell


@pytest.fixture
def make(shell: Shell) -> Iterator[Make]:
    """Starts nodes of one store in this process, which end with the test."""
    made: list[Scheduler] = []

    def start(name: str, **options: Any) -> Scheduler:
        url = f"sqlite:///{shell.folder}/jobs.db"
        made.append(Scheduler(url, name=name, threads=2, processes=0, **options).start())
        return made[-1]

    yield start
    for each in reversed(made):
        each.stop(drain_timeout=0)


def alive(scheduler: Scheduler, count: int) -> bool:
    return [member.state for member in scheduler.members()] == ["alive"] * count


TIMEOUT_S = 3.0
STORE = ("--store", "sqlite:///jobs.db")


def test_the_nodes_are_a_table_in_a_pipe_a_picture_for_eyes_and_json_when_asked(shell: Shell, make: Make) -> None:
    first = make("n1", listen="tcp://127.0.0.1:*")
    make("n2", labels=["gpu", "zone=eu-1"])
    eventually(lambda: alive(first, 2), WITHIN_S)

    one, two = shell("cluster", *STORE).rows
    assert (one["node"], one["role"], one["state"], one["address"]) == ("n1", "leader", "alive", first.endpoints[0])
    assert one["load"] == "thread 0/2 async 0/1000"
    assert (one["silent"], one["skew"]) == ("–", "–")
    assert (two["node"], two["role"], two["labels"]) == ("n2", "follower", "gpu,zone=eu-1")
    assert two["silent"].endswith(" ms")

    told = shell("cluster", "--to", first.endpoints[0], "--json").json
    assert (told["leader"], told["epoch"]) == ("n1", 1)
    assert [(it["node"], it["role"], it["places"]["thread"]) for it in told["members"]] == [
        ("n1", "leader", {"taken": 0, "room": 2}),
        ("n2", "follower", {"taken": 0, "room": 2}),
    ]

    shown = shell.on_terminal("cluster", *STORE)
    assert "n1 leads, epoch 1; 2 nodes" in shown.out


def test_a_drained_node_gets_no_work_until_that_is_undone(shell: Shell, make: Make) -> None:
    first = make("n1")
    second = make("n2")
    eventually(lambda: alive(first, 2), WITHIN_S)
    first.add(threading.get_ident, name="where", overlap="allow_all")

    drained = shell("drain", "n2", "--wait", *STORE)
    assert (drained.code, drained.out) == (0, "n2: drained, nothing runs there\n")
    assert shell("cluster", *STORE).rows[1]["state"] == "draining"
    handles = first.submit_many([("where",)] * 8)
    first.wait(handles, WITHIN_S)
    assert {first.run_view(handle.run_id).node for handle in handles} == {"n1"}

    assert shell("drain", "n2", "--undo", *STORE).out == "n2: takes work again\n"
    eventually(lambda: alive(first, 2), WITHIN_S)
    assert second.health().ready


def test_draining_the_leader_hands_over(shell: Shell, make: Make) -> None:
    first = make("n1")
    second = make("n2")
    eventually(lambda: alive(first, 2), WITHIN_S)

    assert shell("drain", "n1", "--json", *STORE).json == {
        "node": "n1",
        "draining": True,
        "stop": False,
        "running": 0,
    }
    eventually(lambda: second.leader is not None and second.leader.node == "n2", WITHIN_S)
    eventually(lambda: [it.state for it in second.members()] == ["draining", "alive"], WITHIN_S)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["drain", "n7"], 4, "no node 'n7' is in the cluster"),
        (["drain", "n1", "--undo", "--stop"], 2, "--undo gives a node work again"),
        (["cluster", "--to", "tcp://127.0.0.1:9"], 2, "not both"),
    ],
)
def test_what_cannot_be_is_refused(shell: Shell, make: Make, arguments: list[str], code: int, told: str) -> None:
    make("n1")

    ran = shell(*arguments, *STORE)

    assert (ran.code, ran.out) == (code, "")
    assert told in ran.err


def test_a_cluster_that_does_not_answer_is_exit_code_5(shell: Shell) -> None:
    ran = shell("cluster", "--to", "tcp://127.0.0.1:9", "--timeout", "0.3")

    assert ran.code == 5
    assert "tcp://127.0.0.1:9" in ran.err


def test_waiting_for_a_drained_node_takes_no_longer_than_its_time_out() -> None:
    """The leader answers only when it is asked again, and then no more: each answer alone may take the whole of the time."""
    asked: list[DrainNode] = []

    def answer(envelope: Envelope) -> bool:
        for message in envelope.messages:
            asked.extend([message] if isinstance(message, DrainNode) else [])
            if isinstance(message, Follow):
                answers: list[Any] = [LeaderIs(message.key, 1, "n1", "")]
            else:
                answers = [NodeDraining(asked[0].key, "n2", 1)] if len(asked) == 2 else []
            node.send(Envelope("coordinator", envelope.sender, 0, tuple(answers)))
        return True

    with Network() as network:
        node = network.node("n1")
        node.attach("coordinator", answer)
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="ListMembers"):
            drain_command("n2", to=[node.endpoints[0]], wait=True, timeout=TIMEOUT_S)
    assert len(asked) == 2
    assert time.monotonic() - began < 1.25 * TIMEOUT_S


def test_who_watches_sees_a_fail_over_and_what_was_there_before_it(shell: Shell, make: Make) -> None:
    first = make("n1")
    second = make("n2")
    eventually(lambda: alive(first, 2), WITHIN_S)
    with Client(second.endpoints[0]) as client:
        eye = Eye(client)
        assert headline(eye.look()) == "n1 leads, epoch 1; 2 nodes"
        first.stop()
        eventually(lambda: headline(eye.look()) == "n2 leads, epoch 2; 1 node", WITHIN_S)
        second.stop()
        last = eventually(lambda: look if (look := eye.look()).leader is None else None, WITHIN_S)
    assert last is not None
    assert headline(last).startswith("nobody leads; ")
    assert [member.node for member in last.members] == ["n2"]


def headline(look: Look) -> str:
    return str(render(look).renderables[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_script_runs_a_cluster_and_leaves_no_node_behind(tmp_path: Path, number: int) -> None:
    (tmp_path / "app.py").write_text("from callsheet import Scheduler\nscheduler = Scheduler(threads=1, processes=0)\n")
    store = f"sqlite:///{tmp_path}/jobs.db"
    script = ROOT / "scripts" / "local_cluster.py"
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, script, "2", "app.py", "--store", store, "--", "--threads", "1"],
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path), "PATH": os.defpath},
            stdout=said,
            stderr=said,
        )
    try:
        logs = eventually(lambda: found if len(found := logs_of(process, tmp_path)) == 2 else [], WITHIN_S)
        eventually(lambda: all("ready" in log.read_text() for log in logs), WITHIN_S)
        process.send_signal(number)
        code = process.wait(WITHIN_S)
    finally:
        process.kill()
    text = (tmp_path / "said").read_text()

    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0), text
    eventually(lambda: all("stopped" in log.read_text() for log in logs), WITHIN_S)
    assert ("n1: stopped\nn2: stopped\n" in text) == (number == signal.SIGINT)
    named = text.split("see them:  ")[1].split(" cluster --store")[0].split()
    assert shutil.which(named[0], path=os.defpath), f"{named[0]} cannot be typed as it is said"


def logs_of(process: subprocess.Popen[bytes], folder: Path) -> list[Path]:
    assert process.poll() is None, (folder / "said").read_text()
    return sorted(folder.glob("callsheet-cluster-*/n*.log"))
