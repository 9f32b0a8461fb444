"""What a parent and its worker say to each other, over a socketpair that nobody else holds.

    parent ── LOCATE target → location ─▶ worker        READY ───────────────▶ parent
           ── WORK   [(slot, order)] ───▶               OUTCOME, PROGRESS ───▶
           ── QUIT ─────────────────────▶               RETURNED [fence] ────▶   these have not begun; take them back
                                                        FAILED text ─────────▶   it cannot start at all

A frame is its length (4 bytes), its kind (1 byte) and MessagePack. The two ends are the same program on the same machine, so
frames are encoded straight from and into structs, an order of magnitude faster than what comes from a network is checked.

The worker does not write its frames to the socket one by one. It puts them into an `Outbox`, memory that the parent maps too,
and sends what is there in one piece. When a worker is killed, the parent finds in the outbox whatever had not been sent: a
finished attempt's outcome is never lost with the attempt after it. A frame that was sent and is found again is known by its
fence.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ..functions import Location
from ..runner import Order, Outcome, Progress

LOCATE: Final = 1
WORK: Final = 2
QUIT: Final = 3
READY: Final = 4
OUTCOME: Final = 5
PROGRESS: Final = 6
RETURNED: Final = 7
FAILED: Final = 8

HEADER: Final = struct.Struct("<IB")
MAX_FRAME_BYTES: Final = 1 << 30
"""Beyond this a length is no length: the other end is broken."""
OUTBOX_BYTES: Final = 2 * 1024 * 1024
"""Larger than any one outcome: a result of 1 MiB, logs of 64 KiB, an error's texts."""
READ_BYTES: Final = 256 * 1024

_OUTBOX_HEADER: Final = 8

_encoder: Final = msgspec.msgpack.Encoder()
_decoders: Final[dict[int, Any]] = {
    LOCATE: msgspec.msgpack.Decoder(tuple[str, Location]),
    WORK: msgspec.msgpack.Decoder(list[tuple[int, Order]]),
    QUIT: msgspec.msgpack.Decoder(None),
    READY: msgspec.msgpack.Decoder(int),
    OUTCOME: msgspec.msgpack.Decoder(Outcome),
    PROGRESS: msgspec.msgpack.Decoder(Progress),
    RETURNED: msgspec.msgpack.Decoder(list[int]),
    FAILED: msgspec.msgpack.Decoder(str),
}

Frame = tuple[int, Any]


def encode(kind: int, content: Any) -> bytes:
    """Make a frame."""
    packed = _encoder.encode(content)
    return HEADER.pack(len(packed), kind) + packed


def decode(buffer: bytearray) -> Iterator[Frame]:
    """Take all whole frames off a buffer; what is left in it is the beginning of the next.

    Raises:
        ValueError: these are no frames.
    """
    at = 0
    try:
        with memoryview(buffer) as view:
            while len(buffer) - at >= HEADER.size:
                length, kind = HEADER.unpack_from(buffer, at)
                if length > MAX_FRAME_BYTES or kind not in _decoders:
                    raise ValueError(f"no frame: kind {kind}, {length} bytes")
                end = at + HEADER.size + length
                if end > len(buffer):
                    break
                frame = _decoders[kind].decode(view[at + HEADER.size : end])
                at = end
                yield kind, frame
    finally:
        del buffer[:at]


class Channel:
    """One end of the socketpair. A thread that owns it uses it; nothing is locked."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self._incoming = bytearray()
        self._outgoing = bytearray()

    def receive(self) -> list[Frame] | None:
        """Read once and answer the whole frames that are there; None when the other end is gone."""
        try:
            packed = self.end.recv(READ_BYTES)
        except BlockingIOError:
            return []
        except ConnectionError:
            return None
        if not packed:
            return None
        self._incoming += packed
        return list(decode(self._incoming))

    def send(self, frame: bytes) -> None:
        """Queue a frame and send what can be sent now (a non-blocking end)."""
        self._outgoing += frame
        self.flush()

    def flush(self) -> None:
        """Send what can be sent now. A peer that is gone is seen by `receive`."""
        try:
            while self._outgoing:
                sent = self.end.send(self._outgoing[:READ_BYTES])
                del self._outgoing[:sent]
        except BlockingIOError:
            return
        except OSError:
            self._outgoing.clear()

    @property
    def blocked(self) -> bool:
        """Whether something waits until the other end reads."""
        return bool(self._outgoing)


class Outbox:
    """Frames on their way to the parent, in memory that outlives the worker.

    The first word is how many bytes hold whole frames; it is written last, so what a kill cuts off was never there.
    """

    def __init__(self, file: int) -> None:
        self._map = mmap.mmap(file, OUTBOX_BYTES)
        self._view = memoryview(self._map)
        self._length = self._view[:_OUTBOX_HEADER].cast("q")
        self._lock = threading.Lock()

    @staticmethod
    def make_file() -> int:
        """Make the file behind an outbox: no name, gone with its last user."""
        if hasattr(os, "memfd_create"):
            file = os.memfd_create("callsheet-outbox")
        else:
            with tempfile.TemporaryFile() as temporary:
                file = os.dup(temporary.fileno())
        os.truncate(file, OUTBOX_BYTES)
        return file

    @property
    def waiting(self) -> bool:
        """Whether anything is in it."""
        return self._length[0] > 0

    def put(self, kind: int, content: Any, end: socket.socket) -> None:
        """Add a frame; when it is full, what is in it is sent to `end` first."""
        frame = encode(kind, content)
        with self._lock:
            used = self._length[0]
            if used + len(frame) > OUTBOX_BYTES - _OUTBOX_HEADER:
                self._send(end)
                used = 0
            at = _OUTBOX_HEADER + used
            self._view[at : at + len(frame)] = frame
            self._length[0] = used + len(frame)

    def flush(self, end: socket.socket) -> None:
        """Send all that is in it."""
        with self._lock:
            if self._length[0]:
                self._send(end)

    def rest(self) -> bytearray:
        """Answer what is in it: for the parent, when the worker is gone."""
        return bytearray(self._view[_OUTBOX_HEADER : _OUTBOX_HEADER + self._length[0]])

    def close(self) -> None:
        """Unmap it."""
        self._length.release()
        self._view.release()
        self._map.close()

    def _send(self, end: socket.socket) -> None:
        with self._view[_OUTBOX_HEADER : _OUTBOX_HEADER + self._length[0]] as frames:
            end.sendall(frames)
        self._length[0] = 0
