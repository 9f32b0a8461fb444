"""Mutated frames through the decoder: it answers an envelope or raises `DecodeError`, and keeps nothing."""

import gc
import os
import resource
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from traceback import format_exception_only

from callsheet.actors.messages import Envelope
from callsheet.errors import DecodeError
from callsheet.transport.codec import decode
from callsheet.transport.zeromq import wire
from fuzz import mutation, sample

MAX_GROWTH_BYTES = 64 * 1024 * 1024
WARM_UP = 0.1  # of all frames, before memory is first looked at
MOST_SHOWN = 5
SHOWN_BYTES = 400


@dataclass
class Result:
    """What came of the frames, and what should not have been."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    grown_bytes: int = 0
    took_s: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.outcomes.values())

    def __str__(self) -> str:
        outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        return (
            f"{outcomes}; {self.count / self.took_s:,.0f} frames/s; memory grew by {self.grown_bytes / 2**20:.1f} MiB"
        )


def run(seed: int, count: int) -> Result:
    """Send `count` frames through the decoder, one in ten of them through what reads batches and greetings."""
    random, result = Random(seed), Result()
    frames, greetings = sample.frames(random), sample.greetings(random)
    batches = [wire.pack_batch(random.choices(frames, k=random.randrange(1, 9))) for _ in range(50)]
    for frame in frames:
        assert isinstance(decode(frame), Envelope), "what was not mutated is an envelope"
    began, warm = time.perf_counter(), 0
    for number in range(count):
        if number == int(count * WARM_UP):
            warm = _resident_bytes()
        if number % 10:
            _try(decode, mutation.mutate(frames, random), result)
        elif number % 20:
            _try(_read_batch, mutation.mutate(batches, random, mutation.BLIND), result)
        else:
            _try(_read_greeting, mutation.mutate(greetings, random, mutation.BLIND), result)
    result.took_s = time.perf_counter() - began
    result.grown_bytes = _resident_bytes() - warm
    if result.grown_bytes > MAX_GROWTH_BYTES:
        result.faults.append(f"memory grew by {result.grown_bytes:,} bytes; the bound is {MAX_GROWTH_BYTES:,}")
    return result


def _try(read: Callable[[bytes], object], frame: bytes, result: Result) -> None:
    try:
        answer = read(frame)
    except (DecodeError, wire.VersionMismatch) as error:
        result.outcomes[type(error).__name__] += 1
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        result.outcomes["fault"] += 1
        if len(result.faults) < MOST_SHOWN:
            [text] = format_exception_only(error)
            result.faults.append(f"{read.__name__}({frame[:SHOWN_BYTES]!r}, {len(frame)} bytes): {text.strip()}")
    else:
        result.outcomes[type(answer).__name__] += 1


def _read_batch(body: bytes) -> object:
    """Answer the first envelope; the lengths that lie are found before."""
    envelopes = [decode(frame) for frame in wire.unpack_batch(body)]
    return envelopes[0]


def _read_greeting(body: bytes) -> object:
    return wire.read_refusal(body) if body[:1] == bytes((wire.REFUSED,)) else wire.read_hello(body)


def _resident_bytes() -> int:
    """Memory that is in use now; where the system does not tell, the most that ever was."""
    gc.collect()
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
