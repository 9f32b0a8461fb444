"""The name of the machine's time zone, which the standard library does not tell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ..triggers import TriggerError, cron

_LINK: Final = Path("/etc/localtime")
_NAMED: Final = Path("/etc/timezone")


def local_zone() -> str:
    """Return the IANA name of the zone that the machine's clock shows, `UTC` where none can be found out."""
    for name in (os.environ.get("TZ", "").removeprefix(":"), _of_link(), _of_file()):
        if name and _is_zone(name):
            return name
    return "UTC"


def _of_link() -> str:
    try:
        target = str(_LINK.resolve(strict=True))
    except OSError:
        return ""
    return target.partition("/zoneinfo/")[2]


def _of_file() -> str:
    try:
        return _NAMED.read_text("utf-8").strip()
    except OSError:
        return ""


def _is_zone(name: str) -> bool:
    try:
        cron("@daily", zone=name)
    except TriggerError:
        return False
    return True
