"""The client for an event loop."""

from __future__ import annotations

import asyncio
import inspect
import time
from contextlib import suppress
from typing import Any

import pytest

from callsheet import AsyncClient, Client, NotRunning, RunError, Scheduler, UnknownJob
from callsheet.client.async_client import MAX_THREADS
from support.reached import WAIT_S, echo

TIMEOUT_S = 1.0


def test_it_says_every_word_of_the_client() -> None:
    machinery = {"open", "close", "gateway", "resolve", "has_arguments", "look_again", "follow"}
    words = {name for name, _ in inspect.getmembers(Client) if not name.startswith("_")} - machinery
    missing = words - {name for name, _ in inspect.getmembers(AsyncClient)}
    assert not missing, f"add them to AsyncClient, one line each: {sorted(missing)}"


def test_the_same_words_are_said_as_coroutines(node: Scheduler) -> None:
    async def main() -> None:
        async with AsyncClient(node.endpoints[0]) as client:
            handle = await client.submit("echo", "xy")
            assert await handle == "xyxy"
            assert await handle.result(1) == "xyxy"
            assert str(await handle.wait(1)) == "SUCCEEDED"
            assert (await handle.status()).state == "SUCCEEDED"
            assert await handle.logs() == "xy\n"
            assert (handle.job, handle.tenant, handle.done) == ("echo", "default", True)
            assert await (await client.trigger("echo")) == "abab"
            assert await (await client.handle(handle.run_id)) == "xyxy"
            assert [job.name for job in await client.jobs(tag="loud")] == ["echo"]
            assert len(await client.runs("echo", state="succeeded")) == 2
            await client.pause("echo")
            assert (await client.job_view("echo")).status == "paused"
            await client.resume("echo")
            assert "callsheet" in await client.metrics()
            with pytest.raises(UnknownJob):
                await client.trigger("nobody")
            with pytest.raises(RunError, match="no good"):
                await (await client.submit("fail"))

    asyncio.run(main())


def test_a_thousand_are_on_their_way_at_once(node: Scheduler) -> None:
    async def main() -> None:
        async with AsyncClient(node.endpoints[0]) as client:
            handles = await asyncio.gather(*(client.submit("echo", str(number)) for number in range(1_000)))
            assert len({handle.run_id for handle in handles}) == 1_000
            assert await asyncio.gather(*handles) == [str(number) * 2 for number in range(1_000)]
            many = await client.submit_many([("echo", "x")] * 6_000)
            assert {str(state) for state in await client.wait(many, 2 * WAIT_S)} == {"SUCCEEDED"}
            same = await client.options(idempotency_key="k").submit("echo", "a")
            again = await client.options(idempotency_key="k").submit("echo", "a")
            assert same.run_id == again.run_id
            assert await again == "aa"

    asyncio.run(main())


def test_of_a_submission_that_is_refused_half_way_the_error_has_the_handles_of_what_is_stored(node: Scheduler) -> None:
    async def main() -> None:
        async with AsyncClient(node.endpoints[0]) as client:
            calls: list[tuple[str, ...]] = [("nobody",)] * 256
            calls += [("echo", str(number)) for number in range(256 * 20)]
            with pytest.raises(UnknownJob, match=r"of 5,376 runs [0-9,]+ are stored") as caught:
                await client.submit_many(calls)
            stored = {at: each for at, each in enumerate(caught.value.submitted) if each is not None}
            assert len(stored) == len(node.runs(limit=len(calls))) < len(calls)
            for at, handle in stored.items():
                assert await handle == calls[at][1] * 2

    asyncio.run(main())


def test_a_run_that_takes_too_long_is_told_and_can_be_cancelled(node: Scheduler, gate: Any) -> None:
    node.add(gate, name="gate", overlap="allow_all")
    node.add(echo, name="later", overlap="allow_all")

    async def main() -> None:
        async with AsyncClient(node.endpoints[0]) as client:
            handle = await client.submit("gate")
            with pytest.raises(TimeoutError, match=r"has not ended within 0\.05 s"):
                await handle.result(0.05)
            later = await client.options(delay=3600).submit("later", "a")
            assert str(await later.cancel()) == "CANCELLED"
            assert str(await later.wait(WAIT_S)) == "CANCELLED"
            waiting = asyncio.ensure_future(handle.wait())
            await asyncio.sleep(0)
            waiting.cancel()  # who stops waiting takes the news from nobody else
            gate.open()
            assert await handle.result(WAIT_S) == 1

    asyncio.run(main())


