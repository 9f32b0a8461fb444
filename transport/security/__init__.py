"""The security of the network side: keys, roles, and the guard that a transport asks.

    callsheet keys ──▶ KeyFolder ──▶ KeyGuard ◀── asks ── a transport that listens
                          alice.secret ──▶ DialGuard ◀── asks ── a client's transport

`make_guard` chooses; docs/security.md tells it to a person.
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from .binding import check_bind, is_loopback
from .guard import DialGuard, KeyGuard, OpenGuard
from .keys import CLUSTER, KeyFolder, KeyPair, Permit, default_folder, read_pair
from .roles import Principal, Refusal, Role

__all__ = (
    "CLUSTER",
    "DialGuard",
    "KeyFolder",
    "KeyGuard",
    "KeyPair",
    "OpenGuard",
    "Permit",
    "Principal",
    "Refusal",
    "Role",
    "check_bind",
    "default_folder",
    "is_loopback",
    "make_guard",
    "read_pair",
)


def make_guard(
    endpoints: Iterable[str], keys: str | PathLike[str] | None = None, *, insecure: bool = False
) -> KeyGuard | OpenGuard | DialGuard:
    """Return the guard of a node that listens at these endpoints, or at none.

    Args:
        endpoints: where it will listen, `tcp://…` or `ipc://…`.
        keys: the folder of keys, None for no keys; a node that only connects may have one key of its own, a .secret file.
        insecure: listen without keys where strangers can come in.

    Raises:
        SecurityError: the keys cannot be used, or there are none and strangers could come in.
    """
    check_bind(endpoints, has_keys=keys is not None, insecure=insecure)
    if keys is None:
        return OpenGuard()
    path = Path(keys).expanduser()
    return DialGuard(path) if path.is_file() else KeyGuard(KeyFolder(path))
