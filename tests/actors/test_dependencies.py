from __future__ import annotations

import pytest
from msgspec.structs import replace

from callsheet.actors.actor import Send, SetTimer, deliver, sent
from callsheet.actors.dependencies.dependencies import Dependencies
from callsheet.actors.lifecycle import REMOVED
from callsheet.actors.messages import (
    Admit,
    AdmitSlots,
    Due,
    DueSlot,
    Found,
    GroupEnd,
    GroupsMoved,
    KnowJobs,
    Lead,
    Noted,
    Plan,
    PlanItem,
    Read,
    Resolve,
    RunsMade,
    SubmitItem,
    TimerFired,
    Unblock,
)
from callsheet.actors.persistence.store import GetJobs
from callsheet.actors.records import Decision, End, Job, JobRecord, Run, RunRecord, RunState
from callsheet.triggers import DecisionKind, every
from support.actors import MINUTE, NOW, SECOND, make_job, make_record
from support.workflow import SLOT, A, B, C, D, ended, leading, made, plan, rebuilt, removed, row, verdicts, waiting


def test_a_job_alone_has_no_group() -> None:
    message = Plan("k", "client-1", "submit", (PlanItem(make_job(), SubmitItem("work")),))
    (admit,) = sent(deliver(leading(A, B), message, now=NOW), Admit)
    assert [(draft.group, draft.waits) for draft in admit.drafts] == [("", False)]


def test_firing_a_job_by_hand_brings_all_that_can_follow() -> None:
    assert plan(leading(A, B, C, D), A) == [("a", False), ("b", True), ("c", True), ("d", True)]


def test_firing_a_job_by_hand_brings_first_what_it_waits_for() -> None:
    assert plan(leading(A, B, C, D), D) == [("d", True), ("a", False), ("b", True), ("c", True)]


def test_a_dependent_that_is_called_with_arguments_does_not_wait() -> None:
    assert plan(leading(A, B, C, D), B, b"\x90")[0] == ("b", False)


def test_a_slot_brings_the_drafts_of_its_workflow() -> None:
    slot = DueSlot(A, (Decision("t", "a", NOW, NOW, 1, DecisionKind.FIRED, NOW),), NOW, 1, None)
    (admit,) = sent(deliver(leading(A, B, C, D), Due("due/1", (slot,)), now=NOW), AdmitSlots)
    ((row,),) = [slot.drafts for slot in admit.slots]
    assert [(draft.job.name, draft.slot, draft.group) for draft in row] == [
        (name, NOW, f"s/{NOW}") for name in ("a", "b", "c", "d")
    ]


def test_a_slot_of_a_version_that_stood_alone_belongs_to_the_workflow_that_its_job_is_in_by_now() -> None:
    alone = make_job("b", every(60))
    linked = replace(alone, version=2, after=("a",))
    slots = [
        DueSlot(job, (Decision("t", job.name, NOW, NOW, 1, DecisionKind.FIRED, NOW),), NOW, 1, None)
        for job in (alone, A)
    ]
    actor = leading(A, linked)
    (read,) = sent(deliver(actor, Due("due/1", tuple(slots)), now=NOW), Read)
    (admit,) = sent(deliver(actor, Found(read.key, ()), now=NOW), AdmitSlots)
    rows = [[(draft.job, draft.group) for draft in slot.drafts[0]] for slot in admit.slots]
    # two runs of b in one group are one to the coordinator
    assert rows == [[(alone, f"s/{NOW}")], [(A, f"s/{NOW}"), (linked, f"s/{NOW}")]]


def test_a_job_that_stood_alone_in_a_slot_is_not_brought_again_by_a_later_word_of_the_same_instant() -> None:
    alone = make_job("b", every(60))
    actor = leading()
    due = [
        Due("due/1", (DueSlot(job, (Decision("t", job.name, at, at, 1, DecisionKind.FIRED, at),), at, 1, None),))
        for job, at in ((alone, NOW), (A, NOW), (A, NOW + SECOND))  # with jitter the same instant comes later
    ]
    deliver(actor, due[0], now=NOW)
    linked = [
        replace(alone, version=2, after=("a",)),
        make_job("c", after=("a", "b")),
        make_job("d", after=("a",)),
    ]
    deliver(actor, KnowJobs(1, 1, (make_record(A), *map(make_record, linked))), now=NOW)

    names: list[list[str]] = []
    for each in due[1:]:
        (read,) = sent(deliver(actor, each, now=NOW), Read)
        (admit,) = sent(deliver(actor, Found(read.key, ()), now=NOW), AdmitSlots)
        names.append([draft.job.name for draft in admit.slots[0].drafts[0]])

    assert names == [["a", "d"], ["a", "b", "c", "d"]]


