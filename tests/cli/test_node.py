"""`callsheet node`: what it refuses, what it says, and how it ends."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from callsheet import Client, Scheduler
from callsheet.cli.application import run
from support.nodes import WITHIN_S, Nodes, nodes_in
from support.waiting import eventually

PROGRAM = """
from callsheet import Scheduler

scheduler = Scheduler("sqlite:///jobs.db", threads=7, processes=0, labels=["old"])


@scheduler.job(labels=["gpu"], resources={"memory_gb": 4})
def train():
    return "trained"
"""
TOKEN = "a-token-that-is-long-enough"


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with nodes_in(tmp_path) as made:
        made.write("app.py", PROGRAM)
        yield made


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--worker-only", "--join", "tcp://127.0.0.1:9"], "no functions"),
        (["--threads", "2"], "name the program"),
        (["app.py", "--worker-only"], "say where they listen"),
        (["app.py", "--worker-only", "--store", "sqlite:///jobs.db"], "no store"),
        (["app.py", "--resources", "memory_gb"], "NAME=UNITS"),
        (["app.py", "--resources", "memory_gb=1.5"], "NAME=UNITS"),
        (["app.py", "--labels", "a b"], "a label is a word"),
        (["app.py", "--listen", "7070"], "listen takes endpoints"),
        (["app.py", "--log-format", "xml"], "--log-format"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(
    arguments: list[str], told: str, nodes: Nodes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(nodes.folder)

    code = run(["node", *arguments])

    said = capsys.readouterr()
    assert code == 2
    assert told in said.err
    assert said.out == ""


def test_listening_for_strangers_without_keys_is_refused(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(nodes.folder)

    assert run(["node", "app.py", "--listen", "tcp://0.0.0.0:*"]) == 1
    assert "without keys" in capsys.readouterr().err


def test_its_options_override_what_the_program_says(nodes: Nodes) -> None:
    store = f"sqlite:///{nodes.folder}/other.db"
    options = ["--store", store, "--labels", "gpu,zone=eu-1", "--labels", "fast", "--resources", "memory_gb=8,disk=2"]
    node = nodes.start("app.py", "--threads", "3", "--listen", "tcp://127.0.0.1:*", *options, name="n1")

    told = node.wait_ready()
    with Client(told["endpoints"][0]) as client:
        (member,) = client.members()
        assert client.submit("train").result(WITHIN_S) == "trained"

    assert (told["node"], told["role"], told["leader"], told["epoch"]) == ("n1", "leader", "n1", 1)
    assert [endpoint.partition(":")[0] for endpoint in told["endpoints"]] == ["tcp", "ipc"]
    assert (member.labels, member.places["thread"]) == (("fast", "gpu", "zone=eu-1"), (0, 3))
    assert not (nodes.folder / "jobs.db").exists()
    assert node.stop() == 0
    assert node.told()[-1] == {"event": "stopped", "node": "n1"}


def test_it_serves_health_and_metrics_to_who_has_the_token_of_the_environment(nodes: Nodes) -> None:
    nodes.set("CALLSHEET_HTTP_TOKEN", TOKEN)
    node = nodes.start("app.py", "--http", "127.0.0.1:0", "--log-format", "json", name="n1")
    address = node.wait_ready()["http"]

    assert ask(address, "/health/ready") == 200
    assert ask(address, "/metrics") == 401
    assert ask(address, "/metrics", TOKEN) == 200
    assert TOKEN not in node.log
    assert '"event": "leader_changed"' in node.log


def ask(address: str, path: str, token: str = "") -> int:
    line = http.client.HTTPConnection(address, timeout=WITHIN_S)
    line.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
    status = line.getresponse().status
    line.close()
    return status


def test_a_node_without_a_program_may_lead_for_those_that_only_work(nodes: Nodes) -> None:
    leader = nodes.start("--store", "sqlite:///jobs.db", "--listen", "tcp://127.0.0.1:*", name="boss")
    hand = nodes.start(
        *("app.py", "--worker-only", "--join", leader.wait_ready()["endpoints"][0]),
        *("--labels", "gpu", "--resources", "memory_gb=4"),
        name="hand",
    )

    told = hand.wait_ready()
    assert (told["role"], told["leader"], told["endpoints"]) == ("worker", "boss", [])
    # what a program declares is stored by a node that has the store
    with Scheduler(f"sqlite:///{nodes.folder}/jobs.db", threads=0, processes=0) as scheduler:
        scheduler.add(train, name="train", labels=["gpu"])
        assert scheduler.submit("train").result(WITHIN_S) == "trained"


def test_a_node_whose_output_nobody_reads_works_all_the_same_and_says_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PROGRAM.replace('labels=["gpu"], resources={"memory_gb": 4}', ""))
    reader, writer = os.pipe()
    os.close(reader)
    with (tmp_path / "err").open("w") as err:
        node = subprocess.Popen(
            [sys.executable, "-m", "callsheet.cli", "node", "app.py"], cwd=tmp_path, stdout=writer, stderr=err
        )
    os.close(writer)
    try:
        eventually(lambda: "leader_changed" in (tmp_path / "err").read_text(), WITHIN_S)
        with Client(f"sqlite:///{tmp_path}/jobs.db") as client:
            assert client.submit("train").result(WITHIN_S) == "trained"
    finally:
        node.terminate()
        assert node.wait(WITHIN_S) == 0

    assert "Traceback" not in (tmp_path / "err").read_text()


def train() -> str:
    raise AssertionError("this process has no places")
