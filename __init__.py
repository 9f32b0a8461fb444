"""Callsheet: a job scheduler made of actors that talk only by messages."""

from .actors.executor.context import Context, Retry, Snooze
from .client.async_client import AsyncClient, AsyncHandle
from .client.command import shell
from .client.handle import Handle
from .client.option import exponential, fixed, linear
from .client.remote import Client
from .client.scheduler import Scheduler
from .errors import (
    CallsheetError,
    DataError,
    DefinitionError,
    DependencyError,
    JobConflict,
    NotRunning,
    Refused,
    RunError,
    StoreError,
    UnknownJob,
    UnknownRun,
)
from .triggers import (
    Calendar,
    TriggerError,
    at,
    calendar_interval,
    cron,
    delay,
    describe,
    every,
    manual,
    preview,
    rrule,
)

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "AsyncHandle",
    "Calendar",
    "CallsheetError",
    "Client",
    "Context",
    "DataError",
    "DefinitionError",
    "DependencyError",
    "Handle",
    "JobConflict",
    "NotRunning",
    "Refused",
    "Retry",
    "RunError",
    "Scheduler",
    "Snooze",
    "StoreError",
    "TriggerError",
    "UnknownJob",
    "UnknownRun",
    "at",
    "calendar_interval",
    "cron",
    "delay",
    "describe",
    "every",
    "exponential",
    "fixed",
    "linear",
    "manual",
    "preview",
    "rrule",
    "shell",
]