def test_a_job_that_was_brought_along_in_a_slot_does_not_fire_in_it_when_it_stands_alone_by_then() -> None:
    follower = make_job("b", every(60), after=("a",))
    actor = leading(A, follower)
    group = f"s/{NOW}"
    deliver(actor, RunsMade("m", (waiting(1, "a", group=group), waiting(2, "b", "a", group=group))), now=NOW)
    alone = replace(follower, version=2, after=())
    deliver(actor, KnowJobs(1, 1, (make_record(alone),)), now=NOW)
    decisions = tuple(Decision("t", "b", at, at, 1, DecisionKind.FIRED, at) for at in (NOW, NOW + MINUTE))
    due = Due("due/1", (DueSlot(alone, decisions, NOW + MINUTE, 2, None),))

    (admit,) = sent(deliver(actor, due, now=NOW), AdmitSlots)

    assert [it.run_id for it in admit.slots[0].due.decisions] == [2, None]
    assert [[draft.slot for draft in row] for row in admit.slots[0].drafts] == [[], [NOW + MINUTE]]


def test_a_run_is_unblocked_when_all_its_upstreams_have_succeeded_with_their_results_in_order() -> None:
    actor = leading(A, B, C, D)
    made(actor, "a", "b", "c", "d", waits="bcd")
    assert verdicts(ended(actor, 1, "a")) == [Unblock(2, (b"a",)), Unblock(3, (b"a",))]
    assert verdicts(ended(actor, 3, "c")) == []
    assert verdicts(rebuilt(actor, waiting(2, "b", "a"))) == [Unblock(2, (b"a",))], "it may have been lost"
    assert verdicts(ended(actor, 2, "b")) == [Unblock(4, (b"b", b"c"))]


def test_of_very_many_runs_of_one_slot_those_alone_are_judged_for_which_something_has_changed() -> None:
    actor = leading(*(make_job(f"b{number}", after=(f"a{number}",)) for number in range(100)))
    for number in range(100):
        runs = waiting(2 * number, f"a{number}"), waiting(2 * number + 1, f"b{number}", f"a{number}")
        assert verdicts(deliver(actor, RunsMade("m", runs), now=NOW)) == []
        assert verdicts(ended(actor, 2 * number, f"a{number}")) == [Unblock(2 * number + 1, (f"a{number}".encode(),))]


def test_one_bad_upstream_fails_what_waits_at_once() -> None:
    actor = leading(A, B, C, D)
    made(actor, "b", "c", "d", waits="d")
    (resolve,) = verdicts(ended(actor, 1, "b", RunState.FAILED))
    assert (resolve.run_id, resolve.state) == (3, RunState.UPSTREAM_FAILED)
    assert "'b' ended FAILED" in resolve.reason


def test_a_cancelled_or_skipped_upstream_skips_what_waits_when_all_have_ended() -> None:
    actor = leading(A, B, C, D)
    made(actor, "b", "c", "d", waits="d")
    assert verdicts(ended(actor, 1, "b", RunState.CANCELLED)) == []
    (resolve,) = verdicts(ended(actor, 2, "c"))
    assert resolve.state is RunState.SKIPPED


def test_an_upstream_that_is_cancelled_because_its_job_was_removed_fails_what_waits_at_once() -> None:
    actor = leading(A, B, C, D)
    made(actor, "b", "c", "d", waits="d")
    end = GroupEnd(1, "t", "b", SLOT, RunState.CANCELLED, b"", removed=True)
    (resolve,) = verdicts(deliver(actor, GroupsMoved("e", (end,)), now=NOW))
    assert (resolve.run_id, resolve.state) == (3, RunState.UPSTREAM_FAILED)
    assert resolve.reason == "its upstream 'b' was removed"


def test_after_a_fail_over_it_is_known_which_upstream_was_cancelled_because_its_job_was_removed() -> None:
    actor = leading(A, B)
    rebuilt(actor, waiting(2, "b", "a"))
    cancelled = row(1, "a", RunState.CANCELLED)
    assert cancelled.end is not None
    found = replace(cancelled, end=replace(cancelled.end, reason=REMOVED)), row(2, "b", RunState.BLOCKED)
    (resolve,) = verdicts(deliver(actor, Found("group/1/t", found), now=NOW))
    assert (resolve.run_id, resolve.state) == (2, RunState.UPSTREAM_FAILED)


def test_a_removed_upstream_fails_what_waits_for_it() -> None:
    actor = leading(A, B)
    made(actor, "b", waits="b")
    (resolve,) = verdicts(deliver(actor, KnowJobs(1, 1, (removed(A),)), now=NOW))
    assert (resolve.run_id, resolve.state) == (1, RunState.UPSTREAM_FAILED)


