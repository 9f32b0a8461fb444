"""A scheduler that runs nothing: opened for a moment to change what is stored."""

from __future__ import annotations

from msgspec.structs import replace

from ..actors.persistence.store import Store
from ..actors.records import DEFAULT_TENANT
from ..node import NodeOptions
from .questions import Target
from .scheduler import Scheduler
from .vocabulary import plain_name


class Desk(Scheduler):
    """A scheduler without places and with a clock that stands still: it takes requests, and what they ask for waits.

    No slot is decided and no run begins. It does not listen, so that nobody takes it for a scheduler that stays. Use it by
    `with`, while no scheduler runs on the store.
    """

    def __init__(self, store: str | Store, *, tenant: str = DEFAULT_TENANT) -> None:
        super().__init__(store, threads=0, processes=0, asynchronous=0, commands=0, tenant=tenant, drain_timeout=0)
        self._setup = replace(self._setup, node=NodeOptions(fires=False))

    def _name_of(self, job: Target) -> str:
        return plain_name(job)