def test_the_history_is_followed_as_it_grows(node: Scheduler) -> None:
    async def main() -> None:
        async with AsyncClient(node.endpoints[0]) as client:
            kinds: list[str] = []

            async def follow() -> None:
                async for event in client.follow_events("echo"):
                    if event.kind != "audit":
                        kinds.append(event.kind)
                    if len(kinds) == 2:
                        return

            await client.pause("echo")
            following = asyncio.ensure_future(follow())
            while not following.done():  # what happened before the first look is not seen
                await client.resume("echo")
                await client.pause("echo")
                await asyncio.wait([following], timeout=0.1)
            await following
            assert set(kinds) <= {"job_resume", "job_pause"}

    asyncio.run(main())


def test_who_is_cancelled_while_it_is_opened_leaves_it_closed() -> None:
    async def main() -> None:
        client = AsyncClient("tcp://127.0.0.1:1")
        opening = asyncio.ensure_future(client.open())
        while not is_open(client):
            await asyncio.wait([opening], timeout=0.001)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert not is_open(client)

    def is_open(client: AsyncClient) -> bool:
        with suppress(NotRunning):
            return client.leader is None
        return False

    asyncio.run(main())


def test_a_client_that_is_not_open_says_so(node: Scheduler) -> None:
    async def main() -> None:
        client = AsyncClient(node.endpoints[0])
        with pytest.raises(NotRunning, match="not open"):
            await client.jobs()
        with pytest.raises(NotRunning, match="not open"):
            await client.submit("echo")
        async with client:
            assert await client.jobs()
        with pytest.raises(NotRunning, match="closed"):
            await client.jobs()

    asyncio.run(main())


def test_closing_waits_for_nobody_and_tells_whoever_waits(node: Scheduler) -> None:
    async def main() -> None:
        client = await AsyncClient(node.endpoints[0], timeout=WAIT_S).open()
        node.stop(drain_timeout=0)
        words: list[asyncio.Future[Any]] = [asyncio.ensure_future(client.jobs()) for _ in range(3 * MAX_THREADS)]
        words.append(asyncio.ensure_future(client.submit("echo", "a")))
        await asyncio.sleep(0)
        began = time.monotonic()
        await client.close()
        told = await asyncio.gather(*words, return_exceptions=True)
        assert time.monotonic() - began < WAIT_S / 4
        assert {(type(each), str(each)) for each in told} == {(NotRunning, "this client was closed")}
        await client.close()

    asyncio.run(main())


def test_words_that_get_no_turn_end_with_their_time_out(node: Scheduler) -> None:
    async def main() -> None:
        async with AsyncClient(node.endpoints[0], timeout=TIMEOUT_S) as client:
            node.stop(drain_timeout=0)
            began = time.monotonic()
            words = [asyncio.ensure_future(client.jobs()) for _ in range(6 * MAX_THREADS)]
            given_up = asyncio.ensure_future(client.pause("echo"))
            await asyncio.sleep(0)
            given_up.cancel()
            told = await asyncio.gather(*words, return_exceptions=True)
            assert time.monotonic() - began < 4 * TIMEOUT_S
            assert {type(each) for each in told} == {TimeoutError}
            assert any(f"no turn within {TIMEOUT_S:g} s" in str(each) for each in told)
            assert given_up.cancelled()

    asyncio.run(main())


def test_nobody_at_the_endpoint_is_told_in_time() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError, match="nobody is known to lead"):
            async with AsyncClient("ipc:///tmp/callsheet-nobody-listens-here.ipc", timeout=0.2):
                pass

    asyncio.run(main())
