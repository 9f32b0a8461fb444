"""The answers of the memory store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import islice
from typing import Any, assert_never

from ...lifecycle import FINAL
from ...records import Job, JobRecord, Run, RunRecord
from .. import store as contract
from ..store import Question
from ..view import NO_FACTS, ended_record, live_record, live_run, page_size
from .tables import Tables


def answer(tables: Tables, question: Question) -> list[Any]:  # noqa: C901 -- one case for each question
    """Answer a question; the list's items are said at the question."""
    match question:
        case contract.GetJobs(names=names):
            return _found(tables.jobs, names)
        case contract.GetDefinitions(versions=versions):
            return _found(tables.definitions, versions)
        case contract.ListJobs():
            return list(islice(_list_jobs(tables, question), page_size(question.limit)))
        case contract.ListEdges():
            return [
                tables.jobs[key]
                for key in tables.names.after(None)
                if _linked(tables.jobs[key].job) and tables.jobs[key].state.status != "removed"
            ]
        case contract.ListHeld():
            return [tables.jobs[key] for key in tables.names.after(None) if tables.jobs[key].state.status == "paused"]
        case contract.DueJobs():
            return list(islice(_due_jobs(tables, question), page_size(question.limit)))
        case contract.ListUnarmed():
            return list(islice(_list_unarmed(tables, question), page_size(question.limit)))
        case contract.GetLiveRuns():
            return list(islice(_live_runs(tables, question), page_size(question.limit)))
        case contract.GetRuns(tenant=tenant, run_ids=run_ids):
            runs = _found(tables.runs, run_ids)
            return [_record(tables, run) for run in runs if run.tenant == tenant]
        case contract.ListRuns():
            return list(islice(_list_runs(tables, question), page_size(question.limit)))
        case contract.GetGroup(tenant=tenant, groups=groups):
            numbers = {number for group in groups for number in tables.by_group.get((tenant, group), ())}
            return [_record(tables, tables.runs[number]) for number in sorted(numbers)]
        case contract.GetTokens(tenant=tenant, tokens=tokens):
            kept = [
                tables.by_token[key] for token in dict.fromkeys(tokens) if (key := (tenant, token)) in tables.by_token
            ]
            return [_record(tables, run) for run in sorted(kept, key=lambda run: run.run_id)]
        case contract.GetSubmissions(keys=keys):
            return _found(tables.submissions, keys)
        case contract.GetReceipts(keys=keys):
            return _found(tables.receipts, keys)
        case contract.ListDecisions():
            slots = tables.decisions.get((question.tenant, question.job), {})
            wanted = (slot for slot in slots if question.before is None or slot < question.before)
            return [slots[slot] for slot in sorted(wanted, reverse=True)[: page_size(question.limit)]]
        case contract.ListAttempts(tenant=tenant, run_id=run_id):
            known = run_id in tables.runs and tables.runs[run_id].tenant == tenant
            return list(tables.attempts.get(run_id, ())) if known else []
        case contract.ListEvents():
            return _list_events(tables, question)
        case contract.GetCounters():
            run_id = max(tables.run_id, tables.settled - 1)
            return [contract.Counters(run_id=run_id, fence=tables.fence, settled=tables.settled)]
        case _:
            assert_never(question)


def _found(table: dict[Any, Any], keys: Iterable[Any]) -> list[Any]:
    """The items of these keys, in the order of asking, each once."""
    return [table[key] for key in dict.fromkeys(keys) if key in table]


def _linked(job: Job) -> bool:
    return bool(job.after) or job.hook is not None


def _list_jobs(tables: Tables, question: contract.ListJobs) -> Iterator[JobRecord]:
    for tenant, name in tables.names.after((question.tenant, question.after)):
        if tenant != question.tenant:
            return
        record = tables.jobs[tenant, name]
        if record.state.status == "removed" and not question.removed:
            continue
        if question.tag is None or question.tag in record.job.tags:
            yield record


def _due_jobs(tables: Tables, question: contract.DueJobs) -> Iterator[JobRecord]:
    for due, tenant, name in tables.due.after(question.after):
        if due > question.until:
            return
        yield tables.jobs[tenant, name]


def _list_unarmed(tables: Tables, question: contract.ListUnarmed) -> Iterator[JobRecord]:
    return (tables.jobs[key] for key in tables.unarmed.after(question.after))


def _live_runs(tables: Tables, question: contract.GetLiveRuns) -> Iterator[Any]:
    first = max(question.after + 1, tables.settled)
    for number in sorted(number for number in tables.live if number >= first):
        yield live_run(tables.live[number], tables.facts.get(number, NO_FACTS))


def _record(tables: Tables, run: Run) -> RunRecord:
    end = tables.ends.get(run.run_id)
    if end is not None:
        return ended_record(run, end)
    return live_record(run, tables.facts.get(run.run_id, NO_FACTS))


def _list_runs(tables: Tables, question: contract.ListRuns) -> Iterator[RunRecord]:
    tenant, job, state = question.tenant, question.job, question.state
    numbers: Iterable[int]
    if state is not None and state not in FINAL:
        numbers = (number for number in tables.live if number >= tables.settled)
    else:
        numbers = tables.by_tenant.get(tenant, ()) if job is None else tables.by_job.get((tenant, job), ())
    before = question.before
    for number in sorted((n for n in numbers if before is None or n < before), reverse=True):
        run = tables.runs[number]
        if run.tenant != tenant or (job is not None and run.job != job) or (run.cause == "hook" and not question.hooks):
            continue
        if question.tag is not None and not _tagged(tables, run, question.tag):
            continue
        record = _record(tables, run)
        if state is None or record.state is state:
            yield record


def _tagged(tables: Tables, run: Run, tag: str) -> bool:
    record = tables.jobs.get((run.tenant, run.job))
    return record is not None and tag in record.job.tags


def _list_events(tables: Tables, question: contract.ListEvents) -> list[Any]:
    tenants = dict.fromkeys((question.tenant, ""))
    newest_first = merge(*(reversed(tables.events.get(tenant, [])) for tenant in tenants), key=lambda item: -item[0])
    wanted = (event for _, event in newest_first if question.job is None or event.job == question.job)
    return list(islice(wanted, page_size(question.limit)))