def test_a_link_is_acknowledged_and_planned_by() -> None:
    actor = leading()
    told = deliver(actor, KnowJobs(1, 1, (make_record(A), make_record(B))), now=NOW, sender="registry")
    assert sent(told, Noted) == [Noted("jobs/1/1")]
    assert plan(actor, A) == [("a", False), ("b", True)]


def test_a_link_that_a_later_word_has_overtaken_or_of_another_reign_is_neither_taken_nor_acknowledged() -> None:
    actor = leading(A, B)
    deliver(actor, KnowJobs(1, 2, (removed(B),)), now=NOW, sender="registry")
    told = deliver(
        actor, KnowJobs(1, 1, (make_record(B),)), KnowJobs(2, 3, (make_record(B),)), now=NOW, sender="registry"
    )
    assert sent(told, Noted) == []
    assert plan(actor, A) == [("a", False)]


def test_a_wait_ends_at_its_deadline() -> None:
    actor = leading(A, B)
    made(actor, "a", "b", waits="b")
    assert verdicts(deliver(actor, TimerFired("deadline"), now=NOW + 59 * SECOND)) == []
    (resolve,) = verdicts(deliver(actor, TimerFired("deadline"), now=NOW + 60 * SECOND))
    assert (resolve.run_id, resolve.state) == (2, RunState.EXPIRED)


def test_ends_of_an_earlier_reign_are_read_back() -> None:
    actor = leading(A, B)
    assert verdicts(rebuilt(actor, waiting(2, "b", "a"))) == []
    first = Run(1, "t", "a", 1, "slot", None, SLOT, NOW, NOW, 0, b"")
    row = RunRecord(first, RunState.SUCCEEDED, End(1, RunState.SUCCEEDED, NOW, result=b"r"))
    assert verdicts(deliver(actor, Found("group/1/t", (row,)), now=NOW)) == [Unblock(2, (b"r",))]


def test_what_comes_before_the_graph_is_known_waits_for_it() -> None:
    actor = Dependencies()
    message = Plan("k", "client-1", "trigger", (PlanItem(A, SubmitItem("a")),))
    assert sent(deliver(actor, Lead(1, "n"), message, now=NOW), Admit) == []
    found = Found("edges/1", (make_record(B),))
    (admit,) = sent(deliver(actor, found, Found("roots/1", (make_record(A),)), now=NOW), Admit)
    assert [draft.job.name for draft in admit.drafts] == ["a", "b"]


def test_what_is_asked_for_again_before_the_graph_is_known_waits_once() -> None:
    actor = Dependencies()
    plan = Plan("k", "client-1", "trigger", (PlanItem(A, SubmitItem("a")),))
    due = Due("k", (DueSlot(A, (Decision("t", "a", NOW, NOW, 1, DecisionKind.FIRED, NOW),), NOW, 1, None),))
    deliver(actor, Lead(1, "n"), plan, due, now=NOW)
    for _ in range(2):
        made(actor, "a", "b", waits="b")
        deliver(actor, plan, due, now=NOW)
    loaded = deliver(actor, Found("edges/1", ()), Found("roots/1", ()), now=NOW)
    assert [type(it.message) for it in loaded if isinstance(it, Send)] == [Read, Admit, AdmitSlots, Noted, Noted]


def test_news_is_acknowledged() -> None:
    actor = leading(A, B)
    assert Noted("m") in sent(made(actor, "a", "b", waits="b"), Noted)
    assert Noted("e") in sent(ended(actor, 1, "a"), Noted)


def test_a_wait_that_is_over_is_judged_by_its_group_before_it_expires() -> None:
    actor = leading(A, B)
    told = rebuilt(actor, waiting(2, "b", "a", deadline_at=NOW - SECOND))
    assert [effect for effect in told if isinstance(effect, SetTimer) and effect.key == "deadline"] == []
    assert verdicts(deliver(actor, TimerFired("deadline"), now=NOW)) == []
    found = Found("group/1/t", (row(1, "a", RunState.SUCCEEDED), row(2, "b", RunState.BLOCKED)))
    assert verdicts(deliver(actor, found, now=NOW)) == [Unblock(2, (b"a",))]


def test_a_wait_that_is_over_while_its_group_is_unread_expires_when_it_is_read() -> None:
    actor = leading(A, B)
    rebuilt(actor, waiting(1, "a"), waiting(2, "b", "a", deadline_at=NOW - SECOND))
    found = Found("group/1/t", (row(1, "a", RunState.READY), row(2, "b", RunState.BLOCKED)))
    (resolve,) = verdicts(deliver(actor, found, now=NOW))
    assert (resolve.run_id, resolve.state) == (2, RunState.EXPIRED)


