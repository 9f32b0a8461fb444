"""Frames on a stream: four bytes with the length, then an envelope as `transport.codec` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..errors import DecodeError
from ..transport.codec import MAX_ENVELOPE_BYTES, decode, encode_all
from ..transport.contract import Envelope

LENGTH_BYTES: Final = 4


def write_frames(envelope: Envelope) -> bytes:
    """Return an envelope as one frame, or as several when its messages are too large together.

    Raises:
        DataError: a message can never travel.
    """
    return b"".join(len(frame).to_bytes(LENGTH_BYTES, "big") + frame for frame in encode_all(envelope))


class FrameReader:
    """Puts frames together from the pieces in which a stream gives them."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, piece: bytes) -> Iterator[Envelope]:
        """Take a piece, and yield the envelopes that are complete by it.

        Raises:
            DecodeError: these are no frames; nothing that follows can be trusted.
        """
        self._bytes += piece
        while len(self._bytes) >= LENGTH_BYTES:
            length = int.from_bytes(self._bytes[:LENGTH_BYTES], "big")
            if length > MAX_ENVELOPE_BYTES:
                raise DecodeError(f"a frame of {length:,} bytes was announced; the limit is {MAX_ENVELOPE_BYTES:,}")
            end = LENGTH_BYTES + length
            if len(self._bytes) < end:
                return
            frame = bytes(self._bytes[LENGTH_BYTES:end])
            del self._bytes[:end]
            yield decode(frame)
