"""Frames with something wrong harm nobody; `scripts/fuzz` sends a million of them."""

from random import Random

import pytest

from callsheet.errors import DecodeError
from callsheet.transport.codec import MESSAGES, decode
from fuzz import decoding, line, mutation, sample

SEED = 20_260_101
FRAMES = sample.frames(Random(SEED))


def test_mutated_frames_are_envelopes_or_refused_and_leave_nothing_behind() -> None:
    result = decoding.run(SEED, 20_000)

    assert result.faults == []
    assert result.count == 20_000
    assert result.outcomes["DecodeError"] > 10_000
    assert result.outcomes["Envelope"] > 100


def test_a_node_that_gets_mutated_frames_goes_on_answering_others() -> None:
    result = line.run(SEED, 1_000)

    assert result.faults == []
    assert result.outcomes["sent"] == 1_000


def test_the_frames_are_of_every_message_type() -> None:
    made = [decode(frame) for frame in FRAMES]

    assert {type(message) for envelope in made for message in envelope.messages} == {*MESSAGES.values()}


@pytest.mark.parametrize("mutation", mutation.ALL[:-1], ids=lambda mutation: mutation.__name__)
def test_each_mutation_makes_frames_that_are_refused(mutation: mutation.Mutation) -> None:
    random = Random(SEED)

    refused = 0
    for _ in range(200):
        try:
            decode(mutation(random.choice(FRAMES), random.choice(FRAMES), random))
        except DecodeError:
            refused += 1

    assert refused > 20


def test_a_fault_is_told_with_the_frame_that_shows_it() -> None:
    result = decoding.Result()

    def read(frame: bytes) -> object:
        raise ValueError("a bug of ours")

    decoding._try(read, b"\xc1", result)

    assert result.outcomes == {"fault": 1}
    assert result.faults == ["read(b'\\xc1', 1 bytes): ValueError: a bug of ours"]
