"""A start that cannot be leaves nothing behind, and is tried again."""

from __future__ import annotations

import socket
import threading
import urllib.request
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from callsheet import Client, DefinitionError, Scheduler
from callsheet.actors.executor.functions import Functions
from callsheet.actors.executor.local_runner import LocalRunner
from callsheet.actors.persistence.memory import MemoryStore
from callsheet.errors import CallsheetError, ListenError, SecurityError
from callsheet.node import Node, NodeOptions, new_incarnation
from support.descriptors import no_descriptor_left
from support.reached import WAIT_S, Make, add_echo_and_fail


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("word", ["listen", "join"])
@pytest.mark.parametrize(
    "endpoint",
    ["tcp://127.0.0.1", "tcp://:7070", "tcp://a:70700", "tcp://a:x", "tcp://a:1/x", "tcp://a b:1", "ipc://", "7070", 5],
)
def test_what_is_no_endpoint_is_refused_before_anything_starts(word: str, endpoint: Any, file_url: str) -> None:
    with pytest.raises(DefinitionError, match=f"{word} takes endpoints such as tcp://"):
        Scheduler(file_url, **{word: endpoint})


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:0", "tcp://127.0.0.1:*", "tcp://*:7070"])
def test_a_port_or_an_address_that_is_open_is_listened_at_and_never_joined(endpoint: str) -> None:
    Scheduler("memory://", listen=endpoint)
    with pytest.raises(DefinitionError, match="join takes endpoints"):
        Scheduler("memory://", join=endpoint)


def test_more_endpoints_than_can_be_dialed_are_refused_before_anything_starts() -> None:
    with pytest.raises(DefinitionError, match="join takes at most 200 endpoints; 201 were given"):
        Scheduler("memory://", join=[f"tcp://127.0.0.1:{1_000 + number}" for number in range(201)])


def test_a_node_that_cannot_dial_where_it_is_to_join_does_not_run() -> None:
    before = threads()
    runner = LocalRunner(Functions(), incarnation="1", marks_folder=None)
    node = Node(MemoryStore(), runner, incarnation=new_incarnation(), options=NodeOptions(join=("tcp://127.0.0.1",)))
    node.open()

    with pytest.raises(DefinitionError, match="no endpoint"):
        node.start()

    assert threads() == before


def test_a_scheduler_that_could_not_start_can_be_started_when_the_cause_is_gone(make: Make, file_url: str) -> None:
    before = threads()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        scheduler = add_echo_and_fail(make(file_url, processes=0, http=f"127.0.0.1:{taken.getsockname()[1]}"))
        for _ in range(2):
            with pytest.raises(ListenError, match="cannot serve HTTP"):
                scheduler.start()
            assert not scheduler.running
            assert threads() == before

    assert scheduler.start().submit("echo", "a").result(WAIT_S) == "aa"


def test_http_that_others_reach_needs_a_token_or_that_it_is_said_to_be_insecure(make: Make) -> None:
    with pytest.raises(SecurityError, match=r"no token is set.*say `insecure`"):
        make("memory://", processes=0, http="0.0.0.0:0").start()

    scheduler = make("memory://", processes=0, http="0.0.0.0:0", insecure=True).start()
    port = scheduler.http_address.rpartition(":")[2]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=WAIT_S) as answer:
        assert b"callsheet_" in answer.read()


def test_listening_where_others_come_in_needs_keys_or_that_it_is_said_to_be_insecure(make: Make) -> None:
    with pytest.raises(SecurityError, match=r"without keys.*say `insecure`"):
        make("memory://", processes=0, listen="tcp://0.0.0.0:0").start()

    scheduler = add_echo_and_fail(make("memory://", processes=0, listen="tcp://0.0.0.0:0", insecure=True)).start()
    port = scheduler.endpoints[0].rpartition(":")[2]
    with Client(f"tcp://127.0.0.1:{port}") as client:
        assert client.submit("echo", "a").result(WAIT_S) == "aa"


def test_a_store_in_a_folder_with_a_blank_in_its_name_makes_a_cluster_like_any_other(make: Make) -> None:
    with TemporaryDirectory(prefix="my jobs ") as folder:  # short: the sockets are beside the store
        url = f"sqlite:///{folder}/jobs.db"
        nodes = [add_echo_and_fail(make(url, processes=0, name=name)).start() for name in ("n1", "n2")]
        assert all(" " in node.endpoints[0] for node in nodes)

        assert nodes[1].options(timeout=WAIT_S).submit("echo", "a").result(WAIT_S) == "aa"
        with Client(url) as client:
            assert client.submit("echo", "b").result(WAIT_S) == "bb"
        for node in nodes:
            node.stop(drain_timeout=0)


def test_a_start_that_finds_too_few_descriptors_says_how_many_it_takes_and_is_tried_again(file_url: str) -> None:
    scheduler = Scheduler(file_url, processes=0)
    with no_descriptor_left():
        with pytest.raises(
            CallsheetError, match=r"a scheduler needs 40 files and sockets .* only 0 more can be opened"
        ):
            scheduler.start()
        with pytest.raises(CallsheetError, match="waiting for signals needs 2 files"):
            scheduler.run()
    with scheduler:
        assert scheduler.submit(len, "ab").result(WAIT_S) == 2