def test_a_run_whose_upstreams_have_succeeded_does_not_expire() -> None:
    actor = leading(A, B)
    made(actor, "a", "b", waits="b")
    ended(actor, 1, "a")
    fired = deliver(actor, TimerFired("deadline"), now=NOW + 60 * SECOND)
    assert verdicts(fired) == [Unblock(2, (b"a",))], "said again, in case it was lost"
    assert sent(fired, Resolve) == []
    assert [effect for effect in fired if isinstance(effect, SetTimer)] == [], "nobody looks at it any more"


def test_a_wait_that_ends_sooner_is_looked_at_sooner() -> None:
    actor = leading(A, B)
    rebuilt(actor, waiting(2, "b", "a"))
    sooner = waiting(4, "b", "a", group="m/h", deadline_at=NOW + SECOND)
    assert SetTimer("deadline", NOW + SECOND) in deliver(actor, RunsMade("n", (sooner,)), now=NOW)
    fired = deliver(actor, TimerFired("deadline"), now=NOW + SECOND)
    assert [resolve.run_id for resolve in verdicts(fired)] == [4]
    assert SetTimer("deadline", NOW + 60 * SECOND) in fired


# ---- a job that is declared anew while runs of it wait --------------------------------------------------------------------


BY_HAND = "m/k/0"
B2 = make_job("b", after=("a", "c"), version=2)
ROOT = make_job("c")


@pytest.mark.parametrize("group", [SLOT, BY_HAND])
def test_a_run_goes_by_the_upstreams_of_its_own_version(group: str) -> None:
    actor = leading(A, B)
    deliver(actor, RunsMade("m", (waiting(1, "a", group=group), waiting(2, "b", "a", group=group))), now=NOW)
    assert verdicts(deliver(actor, KnowJobs(1, 1, (make_record(B2), make_record(ROOT))), now=NOW)) == []
    assert verdicts(ended(actor, 1, "a", group=group)) == [Unblock(2, (b"a",))]


@pytest.mark.parametrize("group", [SLOT, BY_HAND])
def test_after_a_fail_over_a_run_goes_by_the_upstreams_of_its_own_version(group: str) -> None:
    actor = leading(A, B2, ROOT)
    rebuilt(actor, waiting(2, "b", "a", group=group))
    found = (row(1, "a", RunState.SUCCEEDED, group), row(2, "b", RunState.BLOCKED, group))
    assert verdicts(deliver(actor, Found("group/1/t", found), now=NOW)) == [Unblock(2, (b"a",))]


@pytest.mark.parametrize("group", [SLOT, BY_HAND])
@pytest.mark.parametrize("after", [("a",), ()])
def test_a_run_waits_for_an_upstream_that_a_newer_version_has_dropped(group: str, after: tuple[str, ...]) -> None:
    actor = leading(A, replace(B2, version=1), ROOT)
    runs = waiting(1, "a", group=group), waiting(2, "c", group=group), waiting(3, "b", "a", "c", group=group)
    deliver(actor, RunsMade("m", runs), now=NOW)
    newer = make_record(make_job("b", after=after, version=2))
    assert verdicts(deliver(actor, KnowJobs(1, 1, (newer,)), now=NOW)) == []
    assert verdicts(ended(actor, 1, "a", group=group)) == []
    assert verdicts(ended(actor, 2, "c", group=group)) == [Unblock(3, (b"a", b"c"))]


def upstream_is_sought(actor: Dependencies) -> Read:
    """After a fail-over `b` waits for `c` too, which has no run in the slot, and is in no workflow any more."""
    rebuilt(actor, waiting(2, "b", "a", "c"))
    found = (row(1, "a", RunState.SUCCEEDED), row(2, "b", RunState.BLOCKED))
    told = deliver(actor, Found("group/1/t", found), now=NOW)
    assert verdicts(told) == []
    read: Read
    (read,) = sent(told, Read)
    assert read.question == GetJobs((("t", "c"),))
    return read


def test_an_upstream_that_is_in_no_workflow_any_more_may_still_come_in_a_slot_of_the_same_instant() -> None:
    actor = leading(A, make_job("b", after=("a",), version=2))
    read = upstream_is_sought(actor)
    assert verdicts(deliver(actor, Found(read.key, (make_record(ROOT),)), now=NOW)) == []
    assert sent(rebuilt(actor, waiting(2, "b", "a", "c")), Read) == [], "it is known now"
    deliver(actor, RunsMade("n", (waiting(3, "c"),)), now=NOW)
    assert verdicts(ended(actor, 3, "c")) == [Unblock(2, (b"a", b"c"))]


