"""The vocabulary: what can be said to a scheduler, within its process or from outside.

`Questions` (jobs, runs, decisions, logs) stand over anything that answers questions of the store. `Vocabulary` adds what
changes something (submit, trigger, pause, cancel) and stands over a gateway. From it derive `Scheduler`, a node of one's own
that declares functions, and `Client`, which reaches schedulers of other processes and machines.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from ..actors.actor import COORDINATOR, METRICS
from ..actors.executor.functions import Function
from ..actors.messages import (
    AddJobs,
    Answer,
    CancelRun,
    ChangeJob,
    DrainNode,
    JobChanged,
    JobsAdded,
    ListMembers,
    MembersListed,
    NodeDraining,
    Query,
    ReportMetrics,
    SubmitItem,
)
from ..actors.persistence.store import Question
from ..actors.records import Cause, Command, Event, Job, JobRecord, RunState
from ..data import pack_record
from ..errors import DefinitionError
from ..triggers import Trigger
from .batch import parts
from .gateway import Gateway
from .handle import Handle, not_ended
from .news import LOOK_S, PAGES, News
from .option import Duration, check_name, check_run_id, check_trigger, duration_us
from .questions import Questions, Target
from .submission import Submission
from .view import MemberView, view_member

RUNS_A_PAGE: Final = 12
"""Runs that fit into one frame for certain: each may hold 256 KiB of arguments, a result of 1 MiB and 64 KiB of logs."""

JOBS_A_PAGE: Final = 30
"""Likewise jobs: a definition has 512 KiB at most."""


class Vocabulary(Questions):
    """What can be said over a gateway. Who derives from it says how the gateway is reached, and sets `tenant`.

    Whoever leads when a question is answered may be on another machine, so pages are small enough to travel.
    """

    _runs_a_page = RUNS_A_PAGE
    _jobs_a_page = JOBS_A_PAGE

    @abstractmethod
    def _open_gateway(self) -> Gateway:
        """Return the gateway.

        Raises:
            NotRunning: there is none now.
        """

    # ---- jobs -----------------------------------------------------------------------------------------------------------

    def add_definitions(self, jobs: Sequence[Job]) -> JobsAdded:
        """Store definitions as they are: new ones are added, those that differ are changed; return how many of which.

        All or none up to 256 jobs that are 8 MiB together, else batch by batch. `add` is the way to make a definition of a
        function or command.

        Raises:
            DependencyError: an upstream is unknown, or there would be a cycle.
        """
        gateway = self._open_gateway()
        added = changed = same = 0
        for part in parts([len(pack_record(job)) for job in jobs]):
            answer = gateway.request(AddJobs(gateway.key(), tuple(jobs[part])))
            assert isinstance(answer, JobsAdded)
            added, changed, same = added + answer.added, changed + answer.changed, same + answer.same
        return JobsAdded("", added, changed, same)

    def pause(self, job: Target) -> None:
        """Fire no more slots of a job and begin none of its runs, until it is resumed; what passes is SKIPPED_PAUSED.

        Raises:
            UnknownJob: there is none of this name.
        """
        self._change(job, "pause")

    def resume(self, job: Target) -> None:
        """Let a paused job go on, from now."""
        self._change(job, "resume")

    def remove(self, job: Target) -> None:
        """Remove a job: its runs that have not begun are cancelled, its history stays."""
        self._change(job, "remove")

    def reschedule(self, job: Target, trigger: Trigger) -> None:
        """Give a job another trigger, from now on.

        Raises:
            DefinitionError: it is no trigger.
            UnknownJob: there is no job of this name.
        """
        self._change(job, "reschedule", check_trigger(trigger, self._name_of(job)))

    def _change(self, job: Target, action: Any, trigger: Trigger | None = None) -> JobRecord:
        gateway = self._open_gateway()
        answer = gateway.request(ChangeJob(gateway.key(), self.tenant, self._name_of(job), action, trigger))
        assert isinstance(answer, JobChanged)
        return answer.record

    # ---- runs -----------------------------------------------------------------------------------------------------------

    def submit(self, job: Target, *args: Any, **kwargs: Any) -> Handle:
        """Ask for a run of a job now, with these arguments; return when it is stored.

        `job` is a declared function, a job's name, or any other function, which becomes a job by this.

        Raises:
            DefinitionError: the arguments do not fit the function. DataError: they are not data.
            UnknownJob: no job of this name. NotRunning: it was not started. StoreFull: nothing was stored.
        """
        return self.options().submit(job, *args, **kwargs)

    def submit_many(self, calls: Iterable[Sequence[Any]]) -> list[Handle]:
        """Ask for many runs, `(job, *args)` each; return their handles in order when all are stored. See `submit`.

        They go in batches of 256, of 8 MiB at most, each of which is stored as a whole or not at all. The error of one that is
        refused, or not answered in time, ends it; `error.submitted` has for each run in order its handle if it is stored, or
        None.
        """
        return self.options().submit_many(calls)

    def options(
        self,
        *,
        priority: int | None = None,
        idempotency_key: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        timeout: float | None = None,
    ) -> Submission:
        """Say more of what is submitted next: `scheduler.options(priority=5).submit(job, 1)`.

        idempotency_key: the same key gives the same run; with other arguments it is refused. delay, at: not before.
        timeout: how long to wait for the answer, in seconds; 30 unless a client says otherwise.
        """
        return Submission(self, priority, idempotency_key, delay, at, timeout)

    def trigger(self, job: Target) -> Handle:
        """Fire a job by hand: like a slot, with its own arguments; what it waits for and what waits for it run with it."""
        name = self._name_of(job)
        return self.submit_items([SubmitItem(name)], "trigger", None)[0]

    def submit_items(self, items: Sequence[SubmitItem], cause: Cause, timeout_s: float | None) -> list[Handle]:
        """Submit checked items. `Submission` is the way to call this."""
        gateway = self._open_gateway()
        tenant = self.tenant
        handles = [Handle(self, tenant, item.job) for item in items]
        gateway.submit(tenant, items, handles, cause, timeout_s)
        return handles

    def resolve(self, job: Target) -> tuple[str, Function | None]:
        """The name of a job and, where this program has it, its function."""
        return self._name_of(job), None

    def has_arguments(self, name: str) -> bool:
        """Whether a call without arguments gets some from elsewhere: the job's own, or its upstreams' results."""
        del name
        return True

    def handle(self, run_id: int) -> Handle:
        """A handle for a run that was submitted elsewhere or earlier.

        Raises:
            UnknownRun: there is none of this number.
        """
        record = self._record(run_id)
        handle = Handle(self, self.tenant, record.run.job, run_id)
        gateway = self._open_gateway()
        gateway.follow(handle)
        gateway.watch(self.tenant, (run_id,))
        return handle

    def look_again(self, handle: Handle) -> None:
        """Ask whether a run has ended, in case the news was missed."""
        gateway = self._open_gateway()
        gateway.follow(handle)
        gateway.watch_again(handle)

    def cancel(self, run: Handle | int) -> RunState:
        """Cancel a run: CANCELLED at once, or CANCELLING while its function still runs.

        Raises:
            UnknownRun: there is none of this number. Refused: it has ended already.
        """
        gateway = self._open_gateway()
        run_id = check_run_id(run.run_id if isinstance(run, Handle) else run, self.tenant)
        state: RunState = gateway.request(CancelRun(gateway.key(), self.tenant, run_id)).state
        return state

    def wait(self, handles: Iterable[Handle], timeout: float | None = None) -> list[RunState]:
        """Wait until all these runs have ended, at most `timeout` seconds together; return their final states in order.

        Raises:
            TimeoutError: one has not ended in time; they all go on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        states: list[RunState] = []
        for handle in handles:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                states.append(handle.wait(left))
            except TimeoutError:
                raise not_ended(handle.run_id, handle.job, timeout) from None
        return states

    # ---- nodes ----------------------------------------------------------------------------------------------------------

    def members(self, *, timeout: float | None = None) -> list[MemberView]:
        """The nodes of the cluster by name, as the leader knows them; one that is alone is a cluster of one.

        timeout: how long to wait for the answer, in seconds; 30 unless a client says otherwise.

        Raises:
            TimeoutError: no answer; maybe nobody leads.
        """
        gateway = self._open_gateway()
        answer = gateway.request(ListMembers(gateway.key()), to=COORDINATOR, timeout_s=_limit_s(timeout))
        assert isinstance(answer, MembersListed)
        return [view_member(status) for status in answer.members]

    def drain(self, node: str, on: bool = True, *, stop: bool = False, timeout: float | None = None) -> int:
        """Give a node no more work (`on`), or some again; return how many attempts are still with it.

        stop: also end it, when nothing runs there any more or after ten seconds; that cannot be taken back. Twice is
        harmless. A leader hands over first, if somebody else can lead.
        timeout: how long to wait for the answer, in seconds; 30 unless a client says otherwise.

        Raises:
            Refused: there is no such node.
            TimeoutError: no answer; maybe nobody leads.
        """
        gateway = self._open_gateway()
        check_name(node, "a node's name")
        request = DrainNode(gateway.key(), node, on, stop)
        answer = gateway.request(request, to=COORDINATOR, timeout_s=_limit_s(timeout))
        assert isinstance(answer, NodeDraining)
        return answer.running

    # ---- questions ------------------------------------------------------------------------------------------------------

    def metrics(self) -> str:
        """The counters in Prometheus' text format."""
        gateway = self._open_gateway()
        text: str = gateway.request(ReportMetrics(gateway.key()), to=METRICS).text
        return text

    def follow_events(self, job: Target | None = None) -> Iterator[Event]:
        """Yield the events of the tenant's history that happen from now on, as they come, of one job or of all; for ever.

        The history is looked at twice a second. Each event comes once and in order, also over a change of the leader; only
        when more than a thousand came between two looks, the older of them are left out, and an event of kind
        `events_missed` says so.

        Raises:
            NotRunning: it was stopped, or closed.
            TimeoutError: nobody leads for too long.
        """
        return self._follow(job, News(next(iter(self.events(job, limit=1)), None)))

    def _follow(self, job: Target | None, news: News) -> Iterator[Event]:
        while True:
            time.sleep(LOOK_S)
            for limit in PAGES:
                found = news.of(self.events(job, limit=limit), limit)
                if found is not None:
                    yield from found
                    break

    def _ask(self, question: Question) -> tuple[Any, ...]:
        gateway = self._open_gateway()
        answer = gateway.request(Query(gateway.key(), question))
        assert isinstance(answer, Answer)
        return answer.rows


def _limit_s(timeout: float | None) -> float | None:
    return None if timeout is None else duration_us(timeout, "timeout") / 1_000_000


def said_name(job: str | Command) -> str:
    """The name of a job that says it itself.

    Raises:
        DefinitionError: no job can have it.
    """
    return check_name(job if isinstance(job, str) else job.line or " ".join(job.argv))


def plain_name(job: Target) -> str:
    """The name of a job where functions have none: as text, or as a command.

    Raises:
        DefinitionError: it is a function.
    """
    if isinstance(job, str | Command):
        return said_name(job)
    raise DefinitionError(
        f"{job!r} is a function; the scheduler runs in another process, which knows jobs by their names"
    )
