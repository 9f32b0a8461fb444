"""Answers that cannot be read where the client lives: of a cluster with other time zones, or of another version."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import force_setattr

from callsheet import AsyncClient, Client, cron
from callsheet.actors.messages import Answer, ChangeJob, Envelope, JobChanged, LeaderIs
from callsheet.actors.records import Job, JobRecord, JobState
from callsheet.errors import DecodeError
from support.carrying import Network
from support.reached import WAIT_S


def record() -> JobRecord:
    """A job in a zone that the machine of its leader knows, and this one does not."""
    trigger = cron("0 2 * * *", zone="Europe/Berlin")
    force_setattr(trigger, "zone", "Mars/Olympus")
    job = Job(tenant="default", name="ingest", trigger=trigger)
    return JobRecord(job, JobState(tenant="default", name="ingest", version=1, status="active", mark=0))


@pytest.fixture
def endpoint() -> Iterator[str]:
    """Of a leader with such a job."""
    with Network() as network:
        node = network.node("n1")

        def lead(envelope: Envelope) -> bool:
            for message in envelope.messages:
                node.send(Envelope("coordinator", envelope.sender, 1, (LeaderIs(message.key, 1, "n1", ""),)))
            return True

        def answer(envelope: Envelope) -> bool:
            for message in envelope.messages:
                key, row = message.key, record()
                told: Any = JobChanged(key, row) if isinstance(message, ChangeJob) else Answer(key, (row,))
                node.send(Envelope("registry", envelope.sender, 1, (told,)))
            return True

        node.attach("coordinator", lead)
        node.attach("registry", answer)
        yield node.endpoints[0]


def test_a_job_in_a_zone_that_this_machine_does_not_know_is_told_with_what_to_do(endpoint: str) -> None:
    with Client(endpoint, timeout=WAIT_S) as client:
        with pytest.raises(
            DecodeError, match=r"answer of registry@n1 to the question ListJobs .*'Mars/Olympus'.*tzdata"
        ):
            client.jobs()
        with pytest.raises(DecodeError, match=r"to the request to pause job 'ingest' .* may have been"):
            client.pause("ingest")


def test_whoever_asks_on_and_on_keeps_the_line(endpoint: str) -> None:
    async def main() -> None:
        async with AsyncClient(endpoint, timeout=WAIT_S) as client:
            told = await asyncio.gather(*(client.jobs() for _ in range(100)), return_exceptions=True)
            assert {type(each) for each in told} == {DecodeError}
            assert client.leader is not None

    asyncio.run(main())
