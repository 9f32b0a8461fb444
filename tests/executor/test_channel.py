from __future__ import annotations

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.executor.processes.channel import (
    OUTBOX_BYTES,
    OUTCOME,
    READY,
    RETURNED,
    Channel,
    Outbox,
    decode,
    encode,
)
from callsheet.actors.executor.runner import Outcome


def outcome(fence: int, result: bytes = b"") -> Outcome:
    return Outcome(fence, 1, 1, "succeeded", 0, 0, result)


@given(st.lists(st.lists(st.integers(0, 2**62), max_size=5), max_size=8), st.data())
def test_frames_come_out_as_they_went_in_however_they_are_cut(contents: list[list[int]], data: st.DataObject) -> None:
    packed = b"".join(encode(RETURNED, content) for content in contents)
    buffer, read = bytearray(), []
    while packed:
        cut = data.draw(st.integers(1, len(packed)))
        buffer += packed[:cut]
        packed = packed[cut:]
        read += list(decode(buffer))
    assert read == [(RETURNED, content) for content in contents]
    assert buffer == b""


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="no frame"):
        list(decode(bytearray(b"\xff\xff\xff\xff\x63")))


def test_what_was_not_sent_is_found_in_the_outbox_by_the_other_side() -> None:
    near, far = socket.socketpair()
    file = Outbox.make_file()
    worker, parent = Outbox(file), Outbox(file)
    os.close(file)
    worker.put(OUTCOME, outcome(1), far)
    worker.flush(far)
    worker.put(OUTCOME, outcome(2), far)
    assert Channel(near).receive() == [(OUTCOME, outcome(1))]
    assert list(decode(parent.rest())) == [(OUTCOME, outcome(2))]
    for each in (near, far):
        each.close()


def test_an_outbox_that_is_full_is_sent_first() -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.settimeout(10)
    file = Outbox.make_file()
    outbox = Outbox(file)
    os.close(file)
    outbox.put(READY, 1, far)
    outbox.put(RETURNED, [2], far)
    outbox.put(OUTCOME, outcome(3, bytes(OUTBOX_BYTES - 50)), far)
    assert Channel(near).receive() == [(READY, 1), (RETURNED, [2])]
    assert outbox.waiting
    for each in (near, far):
        each.close()


def test_the_end_of_the_other_side_is_seen() -> None:
    near, far = socket.socketpair()
    far.close()
    channel = Channel(near)
    channel.send(encode(READY, 1))
    assert channel.receive() is None
    near.close()
