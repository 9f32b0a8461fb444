"""A client of a scheduler that it is no part of, over real sockets."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from callsheet import (
    CallsheetError,
    Client,
    DefinitionError,
    JobConflict,
    NotRunning,
    RunError,
    Scheduler,
    StoreError,
    UnknownJob,
    UnknownRun,
    every,
)
from callsheet.client.leadership import Leader
from callsheet.transport.endpoint import MAX_DIALED
from support.reached import WAIT_S, Make, echo
from support.waiting import eventually

HOUR = timedelta(hours=1)


@pytest.fixture
def client(node: Scheduler) -> Iterator[Client]:
    with Client(node.endpoints[0]) as made:
        yield made


def free_endpoint() -> str:
    """Where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


# ---- the words ----------------------------------------------------------------------------------------------------------


def test_the_same_words_reach_a_scheduler_from_outside(node: Scheduler, client: Client) -> None:
    handle = client.submit("echo", "xy")

    assert handle.result(WAIT_S) == "xyxy"
    assert client.trigger("echo").result(WAIT_S) == "abab"
    assert handle.status().state == "SUCCEEDED"
    assert handle.logs() == "xy\n"
    assert [job.name for job in client.jobs(tag="loud")] == ["echo"]
    assert [run.job for run in client.runs("echo", state="succeeded")] == ["echo", "echo"]
    assert client.handle(handle.run_id).result(WAIT_S) == "xyxy"
    client.pause("echo")
    assert node.job_view("echo").status == "paused"
    client.resume("echo")
    assert [event.kind for event in client.events("echo") if event.kind != "audit"] == ["job_resume", "job_pause"]
    assert "callsheet_runs_created_total" in client.metrics()
    assert client.leader is not None
    assert client.leader.node == node.node_name


def test_refusals_come_back_as_the_same_errors(client: Client) -> None:
    with pytest.raises(UnknownJob):
        client.trigger("nobody")
    with pytest.raises(UnknownRun):
        client.cancel(99)
    with pytest.raises(DefinitionError, match="knows jobs by their names"):
        client.submit(echo, "xy")
    with pytest.raises(RunError, match="no good"):
        client.submit("fail").result(WAIT_S)


def test_the_preview_of_a_job_counts_from_when_it_was_added(node: Scheduler, client: Client) -> None:
    node.add(echo, every("1h").but(limit=3), name="hourly", args=["tick"])

    due = client.job_view("hourly").next_due
    assert due is not None
    assert [row.instant for row in client.preview("hourly", 5)] == [due, due + HOUR, due + 2 * HOUR]
    assert client.preview("echo") == []


def test_more_runs_than_one_page_holds_are_listed(client: Client) -> None:
    handles = client.submit_many([("echo", str(number)) for number in range(40)])

    assert {str(state) for state in client.wait(handles, WAIT_S)} == {"SUCCEEDED"}
    assert [handle.result() for handle in handles] == [str(number) * 2 for number in range(40)]
    assert [run.run_id for run in client.runs(limit=30)] == [handle.run_id for handle in handles[:9:-1]]
    assert len(client.runs(limit=1_000, state="succeeded")) == 40


def test_results_too_large_for_one_frame_come_page_by_page(client: Client) -> None:
    handles = client.submit_many([("echo", "x" * 250_000) for _ in range(40)])

    client.wait(handles, 2 * WAIT_S)
    assert len(client.runs(limit=40)) == 40


def test_jobs_too_large_for_one_frame_come_page_by_page(node: Scheduler, client: Client) -> None:
    node.add_many((echo, None, {"name": f"job {number:03}", "args": ["x" * 250_000]}) for number in range(70))

    assert [job.name for job in client.jobs()] == ["echo", "fail", *(f"job {number:03}" for number in range(70))]


def test_what_is_too_large_for_one_frame_comes_to_a_scheduler_that_does_not_lead_too(make: Make, file_url: str) -> None:
    nodes = [make(file_url, processes=0, name=name) for name in ("n1", "n2")]
    for each in nodes:
        each.add(echo, name="echo", overlap="allow_all")
        each.start()
    leader = eventually(lambda: nodes[1].leader)
    assert leader is not None
    follower = next(each for each in nodes if each.node_name != leader.node)
    follower.add_many((echo, None, {"name": f"job {number:03}", "args": ["x" * 250_000]}) for number in range(70))
    follower.wait(follower.submit_many([("echo", "x" * 250_000) for _ in range(40)]), 2 * WAIT_S)

    assert len(follower.runs(limit=40)) == 40
    assert len(follower.jobs()) == 71