def test_an_upstream_that_is_in_no_workflow_any_more_and_was_removed_fails_what_waits_for_it() -> None:
    actor = leading(A, make_job("b", after=("a",), version=2))
    read = upstream_is_sought(actor)
    (resolve,) = verdicts(deliver(actor, Found(read.key, (removed(ROOT),)), now=NOW))
    assert (resolve.state, resolve.reason) == (RunState.UPSTREAM_FAILED, "its upstream 'c' was removed")
    assert verdicts(rebuilt(actor, waiting(2, "b", "a", "c"))) == [resolve], "said again, because it may have been lost"


def anew(job: Job, at: int) -> JobRecord:
    """A job that was removed, and declared again at an instant."""
    record = make_record(replace(job, version=2, anchor=at))
    return JobRecord(record.job, replace(record.state, removed=1))


def test_an_upstream_that_was_removed_and_declared_again_fails_what_waited_for_it() -> None:
    actor = leading(A, B)
    made(actor, "b", waits="b")
    (resolve,) = verdicts(deliver(actor, KnowJobs(1, 1, (anew(A, NOW),)), now=NOW))
    assert (resolve.run_id, resolve.state) == (1, RunState.UPSTREAM_FAILED)
    assert verdicts(rebuilt(actor, waiting(1, "b", "a"))) == [resolve]


@pytest.mark.parametrize("upstream", [A, make_job("a", after=("c",))])
def test_an_upstream_that_was_removed_and_declared_again_while_nobody_led_fails_what_waited_for_it(
    upstream: Job,
) -> None:
    actor = Dependencies()
    again = anew(upstream, NOW)
    edges = (again, make_record(B)) if upstream.after else (make_record(B),)
    deliver(actor, Lead(1, "n"), Found("edges/1", edges), Found("roots/1", () if upstream.after else (again,)), now=NOW)
    rebuilt(actor, waiting(2, "b", "a"))
    (resolve,) = verdicts(deliver(actor, Found("group/1/t", (row(2, "b", RunState.BLOCKED),)), now=NOW))
    assert (resolve.state, resolve.reason) == (RunState.UPSTREAM_FAILED, "its upstream 'a' was removed")


def test_an_upstream_that_is_in_no_workflow_any_more_and_was_declared_again_fails_what_waited_for_it() -> None:
    actor = leading(A, make_job("b", after=("a",), version=2))
    read = upstream_is_sought(actor)
    (resolve,) = verdicts(deliver(actor, Found(read.key, (anew(ROOT, NOW),)), now=NOW))
    assert (resolve.state, resolve.reason) == (RunState.UPSTREAM_FAILED, "its upstream 'c' was removed")


def test_an_upstream_that_was_declared_again_and_has_another_trigger_since_may_still_come() -> None:
    actor = leading(A, B)
    deliver(actor, KnowJobs(1, 1, (anew(A, NOW - SECOND),)), now=NOW)
    made(actor, "b", waits="b")
    other = anew(replace(A, trigger=every(60)), NOW + SECOND)
    other = replace(other, job=replace(other.job, version=3))
    assert verdicts(deliver(actor, KnowJobs(1, 2, (other,)), now=NOW + SECOND)) == []


def test_an_upstream_that_was_declared_again_before_the_slot_may_still_come() -> None:
    actor = leading(A, B)
    made(actor, "b", waits="b")
    assert verdicts(deliver(actor, KnowJobs(1, 1, (anew(A, NOW - SECOND),)), now=NOW)) == []
    deliver(actor, RunsMade("n", (waiting(2, "a"),)), now=NOW)
    assert verdicts(ended(actor, 2, "a")) == [Unblock(1, (b"a",))]


def test_a_run_is_judged_also_when_nothing_is_known_of_its_job_any_more() -> None:
    actor = leading()
    rebuilt(actor, waiting(1, "a"), waiting(2, "b", "a"))
    deliver(actor, Found("group/1/t", (row(1, "a", RunState.READY), row(2, "b", RunState.BLOCKED))), now=NOW)
    assert verdicts(ended(actor, 1, "a")) == [Unblock(2, (b"a",))]


def test_a_submission_is_planned_by_the_version_that_was_asked_for() -> None:
    assert plan(leading(A, B, C), make_job("b", after=("a", "c"), version=2)) == [
        ("b", True),
        ("a", False),
        ("c", True),
    ]
    assert plan(leading(), B) == [("b", True)], "it waits, although the word of its upstreams is still to come"
