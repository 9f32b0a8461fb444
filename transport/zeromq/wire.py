"""The protocol between nodes, and between clients and nodes: what the bytes on a line mean.

A line leads from a DEALER socket (who dials) to a ROUTER socket (who listens), over tcp or ipc, with CURVE where there are keys.
Every ZeroMQ message on it is one frame, whose first byte is its kind; ZeroMQ adds the identity of the dialer in front on the
ROUTER's side.

    dialer                                listener
      │──── H hello ────────────────────────▶│   on each connection, first of all
      │◀──────────────── W welcome ──────────│   or R refused, which says why; then the line does not stand
      │◀─────── E envelopes ────────────────▶│   in both directions, as long as the connection lasts
      │◀──────────────── S say hello ────────│   envelopes came of an identity that was not welcomed

H and W are the same map in MessagePack, R another; unknown keys are ignored:

    H, W    {"major": 1, "minor": 0, "name": "n1", "incarnation": "81-5f0c", "kind": "node", "endpoint": "tcp://10.0.0.1:7070"}
    R       {"major": 1, "minor": 0, "reason": "…"}

`kind` is `node` or `client`; the name of a client begins with `client-`, and is its address. `endpoint` is where a node listens,
empty if nowhere. `incarnation` names this life of a process: another one is another life, and what was meant for the earlier
one is not delivered to it. Two lives that have the same name take turns only once: who was followed by another is refused.

S has nothing after its kind. E carries 1 to 64 envelopes, each with its length before it:

    E  length (4 bytes, big-endian)  envelope  length  envelope  …

What an envelope is, `callsheet.transport.codec` says. Several travel in one frame because each frame costs calls into ZeroMQ at
both ends, and each call lets go of the interpreter, which busy threads are slow to give back (measured: 850,000 envelopes/s were taken from frames of 64, 315,000 from as many messages of 64 frames, and
with two busy threads beside it 170,000 and 48,000). A batch is what waits when the line is free: nobody waits for a batch to
fill, so that a lone envelope leaves at once, and under load batches grow by themselves.

Identity
    The identity of a dialing socket is `name 0 incarnation 0 number`, where 0 is a zero byte and `number` counts the sockets of
    that life. The listener does not hand an identity over to a second connection, and refuses a hello whose name and
    incarnation are not those of its identity. A dialer that hears nothing for a second after its hello dials anew with the next
    number, so that the remains of its own broken connection do not keep it out.

Versions
    Peers of the same major whose minors differ by at most one understand each other; a newer one speaks as the older. Anything
    else is refused, with both versions named.

Whose fault
    What cannot be read is the peer's fault: counted as undecodable and dropped. So is an envelope in another's name, counted as
    refused: a client's `sender` must be its own name, that of a node must end in `@` and the node's name, and the key of a line
    (ZeroMQ's User-Id) must be that of its hello. With it goes what stands behind it in the same frame. A peer that offends 32 times in 10 s is disconnected, and kept out for 30 s.
    A request or an answer that cannot be read because of a time zone or the version is no offence of a node's, and whoever waits
    for it is told.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from ... import data
from ...errors import DecodeError

MAJOR: Final = 1
MINOR: Final = 0

HELLO: Final = ord("H")
WELCOME: Final = ord("W")
REFUSED: Final = ord("R")
ENVELOPES: Final = ord("E")
SAY_HELLO: Final = ord("S")

MAX_BATCH: Final = 64
"""Envelopes in one frame."""

MAX_GREETING_BYTES: Final = 4096
"""Bytes of a hello, a welcome or a refusal."""

MAX_NAME_BYTES: Final = 160
"""Bytes of a node's or a client's name: an identity has 255 at most."""

MAX_INCARNATION_BYTES: Final = 64

MAX_REASON_LENGTH: Final = 1000
"""Characters of a refusal that are sent."""

CLIENT: Final = "client-"
"""How the name of a client begins."""

_LENGTH_BYTES: Final = 4

_Number = Annotated[int, Meta(ge=0, le=65_535)]
_Text = Annotated[str, Meta(max_length=255)]


class Hello(Struct, frozen=True):
    """Who is at the other end of a line; the welcome is the same."""

    major: _Number
    minor: _Number
    name: Annotated[str, Meta(pattern=r"^[^\s@~\x00]+$", max_length=MAX_NAME_BYTES)]
    incarnation: Annotated[str, Meta(pattern=r"^[^\s\x00]+$", max_length=MAX_INCARNATION_BYTES)]
    kind: Literal["node", "client"]
    endpoint: _Text = ""


class Refusal(Struct, frozen=True):
    """Why somebody is not welcome."""

    major: _Number
    minor: _Number
    reason: Annotated[str, Meta(max_length=2 * MAX_REASON_LENGTH)]


class _Version(Struct, frozen=True):
    """What can be read of any hello, whatever its major."""

    major: int
    minor: int


class VersionMismatch(Exception):
    """The peer speaks another version; the text names both."""


def identity(name: str, incarnation: str, number: int) -> bytes:
    """Return the identity of the socket of this number."""
    return f"{name}\0{incarnation}\0{number}".encode()


def is_identity_of(found: bytes, hello: Hello) -> bool:
    """Whether a hello fits the identity it came from."""
    return found.startswith(f"{hello.name}\0{hello.incarnation}\0".encode())


def pack_greeting(kind: int, greeting: Hello | Refusal) -> bytes:
    """Encode a hello, a welcome or a refusal."""
    return bytes((kind,)) + data.pack_record(greeting)


def pack_refusal(reason: str) -> bytes:
    """Encode a refusal of ours."""
    return pack_greeting(REFUSED, Refusal(MAJOR, MINOR, reason[:MAX_REASON_LENGTH]))


def read_hello(body: bytes) -> Hello:
    """Decode a hello or a welcome.

    Raises:
        DecodeError: it is none.
        VersionMismatch: it is one, of a version that is not understood here.
    """
    packed = _greeting(body)
    version = data.unpack_record(packed, _Version)
    if version.major != MAJOR or abs(version.minor - MINOR) > 1:
        raise VersionMismatch(
            f"protocol {MAJOR}.{MINOR} is spoken here, and {version.major}.{version.minor} there; "
            f"run versions of Callsheet whose protocols have the same major and neighbouring minors"
        )
    hello = data.unpack_record(packed, Hello)
    if not hello.name.isprintable() or len(hello.name.encode()) > MAX_NAME_BYTES:
        raise DecodeError(f"a name that is not printable or longer than {MAX_NAME_BYTES} bytes")
    if (hello.kind == "client") != hello.name.startswith(CLIENT):
        raise DecodeError(f"the {hello.kind} {hello.name!r}: names of clients, and no others, begin with {CLIENT!r}")
    return hello


def read_refusal(body: bytes) -> Refusal:
    """Decode a refusal.

    Raises:
        DecodeError: it is none.
    """
    return data.unpack_record(_greeting(body), Refusal)


def pack_batch(envelopes: list[bytes]) -> bytes:
    """Put encoded envelopes, at most `MAX_BATCH`, into one frame."""
    parts = [b"E"]
    for envelope in envelopes:
        parts += (len(envelope).to_bytes(_LENGTH_BYTES, "big"), envelope)
    return b"".join(parts)


def unpack_batch(body: bytes) -> list[bytes]:
    """Take the encoded envelopes out of a frame, in order.

    Raises:
        DecodeError: it is no such frame: the lengths are wrong, or there are none or too many.
    """
    envelopes: list[bytes] = []
    at, end = 1, len(body)
    while at < end:
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(body[at:start], "big")
        if start > end or at > end:
            raise DecodeError(f"an envelope that ends at byte {at} of a frame of {end}")
        if len(envelopes) == MAX_BATCH:
            raise DecodeError(f"more than {MAX_BATCH} envelopes in a frame")
        envelopes.append(body[start:at])
    if not envelopes:
        raise DecodeError("a frame without envelopes")
    return envelopes


def _greeting(body: bytes) -> bytes:
    if len(body) > MAX_GREETING_BYTES:
        raise DecodeError(f"a greeting of {len(body)} bytes; the limit is {MAX_GREETING_BYTES}")
    return body[1:]