def test_arguments_too_large_for_one_frame_go_in_several(client: Client) -> None:
    handles = client.submit_many([("echo", "x" * 250_000) for _ in range(80)])

    assert {str(state) for state in client.wait(handles, 2 * WAIT_S)} == {"SUCCEEDED"}


def test_ten_thousand_runs_go_and_end(client: Client) -> None:
    handles = client.submit_many([("echo", "x")] * 10_000)

    assert len({handle.run_id for handle in handles}) == 10_000
    assert {str(state) for state in client.wait(handles, 3 * WAIT_S)} == {"SUCCEEDED"}


def test_waiting_for_many_has_one_time_limit(node: Scheduler, client: Client, gate: Any) -> None:
    node.add(gate, name="gate", overlap="allow_all")
    handles = client.submit_many([("gate",)] * 3)
    began = time.monotonic()

    with pytest.raises(TimeoutError, match="has not ended within"):
        client.wait(handles, 0.2)
    assert time.monotonic() - began < WAIT_S
    gate.open()
    assert len(client.wait(handles, WAIT_S)) == 3


def test_one_idempotency_key_is_one_run_whoever_submits_it(node: Scheduler, client: Client) -> None:
    first = client.options(idempotency_key="k").submit("echo", "a")
    assert first.result(WAIT_S) == "aa"
    with Client(node.endpoints[0]) as other:
        again = other.options(idempotency_key="k").submit("echo", "a")
        assert again.run_id == first.run_id
        assert again.result(WAIT_S) == "aa"
        with pytest.raises(JobConflict):
            other.options(idempotency_key="k").submit("echo", "b")


def test_the_history_is_followed_as_it_grows(client: Client) -> None:
    events = (event.kind for event in client.follow_events("echo") if event.kind != "audit")

    client.pause("echo")
    assert next(events) == "job_pause"
    client.resume("echo")
    client.pause("echo")
    assert [next(events), next(events)] == ["job_resume", "job_pause"]


# ---- opening and closing ------------------------------------------------------------------------------------------------


def test_who_opens_a_client_that_is_closed_meanwhile_is_told_so_at_once() -> None:
    client = Client("tcp://127.0.0.1:1")
    told: SimpleQueue[BaseException] = SimpleQueue()

    def open_it() -> None:
        try:
            client.open(2 * WAIT_S)
        except (CallsheetError, TimeoutError) as error:
            told.put(error)

    opening = threading.Thread(target=open_it)
    opening.start()
    while opening.is_alive():
        client.close()

    error = told.get(timeout=WAIT_S)
    assert isinstance(error, NotRunning)
    assert str(error) == "this client was closed"


def test_a_client_that_is_not_open_says_so(node: Scheduler) -> None:
    client = Client(node.endpoints[0])
    with pytest.raises(NotRunning, match="not open"):
        client.jobs()
    with client:
        assert client.jobs()
        with pytest.raises(NotRunning, match="open already"):
            client.open()
    with pytest.raises(NotRunning, match="was closed"):
        client.jobs()
    client.close()
    with client:
        assert client.jobs(), "it may be opened again"


def test_an_endpoint_where_nobody_lives_is_named_when_the_time_is_up() -> None:
    nowhere = [free_endpoint(), free_endpoint()]
    with pytest.raises(TimeoutError) as caught:
        Client(nowhere, timeout=0.3).open()
    for endpoint in nowhere:
        assert endpoint in str(caught.value)
    assert "within 0.3 s" in str(caught.value)


def test_one_endpoint_that_lives_is_enough(node: Scheduler) -> None:
    with Client([free_endpoint(), node.endpoints[0]]) as client:
        assert client.submit("echo", "a").result(WAIT_S) == "aa"


def test_a_store_leads_to_the_scheduler_that_runs_on_it(make: Make, file_url: str) -> None:
    scheduler = make(file_url, processes=0)
    scheduler.add(echo, name="echo")
    scheduler.start()
    with Client(file_url) as client:
        assert client.submit("echo", "a").result(WAIT_S) == "aa"


