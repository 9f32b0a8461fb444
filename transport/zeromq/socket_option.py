"""The options of all sockets, and of what is done with them.

Plain numbers, because pyzmq's own are flags, and to join two of those takes longer than to send a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import zmq

from ...data import MAX_ENVELOPE_BYTES

NOW: Final = int(zmq.NOBLOCK)
NOW_AND_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
EVENTS: Final = int(zmq.EVENTS)
RCVMORE: Final = int(zmq.RCVMORE)

HIGH_WATER: Final = 64
"""Frames, each of up to 64 envelopes, that ZeroMQ holds for a line at each end."""

MAX_FRAME_BYTES: Final = MAX_ENVELOPE_BYTES + 64 * 1024
"""Bytes of a frame: the largest envelope, or a batch of small ones."""

RECONNECT_MS: Final = 20
MAX_RECONNECT_MS: Final = 1_000
CONNECT_TIMEOUT_MS: Final = 3_000
HANDSHAKE_MS: Final = 3_000
HEARTBEAT_MS: Final = 1_000
SILENCE_MS: Final = 3_000
"""A connection that is silent for so long, although ZeroMQ asks for a sign of life, is closed at both ends."""

KEEP_ALIVE_IDLE_S: Final = 10
KEEP_ALIVE_INTERVAL_S: Final = 5
KEEP_ALIVE_COUNT: Final = 3

_COMMON: Final = {
    zmq.LINGER: 0,
    zmq.SNDHWM: HIGH_WATER,
    zmq.RCVHWM: HIGH_WATER,
    zmq.MAXMSGSIZE: MAX_FRAME_BYTES,
    zmq.HANDSHAKE_IVL: HANDSHAKE_MS,
    zmq.HEARTBEAT_IVL: HEARTBEAT_MS,
    zmq.HEARTBEAT_TIMEOUT: SILENCE_MS,
    zmq.HEARTBEAT_TTL: SILENCE_MS,
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: KEEP_ALIVE_IDLE_S,
    zmq.TCP_KEEPALIVE_INTVL: KEEP_ALIVE_INTERVAL_S,
    zmq.TCP_KEEPALIVE_CNT: KEEP_ALIVE_COUNT,
}
_ROUTER: Final = {
    **_COMMON,
    zmq.ROUTER_MANDATORY: 1,  # without it what a slow peer has no room for is lost in silence
    zmq.ROUTER_HANDOVER: 0,
}
_DEALER: Final = {
    **_COMMON,
    zmq.IMMEDIATE: 1,  # nothing is queued for a connection that is not there
    zmq.RECONNECT_IVL: RECONNECT_MS,
    zmq.RECONNECT_IVL_MAX: MAX_RECONNECT_MS,
    zmq.CONNECT_TIMEOUT: CONNECT_TIMEOUT_MS,
}


def router(context: zmq.Context[Any], endpoints: Sequence[str]) -> zmq.Socket[bytes]:
    """Make the socket of who listens at these endpoints."""
    return _make(context, zmq.ROUTER, _ROUTER, endpoints)


def dealer(context: zmq.Context[Any], identity: bytes, endpoint: str) -> zmq.Socket[bytes]:
    """Make the socket of who dials this endpoint."""
    socket = _make(context, zmq.DEALER, _DEALER, (endpoint,))
    socket.setsockopt(zmq.ROUTING_ID, identity)
    return socket


def _make(context: zmq.Context[Any], kind: int, options: dict[Any, int], endpoints: Sequence[str]) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = context.socket(kind)
    for option, value in options.items():
        socket.setsockopt(option, value)
    if any("[" in endpoint for endpoint in endpoints):  # else addresses of IPv4 would be told as those of IPv6
        socket.setsockopt(zmq.IPV6, 1)
    return socket
