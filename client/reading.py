"""Reading a store without a scheduler: jobs, runs, decisions and logs of a file that another process may be writing."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..actors.persistence.sqlite import SQLiteReader
from ..actors.persistence.store import Question
from ..actors.records import DEFAULT_TENANT
from .option import check_name
from .questions import Questions, Target
from .vocabulary import plain_name


class StoreReading(Questions):
    """The questions over an SQLite file, which is opened so that nothing in it can be changed. Use it by `with`.

    The state of a run that has not ended is as far as a store knows it: what runs is shown as CLAIMED.
    """

    def __init__(self, path: Path, *, tenant: str = DEFAULT_TENANT) -> None:
        self.tenant = check_name(tenant, "a tenant's name")
        self._reader = SQLiteReader(path)

    def __enter__(self) -> Self:
        self._reader.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def _ask(self, question: Question) -> tuple[Any, ...]:
        return tuple(self._reader.read(question))

    def _name_of(self, job: Target) -> str:
        return plain_name(job)
