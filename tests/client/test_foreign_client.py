"""A client that is made of docs/protocol.md alone: ZeroMQ, MessagePack and what stands on that page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import zmq

from support.reached import Make

WAIT_MS = 20_000
INCARNATION = "71-a1b2"
NAME = f"client-{INCARNATION}"


class Foreigner:
    """Knows nothing of callsheet."""

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self._number = 0
        self.node = ""
        self.leader = ""
        self.ends: dict[int, list[Any]] = {}
        self._messages = self._read()
        self._connect(endpoint)

    def _connect(self, endpoint: str) -> None:
        self._number += 1
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.ROUTING_ID, b"\0".join((NAME.encode(), INCARNATION.encode(), b"%d" % self._number)))
        self._socket.connect(endpoint)
        hello = {"major": 1, "minor": 0, "name": NAME, "incarnation": INCARNATION, "kind": "client", "endpoint": ""}
        self._socket.send(b"H" + msgpack.packb(hello))
        kind, body = self._receive()
        assert kind == b"W", (kind, body)
        self.node = msgpack.unpackb(body)["name"]

    def close(self) -> None:
        self._socket.close()
        self._context.term()

    def _receive(self) -> tuple[bytes, bytes]:
        assert self._socket.poll(WAIT_MS), "nothing came"
        frame = self._socket.recv()
        return frame[:1], frame[1:]

    def send(self, actor: str, message: dict[str, Any]) -> None:
        envelope = msgpack.packb([NAME, f"{actor}@{self.node}", 0, [message]])
        self._socket.send(b"E" + len(envelope).to_bytes(4, "big") + envelope)

    def _read(self) -> Iterator[dict[str, Any]]:
        """What comes, for ever; what stands behind an answer in its frame is the next."""
        while True:
            kind, body = self._receive()
            assert kind == b"E", (kind, body)
            while body:
                length = int.from_bytes(body[:4], "big")
                _, recipient, _, messages = msgpack.unpackb(body[4 : 4 + length])
                assert recipient == NAME
                body = body[4 + length :]
                yield from messages

    def ask(self, actor: str, **message: Any) -> dict[str, Any]:
        """The answer to a request; ends that come meanwhile are kept."""
        self.send(actor, message)
        for answer in self._messages:
            if answer["type"] == "runs_ended":
                self.ends.update({end[0]: end for end in answer["ends"]})
            elif answer["key"] == message["key"]:
                return answer
        raise AssertionError

    def end_of(self, run_id: int) -> list[Any]:
        while run_id not in self.ends:
            message = next(self._messages)
            if message["type"] == "runs_ended":
                self.ends.update({end[0]: end for end in message["ends"]})
        return self.ends[run_id]


def multiply(left: int, *, right: int) -> int:
    return left * right


def fail() -> None:
    raise ValueError("no good")


@pytest.fixture
def foreigner(make: Make) -> Iterator[Foreigner]:
    node = make("memory://", processes=0, listen="tcp://127.0.0.1:0", name="n1")
    node.add(multiply, name="multiply", overlap="allow_all")
    node.add(fail, name="fail")
    node.start()
    made = Foreigner(node.endpoints[0])
    yield made
    made.close()


def test_it_finds_the_leader(foreigner: Foreigner) -> None:
    assert foreigner.node == "n1"
    answer = foreigner.ask("coordinator", type="follow", key="f")
    assert (answer["type"], answer["node"]) == ("leader_is", "n1")
    assert answer["address"].startswith("tcp://127.0.0.1:")
    assert answer["epoch"] >= 1


def test_it_submits_a_run_and_is_told_its_end(foreigner: Foreigner) -> None:
    arguments = msgpack.packb([[6], {"right": 7}])
    item = ["multiply", arguments, None, None, 0]
    accepted = foreigner.ask("registry", type="submit", key="71-a1b2/1", tenant="default", items=[item], cause="submit")
    assert accepted["type"] == "accepted"
    [run_id] = accepted["run_ids"]

    end = foreigner.end_of(run_id)

    assert end[1] == "SUCCEEDED"
    assert msgpack.unpackb(end[7]) == 42
    question = {"type": "get_runs", "tenant": "default", "run_ids": [run_id]}
    name, rows = foreigner.ask("registry", type="query", key="71-a1b2/2", question=question)["rows"]
    assert (name, rows[0]["run"][2], rows[0]["end"][1]) == ("run_record", "multiply", "SUCCEEDED")


def test_what_is_asked_again_is_done_once(foreigner: Foreigner) -> None:
    item = ["multiply", msgpack.packb([[1], {"right": 1}])]  # fields at the end may be left out
    request = {"type": "submit", "key": "71-a1b2/1", "tenant": "default", "items": [item]}
    first = foreigner.ask("registry", **request)
    again = foreigner.ask("registry", **request)
    assert again["run_ids"] == first["run_ids"]
    foreigner.ends.clear()
    foreigner.send("registry", {"type": "watch", "key": "w", "tenant": "default", "run_ids": first["run_ids"]})
    assert foreigner.end_of(first["run_ids"][0])[1] == "SUCCEEDED"


def test_it_reads_failures_and_refusals(foreigner: Foreigner) -> None:
    accepted = foreigner.ask("registry", type="submit", key="71-a1b2/1", tenant="default", items=[["fail"]])
    end = foreigner.end_of(accepted["run_ids"][0])
    assert end[1] == "FAILED"
    kind, _, text, traceback = end[8]
    assert (kind, text) == ("ValueError", "no good")
    assert "raise ValueError" in traceback

    refused = foreigner.ask("registry", type="submit", key="71-a1b2/2", tenant="default", items=[["nobody"]])
    assert (refused["type"], refused["code"], refused["index"]) == ("request_rejected", "unknown_job", 0)
    unknown = foreigner.ask("registry", type="cancel_run", key="71-a1b2/3", tenant="default", run_id=99)
    assert unknown["code"] == "unknown_run"


def test_it_adds_a_job_and_finds_it_again(foreigner: Foreigner) -> None:
    trigger = {"type": "cron", "expression": "0 2 * * *", "zone": "Europe/Berlin"}
    job = {"tenant": "default", "name": "nightly", "target": "multiply", "trigger": trigger, "tags": ["a"]}
    job["arguments"] = msgpack.packb([[6], {"right": 7}])
    added = foreigner.ask("registry", type="add_jobs", key="71-a1b2/1", jobs=[job])
    assert (added["type"], added["added"]) == ("jobs_added", 1)
    question = {"type": "list_jobs", "tenant": "default", "tag": "a"}
    name, rows = foreigner.ask("registry", type="query", key="71-a1b2/2", question=question)["rows"]
    assert (name, rows[0]["job"]["name"], rows[0]["state"]["status"]) == ("job_record", "nightly", "active")
    fired = foreigner.ask(
        "registry", type="submit", key="71-a1b2/3", tenant="default", items=[["nightly"]], cause="trigger"
    )
    assert msgpack.unpackb(foreigner.end_of(fired["run_ids"][0])[7]) == 42


def test_it_asks_for_metrics_and_members(foreigner: Foreigner) -> None:
    assert "callsheet_" in foreigner.ask("metrics", type="report_metrics", key="m")["text"]
    listed = foreigner.ask("coordinator", type="list_members", key="l")
    assert listed["type"] == "members_listed"
    assert [member[0] for member in listed["members"]] == ["n1"]
