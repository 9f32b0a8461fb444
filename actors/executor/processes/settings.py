"""What a worker process is told when it is made."""

from __future__ import annotations

import contextlib
import resource

from msgspec import Struct


class Settings(Struct, frozen=True, kw_only=True):
    """Descriptors, the place of the start marks, and limits (0: none).

    `cpu_seconds` is for the whole life of a worker, `memory_bytes` for its address space, `open_files` for descriptors.
    """

    parent: int
    channel: int
    control: int
    outbox: int
    marks_folder: str
    incarnation: str
    cpu_seconds: int = 0
    memory_bytes: int = 0
    open_files: int = 0


def limit_resources(settings: Settings) -> None:
    """Set the limits on this process; one that the system refuses is left as it is."""
    limits = (
        (resource.RLIMIT_CPU, settings.cpu_seconds),
        (resource.RLIMIT_AS, settings.memory_bytes),
        (resource.RLIMIT_NOFILE, settings.open_files),
    )
    for kind, limit in limits:
        if limit:
            with contextlib.suppress(OSError, ValueError):
                _, hard = resource.getrlimit(kind)
                resource.setrlimit(kind, (limit, hard))
