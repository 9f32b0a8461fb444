"""What follows when a batch of a coordinator that leads is durable, and what when the store refused it."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from callsheet.actors.actor import PERSISTENCE
from callsheet.actors.coordinator.reign import AUDIT_US
from callsheet.actors.messages import (
    Accepted,
    Admit,
    CancelLive,
    Draft,
    KnowJobs,
    MarksRead,
    RequestRejected,
    RunsMade,
    Saved,
    SaveRejected,
    StockTaken,
    TimerFired,
)
from callsheet.actors.persistence.store import (
    AddAttempts,
    AddClaim,
    AddEnds,
    AddEvents,
    AddRuns,
    Committed,
    PutConditions,
)
from callsheet.actors.records import Hook, HookMoment, Job, LiveRun, Run, RunState
from support.actors import NOW, SECOND, Leader, make_job, make_record


def submitted(job: Job | None = None, group: str = "", **more: Any) -> Draft:
    return Draft(job or make_job(), "submit", None, group, **more)


def told_of(leader: Leader) -> list[tuple[int, tuple[str, ...]]]:
    """The runs that dependencies was told of, with their upstreams."""
    messages = [message for message in leader.out if isinstance(message, RunsMade)]
    return [(made.run_id, made.after) for message in messages for made in message.runs]


def test_dependencies_is_told_which_upstreams_a_run_waits_for() -> None:
    leader = Leader()
    train = make_job("train", after=("ingest",))
    leader.admit(Draft(train, "submit", None, "m/1", waits=True), Draft(make_job("ingest"), "dependency", None, "m/1"))
    leader.admit(Draft(train, "submit", None, "m/2", b"\x90"), key="2")  # called with arguments
    assert told_of(leader) == [(1, ("ingest",)), (2, ()), (3, ())]


def test_after_a_fail_over_dependencies_is_told_which_upstreams_a_run_waits_for_by_its_version() -> None:
    run = Run(1, "t", "train", 1, "submit", None, "m/1", NOW, NOW, 0, b"")
    leader = Leader((LiveRun(run),), definitions=(make_job("train", after=("ingest",)),))
    assert told_of(leader) == [(1, ("ingest",))]


def test_what_dependencies_has_not_noted_is_said_again_as_what_others_of_its_group_may_have_ended_since() -> None:
    leader = Leader()
    leader.admit(Draft(make_job("ingest"), "submit", None, "m/1"))
    (first,) = (message for message in leader.out if isinstance(message, RunsMade))
    leader.out.clear()
    leader.tell(TimerFired("audit"), after=AUDIT_US)
    assert [message for message in leader.out if isinstance(message, RunsMade)] == [replace(first, rebuilt=True)]


# ---- what the store did not take ------------------------------------------------------------------------------------------


def refuse(leader: Leader) -> None:
    """The store has no room for the batch that is on its way; then it has again."""
    leader.tell(SaveRejected(leader.held[-1].key, "full", "disk full"), sender=PERSISTENCE)
    leader.hold_saves = False
    leader.tell(TimerFired("save"))


def hooked(moment: HookMoment, **more: Any) -> Leader:
    """A leader whose store does not answer yet, with a hook."""
    leader = Leader(**more)
    leader.tell(KnowJobs(1, 1, (make_record(make_job("hook", hook=Hook(moment=moment))),)), sender="registry")
    leader.hold_saves = True
    return leader


def facts(leader: Leader) -> list[Any]:
    """All that was written of runs."""
    kinds = (AddRuns, "runs"), (AddEnds, "ends"), (PutConditions, "conditions"), (AddEvents, "events")
    claims = [write.claim for write in leader.writes if isinstance(write, AddClaim)]
    return claims + [fact for kind, field in kinds for fact in leader.written(kind, field)]


def cancel(leader: Leader, run_id: int) -> None:
    leader.tell(CancelLive("c", "client-1", run_id, "no"), sender="registry")


def test_a_refused_run_that_has_ended_meanwhile_leaves_nothing() -> None:
    leader = hooked("after", thread=0)
    leader.admit(submitted())
    cancel(leader, 1)
    refuse(leader)
    assert [message.code for message in leader.out if isinstance(message, RequestRejected)] == ["store_full"]
    assert facts(leader) == []


def test_a_refused_run_that_was_too_late_meanwhile_leaves_nothing() -> None:
    leader = hooked("on_failure", thread=0)
    leader.admit(submitted(make_job(start_deadline_us=SECOND)))
    leader.tell(TimerFired("look"), after=SECOND)
    refuse(leader)
    assert facts(leader) == []


def test_a_hook_before_a_refused_run_that_has_ended_meanwhile_leaves_nothing() -> None:
    leader = hooked("before", thread=0)
    leader.admit(submitted())
    cancel(leader, 2)
    refuse(leader)
    assert facts(leader) == []


def test_the_claim_of_a_refused_run_whose_node_died_meanwhile_leaves_nothing() -> None:
    leader = Leader()
    leader.hold_saves = True
    leader.admit(submitted())
    died = StockTaken(1, "n", "i", (), (MarksRead("i", readable=True, fences=(), dead=True),))
    leader.tell(died, sender="executor")
    refuse(leader)
    assert facts(leader) == []
    assert leader.written(AddAttempts, "attempts") == []


def test_the_group_and_hooks_of_a_run_that_was_there_by_its_key_go_also_when_it_has_ended_meanwhile() -> None:
    leader = hooked("after", thread=0)
    train = Draft(make_job("train", after=("work",)), "dependency", None, "m/1", waits=True)
    leader.tell(Admit("k", "client-1", (submitted(token="key", group="m/1"), train), 1))
    cancel(leader, 1)
    (runs,) = [write.runs for write in leader.held[-1].writes if isinstance(write, AddRuns)]
    leader.hold_saves = False
    taken = Committed(tokens=((1, replace(runs[0], run_id=99)),))
    leader.tell(Saved(leader.held[-1].key, taken), sender=PERSISTENCE)
    assert [message.run_ids for message in leader.out if isinstance(message, Accepted)] == [(99,)]
    assert [(end.run_id, end.state) for end in leader.written(AddEnds, "ends")] == [(2, RunState.CANCELLED)]
    assert [run.parent for run in leader.written(AddRuns, "runs")] == [2], "a hook follows the end of the other alone"
