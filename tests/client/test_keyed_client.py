"""Clients of a scheduler that lets in by key."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from callsheet import AsyncClient, CallsheetError, Client
from callsheet.errors import Forbidden, SecurityError
from callsheet.transport.security.keys import CLUSTER, KeyFolder
from support.reached import Make
from support.waiting import eventually

NOW = "2026-11-22T00:00:00Z"
WAIT_S = 20.0


def double(number: int) -> int:
    return 2 * number


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    made = KeyFolder(tmp_path / "keys")
    made.new(CLUSTER, "node", "*", NOW)
    return made


@pytest.fixture
def endpoint(make: Make, keys: KeyFolder) -> str:
    node = make("memory://", processes=0, listen="tcp://127.0.0.1:0", keys=keys.path)
    node.add(double, name="double", overlap="allow_all")
    node.start()
    return node.endpoints[0]


def test_a_key_is_let_in_and_may_do_what_its_role_allows(keys: KeyFolder, endpoint: str) -> None:
    _, alice = keys.new("alice", "operator", "default", NOW)

    with Client(endpoint, key=alice) as client:
        assert client.submit("double", 4).result(WAIT_S) == 8
        with pytest.raises(Forbidden, match="author"):
            client.remove("double")
        assert [job.name for job in client.jobs()] == ["double"]
    with Client(endpoint, key=alice, tenant="other") as stranger, pytest.raises(Forbidden, match="tenant"):
        stranger.jobs()


def test_coroutines_have_the_same_key(keys: KeyFolder, endpoint: str) -> None:
    _, alice = keys.new("alice", "operator", "default", NOW)

    async def main() -> None:
        async with AsyncClient(endpoint, key=alice) as client:
            assert await (await client.submit("double", 4)) == 8
            with pytest.raises(Forbidden):
                await client.remove("double")

    asyncio.run(main())


def test_who_has_no_key_or_another_clusters_is_not_let_in(keys: KeyFolder, endpoint: str, tmp_path: Path) -> None:
    others = KeyFolder(tmp_path / "others")
    others.new(CLUSTER, "node", "*", NOW)
    _, foreign = others.new("alice", "admin", "*", NOW)

    for key in (None, foreign):
        with pytest.raises(TimeoutError, match="nobody is known to lead") as caught:
            Client(endpoint, key=key, timeout=1.5).open()
        assert endpoint in str(caught.value)
    with pytest.raises(SecurityError):
        Client(endpoint, key=tmp_path / "none.secret")


def test_a_key_that_is_revoked_can_do_no_more(keys: KeyFolder, endpoint: str) -> None:
    _, alice = keys.new("alice", "operator", "default", NOW)
    with Client(endpoint, key=alice, timeout=5) as client:
        assert client.submit("double", 4).result(WAIT_S) == 8
        keys.revoke("alice", NOW)
        assert isinstance(eventually(lambda: error_of(client)), Forbidden)


def error_of(client: Client) -> Exception | None:
    try:
        client.submit("double", 4)
    except (CallsheetError, TimeoutError) as error:
        return error
    return None


def test_who_waits_for_a_run_is_told_that_his_key_was_revoked(make: Make, keys: KeyFolder) -> None:
    _, alice = keys.new("alice", "operator", "default", NOW)
    may_end = threading.Event()
    node = make("memory://", processes=0, listen="tcp://127.0.0.1:0", keys=keys.path)
    node.add(lambda: may_end.wait(WAIT_S), name="long", overlap="allow_all")
    node.start()

    async def main() -> None:
        async with AsyncClient(node.endpoints[0], key=alice) as client:
            handle = await client.handle(1)
            await asyncio.to_thread(keys.revoke, "alice", NOW)
            with pytest.raises(Forbidden, match="revoked"):
                await handle.wait(WAIT_S)

    with Client(node.endpoints[0], key=alice) as client:
        handle = client.submit("long")
        asyncio.run(main())
        with pytest.raises(Forbidden, match="revoked"):
            handle.result(WAIT_S)
    may_end.set()
