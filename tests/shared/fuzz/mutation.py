"""What can be wrong with a frame: each mutation takes frames, draws from a seed, and answers bytes."""

from collections.abc import Callable
from random import Random
from typing import Any

import msgpack

Mutation = Callable[[bytes, bytes, Random], bytes]

# The first bytes of MessagePack's kinds that have a length.
HEADERS = bytes([*range(0x80, 0xC0), *range(0xC4, 0xCA), *range(0xD4, 0xE0)])
# Lengths that lie: how they are written in 1, 2 and 4 bytes.
LENGTHS = (b"\xff", b"\x7f", b"\xff\xff", b"\x80\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x10\x00\x00")
# The beginning of something that holds something.
OPENINGS = (b"\x91", b"\x81\xa1a", b"\xdc\x00\x01", b"\xdf\x00\x00\x00\x01\xa1b", b"\xc7\x01\x05")
STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 2**64 - 1, -(2**63), 1.5, float("nan"), float("inf"), "", "x" * 300, b"", b"\xff" * 40,
    [], {}, [[]], {"type": "noted"}, {"type": []}, ["noted"], "\x00", msgpack.ExtType(5, b"x"), msgpack.Timestamp(2**34, 9),
)  # fmt: skip
DEPTHS = (1, 2, 20, 500, 513, 2_000, 20_000)


def flip_bits(frame: bytes, other: bytes, random: Random) -> bytes:
    changed = bytearray(frame)
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def cut_off(frame: bytes, other: bytes, random: Random) -> bytes:
    return frame[: random.randrange(len(frame))]


def splice(frame: bytes, other: bytes, random: Random) -> bytes:
    return frame[: random.randrange(len(frame))] + other[random.randrange(len(other)) :]


def repeat_part(frame: bytes, other: bytes, random: Random) -> bytes:
    start = random.randrange(len(frame))
    end = min(len(frame), start + random.choice((1, 4, 40)))
    return frame[:end] + frame[start:end] * random.choice((1, 3, 200)) + frame[end:]


def take_out(frame: bytes, other: bytes, random: Random) -> bytes:
    start = random.randrange(len(frame))
    return frame[:start] + frame[start + random.choice((1, 2, 9)) :]


def lie_about_length(frame: bytes, other: bytes, random: Random) -> bytes:
    at = random.randrange(len(frame))
    lie = bytes((random.choice(HEADERS),)) + random.choice(LENGTHS)
    return frame[:at] + lie + frame[at + random.choice((0, 1, len(lie))) :]


def nest(frame: bytes, other: bytes, random: Random) -> bytes:
    at = random.randrange(len(frame))
    return frame[:at] + random.choice(OPENINGS) * random.choice(DEPTHS) + frame[at:]


def exchange_bytes(frame: bytes, other: bytes, random: Random) -> bytes:
    at = random.randrange(len(frame))
    return frame[:at] + random.randbytes(random.choice((1, 2, 5, 30))) + frame[at + 1 :]


def exchange_value(frame: bytes, other: bytes, random: Random) -> bytes:
    """Put a value of another type at some place, in what is well-formed otherwise."""
    built = msgpack.unpackb(frame, strict_map_key=False)
    packed: bytes = msgpack.packb(_exchange(built, random))
    return packed


def _exchange(value: Any, random: Random) -> Any:
    if isinstance(value, list) and value and random.random() < 0.9:
        at = random.randrange(len(value))
        return [*value[:at], _exchange(value[at], random), *value[at + 1 :]]
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(list(value))
        rest = {each: value[each] for each in value if each != key}
        match random.randrange(4):
            case 0:
                return rest
            case 1:
                return {**rest, random.choice(("", "type", "x" * 300)): value[key]}
            case _:
                return {**rest, key: _exchange(value[key], random)}
    return random.choice(STRANGE)


BLIND: tuple[Mutation, ...] = (
    flip_bits,
    cut_off,
    splice,
    repeat_part,
    take_out,
    lie_about_length,
    nest,
    exchange_bytes,
)
"""For any bytes."""

ALL: tuple[Mutation, ...] = (*BLIND, exchange_value, exchange_value)
"""For a frame that is well-formed before."""


def mutate(frames: list[bytes], random: Random, mutations: tuple[Mutation, ...] = ALL) -> bytes:
    """Answer one of the frames, with something wrong."""
    mutation = random.choice(mutations)
    return mutation(random.choice(frames), random.choice(frames), random)
