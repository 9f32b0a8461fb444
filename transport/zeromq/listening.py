"""Binding: a context, and the socket of who listens."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import zmq
from msgspec import Struct

from ...errors import ListenError
from ..contract import Guard
from ..endpoint import EXPECTED
from . import socket_option
from .monitor import Monitor

_IPC: Final = "ipc://"

_ANY_ADDRESS: Final = re.compile(r"(?<=^tcp://)(0\.0\.0\.0|\[::\])(?=:)")
"""Nobody can dial it, so others are told the name of the machine."""

_REASONS: Final = {
    zmq.EADDRINUSE: "somebody else listens there; stop him, or choose another port (0: the system chooses)",
    zmq.EADDRNOTAVAIL: "that is no address of this machine; `*` stands for all of its addresses",
    errno.ENODEV: "that is no address of this machine; `*` stands for all of its addresses",
    errno.EACCES: "this user may not; choose a port from 1024, or a folder of his own",
    zmq.EINVAL: f"it is no endpoint; expected {EXPECTED}",
    zmq.EPROTONOSUPPORT: f"it is no endpoint; expected {EXPECTED}",
    errno.ENAMETOOLONG: "its path is too long for a socket",
    errno.ENOENT: "its folder is not there; make it first",
}


class Listening(Struct, frozen=True, eq=False):
    """A context, and what was bound in it; without endpoints there is no router."""

    context: zmq.Context[Any]
    router: tuple[zmq.Socket[bytes], Monitor] | None
    endpoints: tuple[str, ...]


def listen(endpoints: Sequence[str], guard: Guard | None) -> Listening:
    """Make a context, and bind all endpoints, or none of them.

    Raises:
        ListenError: an endpoint cannot be bound.
        SecurityError: the guard does not let this be opened.
    """
    context: zmq.Context[Any] = zmq.Context()
    router = None
    try:
        if guard is not None:
            guard.start(context)
        if not endpoints:
            return Listening(context, None, ())
        router = socket_option.router(context, endpoints)
        if guard is not None:
            guard.secure_server(router)
        monitor = Monitor(router)
        try:
            bound = tuple(_bind(router, endpoint) for endpoint in endpoints)
        except BaseException:
            monitor.close()
            raise
        return Listening(context, (router, monitor), bound)
    except BaseException:
        if router is not None:
            router.close()
        if guard is not None:
            guard.stop()
        context.term()
        raise


def let_go(listening: Listening, guard: Guard | None) -> None:
    """Undo `listen`, when nobody has begun with it."""
    if listening.router is not None:
        router, monitor = listening.router
        monitor.close()
        router.close()
    if guard is not None:
        guard.stop()
    listening.context.destroy(linger=0)
    remove_sockets(listening.endpoints)


def remove_sockets(endpoints: Sequence[str]) -> None:
    """Remove the files of ipc endpoints that were let go of: ZeroMQ leaves them."""
    for endpoint in endpoints:
        path = endpoint.removeprefix(_IPC)
        if endpoint.startswith(_IPC) and not _is_heard(path):
            with suppress(OSError):
                Path(path).unlink()


def _bind(router: zmq.Socket[bytes], endpoint: str) -> str:
    """Bind, and answer what was really bound."""
    if endpoint.startswith(_IPC) and _is_heard(endpoint.removeprefix(_IPC)):
        raise ListenError(f"cannot listen at {endpoint}: {_REASONS[zmq.EADDRINUSE]}")
    try:
        router.bind(endpoint)
    except zmq.ZMQError as error:
        why = _REASONS.get(error.errno or 0, f"{error}; choose another address")
        raise ListenError(f"cannot listen at {endpoint}: {why}") from None
    if endpoint.startswith(_IPC):
        with suppress(OSError):
            Path(endpoint.removeprefix(_IPC)).chmod(0o600)
    last = router.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(last, bytes)
    return _ANY_ADDRESS.sub(socket.gethostname(), last.rstrip(b"\0").decode())


def _is_heard(path: str) -> bool:
    """Whether somebody listens at a path: ZeroMQ would take it away from him."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True