def test_a_store_that_is_not_there_or_that_nobody_runs_is_told(make: Make, file_url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not there"):
        Client(f"sqlite:///{tmp_path / 'none.db'}").open()
    make(file_url, processes=0).start().stop()
    with pytest.raises(TimeoutError, match=r"nobody is known to lead \(asked through sqlite:///"):
        Client(file_url, timeout=0.3).open()


@pytest.mark.parametrize(
    "endpoints",
    [
        [],
        "",
        "localhost:7070",
        "tcp://localhost",
        "tcp://:7070",
        "tcp://a:x",
        "tcp://a:1/x",
        "ipc://relative",
        5,
        "http://localhost:80",
        "memory://",
        ["tcp://a:1"] * 65,
    ],
    ids=str,
)
def test_what_is_no_endpoint_is_refused_at_once(endpoints: Any) -> None:
    with pytest.raises(DefinitionError, match="endpoint"):
        Client(endpoints)


def test_whoever_waits_is_told_when_the_client_is_closed(node: Scheduler, client: Client, gate: Any) -> None:
    node.add(gate, name="gate")
    handle = client.submit("gate")
    gate.wait_reached()
    closing = threading.Timer(0.05, client.close)
    closing.start()
    with pytest.raises(NotRunning, match="closed"):
        handle.result(WAIT_S)
    closing.join()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_is_refused_the_parents_client_whatever_the_parent_was_doing(
    node: Scheduler, client: Client
) -> None:
    handle = client.submit("echo", "a")
    never_opened = Client(node.endpoints[0])

    def use() -> int:
        refused = 0
        for word in (
            client.jobs,
            client.open,
            handle.cancel,
            lambda: client.submit("echo", "a"),
            lambda: client.leader,
        ):
            try:
                word()
            except NotRunning as error:
                refused += f"was opened in process {os.getppid()}" in str(error)
        client.close()
        with never_opened:
            return refused + int(never_opened.submit("echo", "b").result(WAIT_S) == "bb")

    with client.gateway._lock, client._state:  # as another thread may have them at the instant of the fork
        child = os.fork()
        if child == 0:
            signal.alarm(15)
            os._exit(use())

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 6
    assert client.submit("echo", "c").result(WAIT_S) == "cc"


# ---- another leader -----------------------------------------------------------------------------------------------------


def test_a_client_finds_the_scheduler_again_that_was_started_anew(make: Make, file_url: str) -> None:
    first = make(file_url, processes=0)
    first.add(echo, name="echo", overlap="allow_all")
    first.start()
    with Client(file_url) as client:
        assert client.submit("echo", "a").result(WAIT_S) == "aa"
        waiting = client.options(delay=1.0).submit("echo", "b")
        first.stop()
        second = make(file_url, processes=0)
        second.add(echo, name="echo", overlap="allow_all")
        second.start()
        assert waiting.result(WAIT_S) == "bb"
        assert client.submit("echo", "c").result(WAIT_S) == "cc"


def test_a_client_goes_on_with_the_node_that_leads_next(make: Make, file_url: str) -> None:
    nodes = [make(file_url, processes=0, name=f"n{number}") for number in (1, 2)]
    for each in nodes:
        each.add(echo, name="echo", overlap="allow_all")
        each.start()
    with Client(file_url) as client:
        first = client.leader
        assert first is not None
        leader = next(each for each in nodes if each.node_name == first.node)
        waiting = client.options(delay=1.5).submit("echo", "a")
        leader.stop()
        assert waiting.result(WAIT_S) == "aa"
        assert client.submit("echo", "b").result(WAIT_S) == "bb"
        second = client.leader
        assert second is not None
        assert second.node != first.node
        assert second.epoch > first.epoch


def test_a_client_goes_on_with_a_leader_that_was_started_anew_under_another_name(make: Make, file_url: str) -> None:
    place = free_endpoint()
    first = make(file_url, processes=0, name="first", listen=place)
    first.add(echo, name="echo", overlap="allow_all")
    first.start()
    worker = make(processes=0, name="worker", listen="tcp://127.0.0.1:0", join=place, worker_only=True)
    worker.start()
    with Client(worker.endpoints[0]) as client:
        assert client.submit("echo", "a").result(WAIT_S) == "aa"
        first.stop()
        second = make(file_url, processes=0, name="second", listen=place)
        second.add(echo, name="echo", overlap="allow_all")
        second.start()

        assert client.submit("echo", "b").result(WAIT_S) == "bb"
        assert client.leader is not None
        assert client.leader.node == "second"


def test_however_many_names_a_leader_has_had_a_client_finds_the_next(node: Scheduler, client: Client) -> None:
    place = free_endpoint()

    for number in range(2 * MAX_DIALED):
        client._on_leader(Leader(number, f"n{number}", place))
    client._on_leader(Leader(2 * MAX_DIALED, node.node_name, node.endpoints[0]))

    transport = client._transport
    assert transport is not None
    assert sorted(transport._places) == sorted([f"n{2 * MAX_DIALED - 1}", node.node_name])


def test_a_scheduler_that_does_not_lead_says_the_same_words(make: Make, file_url: str) -> None:
    nodes = [make(file_url, processes=0, name=f"n{number}") for number in (1, 2)]
    for each in nodes:
        each.add(echo, name="echo", overlap="allow_all")
        each.start()
    for each in nodes:
        assert each.submit("echo", "a").result(WAIT_S) == "aa"
    eventually(lambda: len(nodes[1].runs("echo")) == 2)
