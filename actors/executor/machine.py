"""Which boot of which machine this is: what a memory-mapped file can be trusted within."""

from __future__ import annotations

import subprocess
import sys
import uuid
from functools import cache
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_MACHINE_IDS: Final = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
_SYSCTL_SECONDS: Final = 2.0


@cache
def boot_id() -> str:
    """Answer a text that is new with each boot; empty where the system has none, and then nothing of before is trusted."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return _sysctl("kern.bootsessionuuid") if sys.platform == "darwin" else ""


@cache
def machine_id() -> str:
    """Answer a text that tells this machine from others that share the folder."""
    for path in _MACHINE_IDS:
        try:
            text = path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text:
            return text
    return f"{uuid.getnode():012x}"


def _sysctl(name: str) -> str:
    try:
        done = subprocess.run(
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, timeout=_SYSCTL_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("ascii", "replace").strip()
