"""What can be asked about jobs and runs; the same words whoever answers: a running scheduler, or a store that is only read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from msgspec.structs import replace

from ..actors.persistence.store import (
    MAX_PAGE,
    GetJobs,
    GetRuns,
    ListAttempts,
    ListDecisions,
    ListEvents,
    ListJobs,
    ListRuns,
    Question,
)
from ..actors.records import Attempt, Command, Decision, Event, JobRecord, RunRecord, RunState
from ..actors.schedule import compile_job
from ..errors import DefinitionError, UnknownJob, UnknownRun
from ..triggers import Preview, Trigger, TriggerError, preview, read_moment, to_datetime
from ..triggers.preview import MAX_PREVIEW, wall_clock
from .option import check_count, check_name, check_run_id
from .view import AttemptView, DecisionView, JobView, RunView, view_attempts, view_decision, view_job, view_run

Target = Callable[..., Any] | str | Command
"""How a job is named: by its function, its name or its command."""

JOBS_A_PAGE: Final = 500

AS_STORED: Final[dict[RunState, tuple[RunState, ...]]] = {
    RunState.RUNNING: (RunState.CLAIMED,),
    RunState.BLOCKED: (RunState.READY, RunState.DELAYED),
    RunState.READY: (RunState.READY, RunState.DELAYED),
    RunState.DELAYED: (RunState.READY, RunState.DELAYED),
}
"""As what a store may know a live run that is in this state in fact: see `callsheet.actors.persistence.view`."""


def read_state(given: str) -> RunState:
    """Return the state of a run by its name, in capitals or not.

    Raises:
        DefinitionError: there is none of this name.
    """
    try:
        return RunState(given.upper())
    except ValueError:
        known = ", ".join(state.lower() for state in RunState)
        raise DefinitionError(f"{given!r} is no state of a run; there are {known}") from None


class Questions(ABC):
    """The questions; whoever answers them says how by `_ask`, and what a function's job is called by `_name_of`."""

    tenant: str
    _runs_a_page = MAX_PAGE
    _jobs_a_page = JOBS_A_PAGE

    @abstractmethod
    def _ask(self, question: Question) -> tuple[Any, ...]:
        """Answer a question of the store."""

    @abstractmethod
    def _name_of(self, job: Target) -> str:
        """Return the name of a job."""

    def jobs(self, *, tag: str | None = None, limit: int = 1_000, hooks: bool = False) -> list[JobView]:
        """The tenant's jobs by name; with a tag only those that bear it."""
        check_count(limit, "limit")
        _check_tag(tag)
        found: list[JobView] = []
        after = ""
        while len(found) < limit:
            page = ListJobs(tenant=self.tenant, tag=tag, after=after, limit=min(limit, self._jobs_a_page))
            rows: tuple[JobRecord, ...] = self._ask(page)
            found.extend(view_job(row) for row in rows if hooks or row.job.hook is None)
            if len(rows) < page.limit:
                break
            after = rows[-1].job.name
        return found[:limit]

    def job_view(self, job: Target) -> JobView:
        """One job.

        Raises:
            UnknownJob: there is none of this name.
        """
        return view_job(self._job_record(job))

    def runs(
        self,
        job: Target | None = None,
        *,
        state: RunState | str | None = None,
        tag: str | None = None,
        limit: int = 100,
        before: int | None = None,
        hooks: bool = False,
    ) -> list[RunView]:
        """The tenant's runs, newest first, at most `limit`; of one job, in one state, with a tag, before a run's number.

        Raises:
            DefinitionError: there is no such state.
        """
        check_count(limit, "limit")
        _check_tag(tag)
        if before is not None:
            check_count(before, "before, a run's number,")
        name = None if job is None else self._name_of(job)
        wanted = None if state is None else read_state(state)
        found: list[RunView] = []
        for stored in (None,) if wanted is None else AS_STORED.get(wanted, (wanted,)):
            question = ListRuns(tenant=self.tenant, job=name, state=stored, tag=tag, before=before, hooks=hooks)
            found += self._page_runs(question, wanted, limit)
        return sorted(found, key=lambda run: -run.run_id)[:limit]

    def _page_runs(self, question: ListRuns, wanted: RunState | None, limit: int) -> list[RunView]:
        """Ask page by page until `limit` runs are found; whoever answers may know a live run's state better than the store."""
        found: list[RunView] = []
        while len(found) < limit:
            question = replace(question, limit=min(limit, self._runs_a_page))
            rows: tuple[RunRecord, ...] = self._ask(question)
            found.extend(view_run(row) for row in rows if wanted is None or row.state is wanted)
            if len(rows) < question.limit:
                break
            question = replace(question, before=rows[-1].run.run_id)
        return found[:limit]

    def run_view(self, run_id: int) -> RunView:
        """One run.

        Raises:
            UnknownRun: there is none of this number.
        """
        return view_run(self._record(run_id))

    def decisions(self, job: Target, *, limit: int = 100) -> list[DecisionView]:
        """What became of a job's slots, newest first: fired, or skipped and why."""
        check_count(limit, "limit")
        question = ListDecisions(tenant=self.tenant, job=self._name_of(job))
        found: list[DecisionView] = []
        while len(found) < limit:
            question = replace(question, limit=min(limit - len(found), MAX_PAGE))
            rows: tuple[Decision, ...] = self._ask(question)
            found.extend(view_decision(row) for row in rows)
            if len(rows) < question.limit:
                break
            question = replace(question, before=rows[-1].slot)
        return found

    def events(self, job: Target | None = None, *, limit: int = 100) -> list[Event]:
        """The tenant's history beside its runs, newest first: pauses, edits, reigns, clocks that jumped; of one job, or all."""
        check_count(limit, "limit")
        name = None if job is None else self._name_of(job)
        return list(self._ask(ListEvents(tenant=self.tenant, job=name, limit=min(limit, MAX_PAGE))))

    def logs(self, run_id: int) -> str:
        """What the attempts of a run printed and logged, oldest first.

        Raises:
            UnknownRun: there is none of this number.
        """
        return "".join(attempt.logs for attempt in self.attempts(run_id))

    def attempts(self, run_id: int) -> list[AttemptView]:
        """The attempts of a run that are over, oldest first: those that were tried again too, with their errors.

        Raises:
            UnknownRun: there is none of this number.
        """
        record = self._record(run_id)
        stored: tuple[Attempt, ...] = self._ask(ListAttempts(self.tenant, run_id))
        return view_attempts(stored, record.end)

    def preview(self, trigger: Trigger | Target, count: int = 10, start: datetime | None = None) -> list[Preview]:
        """The next `count` instants of a trigger, or of a job, after `start` (now).

        Raises:
            UnknownJob: there is no job of this name.
        """
        if isinstance(trigger, str | Command) or callable(trigger):
            return _preview_job(self._job_record(trigger), count, start)
        return preview(trigger, count, start)

    def _job_record(self, job: Target) -> JobRecord:
        name = self._name_of(job)
        rows: tuple[JobRecord, ...] = self._ask(GetJobs(((self.tenant, name),)))
        if not rows or rows[0].state.status == "removed":
            raise UnknownJob(f"no job {name!r} in tenant {self.tenant!r}", "unknown_job")
        return rows[0]

    def _record(self, run_id: int) -> RunRecord:
        rows: tuple[RunRecord, ...] = self._ask(GetRuns(self.tenant, (check_run_id(run_id, self.tenant),)))
        if not rows:
            raise UnknownRun(f"no run {run_id} in tenant {self.tenant!r}", "unknown_run")
        return rows[0]


def _check_tag(tag: str | None) -> None:
    if tag is not None:
        check_name(tag, "a tag")


def _preview_job(record: JobRecord, count: int, start: datetime | None) -> list[Preview]:
    """The slots of a job after `start` (now): counted from when it was added, and no more than its limit leaves."""
    if not 0 <= count <= MAX_PREVIEW:
        raise TriggerError(f"a preview shows 0 to {MAX_PREVIEW:,} slots; {count} was given")
    schedule = compile_job(record.job, record.state)
    after = wall_clock() if start is None else read_moment(start, None, "the start of a preview")
    if schedule.limit is not None:
        count = min(count, max(0, schedule.limit - record.state.fires))
    shown: list[Preview] = []
    slot = schedule.next(max(after, schedule.first_mark))
    while slot is not None and len(shown) < count:
        shown.append(Preview(to_datetime(slot.instant), to_datetime(slot.due), slot.note, slot.excluded))
        slot = schedule.next(slot.instant)
    return shown
