"""Where a node may listen: with keys anywhere, without them only where no stranger comes.

| endpoint | without keys |
|---|---|
| `ipc://` in a folder of this user alone (0700) | only this user can open it |
| `tcp://` on 127.0.0.0/8, `[::1]`, `localhost` | every user of this machine can |
| anything else | refused, unless `insecure` is said |
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from ...errors import SecurityError

_TCP: Final = "tcp://"
_IPC: Final = "ipc://"
_HOW: Final = (
    "make keys by `callsheet keys new cluster --role node` and start with them, listen on 127.0.0.1 or ipc://, "
    "or say `insecure` where nobody else can reach this network"
)


def check_bind(endpoints: Iterable[str], *, has_keys: bool, insecure: bool = False) -> None:
    """Check that it is safe to listen at these endpoints. A folder that is not there yet is for whoever binds to make, 0700.

    Args:
        endpoints: as ZeroMQ takes them, `tcp://…` or `ipc://…`.
        has_keys: whether every line will be encrypted and its key known.
        insecure: listen for anybody all the same.

    Raises:
        SecurityError: a stranger could come in there; it says where, why, and what to do.
    """
    for endpoint in endpoints:
        if insecure:
            continue
        if endpoint.startswith(_IPC):
            _check_ipc(endpoint)
        elif not endpoint.startswith(_TCP):
            raise SecurityError(f"{endpoint!r} is nothing to listen at; expected tcp://HOST:PORT or ipc://PATH")
        elif not has_keys and not is_loopback(endpoint):
            raise SecurityError(
                f"listening at {endpoint} without keys would let in whoever can reach it, with all rights; {_HOW}"
            )


def is_loopback(endpoint: str) -> bool:
    """Whether a tcp endpoint can only be reached from this machine."""
    host = endpoint.removeprefix(_TCP).rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name, an interface, or `*`: who knows where that leads
        return False


def _check_ipc(endpoint: str) -> None:
    path = endpoint.removeprefix(_IPC)
    if not path or path.startswith("@"):
        raise SecurityError(
            f"{endpoint!r} has no folder that could guard it; give the path of a file: ipc:///folder/name"
        )
    folder = Path(path).parent
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise SecurityError(f"{endpoint} cannot be listened at: {folder}: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise SecurityError(
            f"{endpoint} would be open to others: {folder} must be a folder of this user alone (0700), it is "
            f"{stat.S_IMODE(found.st_mode):04o} of user {found.st_uid}; choose another one, or chmod 700 {folder}"
        )
