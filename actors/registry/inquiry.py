"""Requests about runs: submissions, cancels, questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...triggers import describe
from ..actor import COORDINATOR, DEPENDENCIES, Address, Turn
from ..draft import draft_of
from ..messages import (
    Accepted,
    Admit,
    Answer,
    CancelAccepted,
    CancelLive,
    CancelRun,
    Describe,
    Found,
    Plan,
    PlanItem,
    Query,
    RunsEnded,
    Submit,
    SubmitItem,
    Watch,
    WatchLive,
)
from ..persistence.store import GetJobs, GetRuns, GetSubmissions, GetTokens, ListRuns
from ..portions import end_size, portions
from ..records import Job, JobRecord, RunRecord, RunState, Submission
from ..refusal import conflict_text
from .catalogue import Catalogue
from .errand import Errands, reject

JobKey = tuple[str, str]


class Inquiries:
    """Passes submissions on, and answers what is asked of runs and jobs."""

    def __init__(self, catalogue: Catalogue, errands: Errands) -> None:
        self._catalogue = catalogue
        self._errands = errands

    # ---- submitting -----------------------------------------------------------------------------------------------------

    def on_submit(self, client: Address, request: Submit, turn: Turn) -> None:
        if request.epoch != self._errands.epoch:
            self._errands.read(
                client, request, GetSubmissions((request.key,)), self._after_submissions(client, request), turn
            )
        else:
            self._plan(client, request, turn)

    def _after_submissions(self, client: Address, request: Submit) -> Callable[[Found, Turn], None]:
        def then(message: Found, turn: Turn) -> None:
            rows: tuple[Submission, ...] = message.rows
            if not rows:
                self._plan(client, request, turn)
            elif any(item.token is not None for item in request.items):
                self._accept_again(client, request, rows[0], turn)
            else:
                run_ids = range(rows[0].first, rows[0].first + rows[0].count)
                turn.send(client, Accepted(request.key, tuple(run_ids), durable=True))

        return then

    def _accept_again(self, client: Address, request: Submit, row: Submission, turn: Turn) -> None:
        """Answer as before: a run that was there by its idempotency key stands in place of the one that was numbered."""

        def then(found: Found, turn: Turn) -> None:
            records: tuple[RunRecord, ...] = found.rows
            by_token = {record.run.token: record.run.run_id for record in records}
            run_ids = (
                row.first + index if item.token is None else by_token.get(item.token, row.first + index)
                for index, item in enumerate(request.items)
            )
            turn.send(client, Accepted(request.key, tuple(run_ids), durable=True))

        tokens = dict.fromkeys(item.token for item in request.items if item.token is not None)
        self._errands.read(client, request, GetTokens(request.tenant, tuple(tokens)), then, turn)

    def _plan(self, client: Address, request: Submit, turn: Turn) -> None:
        """Pass a submission on, with its jobs' definitions; those that are not known are read first."""
        known, tenant = self._catalogue.known, request.tenant
        names = dict.fromkeys(item.job for item in request.items)
        missing = [(tenant, name) for name in names if (tenant, name) not in known]
        if not missing:
            self._plan_known(client, request, known, turn)
            return
        there = {(tenant, name): known[tenant, name] for name in names if (tenant, name) in known}

        def then(message: Found, turn: Turn) -> None:
            records: tuple[JobRecord, ...] = message.rows
            for record in records:
                there[record.job.key] = record
                if record.job.key not in known:  # what was stored since it was asked for is newer
                    self._catalogue.know(record)
            # what was known may have made room for what was found
            there.update({key: known[key] for key in (*there, *missing) if key in known})
            self._plan_known(client, request, there, turn)

        self._errands.read(client, request, GetJobs(tuple(missing)), then, turn)

    def _plan_known(self, client: Address, request: Submit, known: Mapping[JobKey, JobRecord], turn: Turn) -> None:
        """Pass a submission on: to the coordinator if its jobs stand alone, else to dependencies, which know what follows."""
        tenant = request.tenant
        jobs: dict[str, Job] = {}
        for index, item in enumerate(request.items):
            if item.job in jobs:
                continue
            record = known.get((tenant, item.job))
            if record is None or record.state.status == "removed":
                text = f"no job {item.job!r} in tenant {tenant!r}; add it first"
                reject(client, request.key, "unknown_job", text, turn, index)
                return
            if not record.job.is_known:
                text = f"nothing of job {item.job!r} can be read here but its name: {describe(record.job.trigger)}; declare it anew"
                reject(client, request.key, "impossible", text, turn, index)
                return
            jobs[item.job] = record.job
        to: Address
        message: Plan | Admit
        if any(self._catalogue.is_linked(job) for job in jobs.values()):
            items = tuple(PlanItem(jobs[item.job], item) for item in request.items)
            to, message = DEPENDENCIES, Plan(request.key, client, request.cause, items)
        else:
            drafts = tuple(draft_of(jobs[item.job], item, request.cause) for item in request.items)
            to, message = COORDINATOR, Admit(request.key, client, drafts, len(drafts))
        if any(item.token is not None for item in request.items):
            self._check_tokens(client, request, to, message, turn)
        else:
            turn.send(to, message)

    def _check_tokens(self, client: Address, request: Submit, to: Address, message: Plan | Admit, turn: Turn) -> None:
        """Refuse a submission whole if a key of it belongs to a run that was submitted with something else."""
        items: dict[str, tuple[int, SubmitItem]] = {}
        for index, item in enumerate(request.items):
            if item.token is None:
                continue
            _, first = items.setdefault(item.token, (index, item))
            if (first.job, first.arguments) != (item.job, item.arguments):
                text = f"the idempotency key {item.token!r} stands for two different runs in one submission; use another key"
                reject(client, request.key, "token_conflict", text, turn, index)
                return

        def then(found: Found, turn: Turn) -> None:
            records: tuple[RunRecord, ...] = found.rows
            for record in records:
                old = record.run
                index, item = items[old.token or ""]
                if (old.job, old.arguments) != (item.job, item.arguments):
                    reject(client, request.key, "token_conflict", conflict_text(old), turn, index)
                    return
            turn.send(to, message)

        self._errands.read(client, request, GetTokens(request.tenant, tuple(items)), then, turn)

    # ---- runs -----------------------------------------------------------------------------------------------------------

    def on_cancel_run(self, client: Address, request: CancelRun, turn: Turn) -> None:
        def then(message: Found, turn: Turn) -> None:
            records: tuple[RunRecord, ...] = message.rows
            if not records:
                text = f"no run {request.run_id} in tenant {request.tenant!r}"
                reject(client, request.key, "unknown_run", text, turn)
            elif records[0].end is None:
                turn.send(COORDINATOR, CancelLive(request.key, client, request.run_id, request.reason))
            elif records[0].end.state is RunState.CANCELLED:
                turn.send(client, CancelAccepted(request.key, RunState.CANCELLED))
            else:
                text = f"run {request.run_id} has ended already: {records[0].end.state}"
                reject(client, request.key, "ended", text, turn)

        self._errands.read(client, request, GetRuns(request.tenant, (request.run_id,)), then, turn)

    def on_query(self, client: Address, request: Query, turn: Turn) -> None:
        of_runs = isinstance(request.question, GetRuns | ListRuns)

        def then(message: Found, turn: Turn) -> None:
            if of_runs and any(record.end is None for record in message.rows):
                turn.send(COORDINATOR, Describe(request.key, client, message.rows))
            else:
                turn.send(client, Answer(request.key, message.rows))

        self._errands.read(client, request, request.question, then, turn)

    def on_watch(self, client: Address, request: Watch, turn: Turn) -> None:
        def then(message: Found, turn: Turn) -> None:
            records: tuple[RunRecord, ...] = message.rows
            live = tuple(record.run.run_id for record in records if record.end is None)
            _tell_ends(client, records, turn)
            if live:
                turn.send(COORDINATOR, WatchLive(client, request.tenant, live))

        self._errands.read(client, request, GetRuns(request.tenant, request.run_ids), then, turn)

    def on_missed(self, missed: WatchLive, turn: Turn) -> None:
        """Runs that a client waits for ended after the store was asked: it knows their ends by now."""

        def then(message: Found, turn: Turn) -> None:
            records: tuple[RunRecord, ...] = message.rows
            _tell_ends(missed.client, records, turn)

        request = Watch("", missed.tenant, missed.run_ids)
        self._errands.read(missed.client, request, GetRuns(missed.tenant, missed.run_ids), then, turn)


def _tell_ends(client: Address, records: tuple[RunRecord, ...], turn: Turn) -> None:
    for portion in portions([record.end for record in records if record.end is not None], end_size):
        turn.send(client, RunsEnded(portion))
