"""Which groups dependencies remembers, what of them, and how it reads the others back."""

from __future__ import annotations

import sys

from msgspec.structs import replace

from callsheet.actors.actor import deliver, sent
from callsheet.actors.dependencies.dependencies import Dependencies
from callsheet.actors.dependencies.group import CLOSED_GROUPS
from callsheet.actors.dependencies.reading import GROUPS_A_READ
from callsheet.actors.messages import (
    AdmitSlots,
    Due,
    DueSlot,
    Found,
    GroupEnd,
    GroupsMoved,
    KnowJobs,
    Read,
    RunsMade,
    TimerFired,
    Unblock,
)
from callsheet.actors.persistence.store import GetGroup
from callsheet.actors.records import Decision, RunState
from callsheet.triggers import DecisionKind, every, manual
from support.actors import NOW, make_job, make_record
from support.workflow import SLOT, A, B, C, D, ended, leading, made, rebuilt, removed, row, verdicts, waiting


def test_a_waiting_run_that_was_read_before_it_was_told_of_is_judged_all_the_same() -> None:
    e = make_job("e", every(60), after=("a",))
    actor = leading(replace(A, trigger=every(60)), e)
    slot = DueSlot(e, (Decision("t", "e", NOW, NOW, 1, DecisionKind.FIRED, NOW),), NOW, 1, None)
    group = f"s/{NOW}"
    (read,) = sent(deliver(actor, Due("due/1", (slot,)), now=NOW), Read)
    deliver(
        actor,
        Found(read.key, (row(1, "a", RunState.READY, group), row(2, "e", RunState.BLOCKED, group))),
        now=NOW,
    )
    rebuilt(actor, waiting(1, "a", group=group), waiting(2, "e", "a", group=group))
    end = GroupEnd(1, "t", "a", group, RunState.SUCCEEDED, b"r")
    assert verdicts(deliver(actor, GroupsMoved("e", (end,)), now=NOW)) == [Unblock(2, (b"r",))]


def test_only_groups_that_were_asked_for_count_as_read_though_jobs_change_meanwhile() -> None:
    jobs = {
        (tenant, name): replace(make_job(name, every(60), after=after), tenant=tenant)
        for tenant in ("t", "u")
        for name, after in (("a", ()), ("e", ("a",)))
    }
    actor = leading(*jobs.values())
    fired = {tenant: Decision(tenant, "e", NOW, NOW, 1, DecisionKind.FIRED, NOW) for tenant in ("t", "u")}
    due = Due("due/1", tuple(DueSlot(jobs[tenant, "e"], (fired[tenant],), NOW, 1, None) for tenant in ("t", "u")))
    (read,) = sent(deliver(actor, due, now=NOW), Read)
    assert read.question == GetGroup("t", (SLOT,))

    by_hand = replace(jobs["t", "a"], trigger=manual())
    deliver(actor, KnowJobs(1, 1, (make_record(by_hand),)), now=NOW)  # nobody shares the group of t any more
    found = deliver(actor, Found(read.key, ()), now=NOW)

    assert [read.question for read in sent(found, Read)] == [GetGroup("u", (SLOT,))]


def test_the_group_of_a_slot_is_read_also_when_the_upstream_that_may_have_made_it_was_removed() -> None:
    e = make_job("e", every(60), after=("a",))
    actor = leading(replace(A, trigger=every(60)), e)
    deliver(actor, KnowJobs(1, 1, (removed(A),)), now=NOW)
    slot = DueSlot(e, (Decision("t", "e", NOW, NOW, 1, DecisionKind.FIRED, NOW),), NOW, 1, None)
    (read,) = sent(deliver(actor, Due("due/1", (slot,)), now=NOW), Read)
    found = deliver(actor, Found(read.key, (row(2, "e", RunState.SUCCEEDED, f"s/{NOW}"),)), now=NOW)
    (admit,) = sent(found, AdmitSlots)
    assert [it.run_id for it in admit.slots[0].due.decisions] == [2]


def test_a_slot_that_is_said_again_while_its_group_is_read_is_admitted_when_that_is_answered() -> None:
    e = make_job("e", every(60), after=("a",))
    actor = leading(replace(A, trigger=every(60)), e)
    slot = DueSlot(e, (Decision("t", "e", NOW, NOW, 1, DecisionKind.FIRED, NOW),), NOW, 1, None)
    (first,) = sent(deliver(actor, Due("due/1", (slot,)), now=NOW), Read)
    (again,) = sent(deliver(actor, Due("due/1", (slot,)), now=NOW), Read)
    assert again == first
    (admit,) = sent(deliver(actor, Found(first.key, ()), Found(first.key, ()), now=NOW), AdmitSlots)
    assert [draft.job.name for draft in admit.slots[0].drafts[0]] == ["e"]


def test_a_group_that_is_heard_of_by_an_end_first_is_read_all_the_same() -> None:
    actor = leading(A, B, C, D)
    ended(actor, 2, "b")
    rebuilt_now = rebuilt(actor, waiting(4, "d", "b", "c"))
    assert [read.question for read in sent(rebuilt_now, Read)] == [GetGroup("t", (SLOT,))]
    rows = (row(2, "b", RunState.SUCCEEDED), row(3, "c", RunState.SUCCEEDED), row(4, "d", RunState.BLOCKED))
    assert verdicts(deliver(actor, Found("group/1/t", rows), now=NOW)) == [Unblock(4, (b"b", b"c"))]


def test_of_groups_in_which_nothing_lives_no_results_are_kept_and_who_comes_late_gets_them_nevertheless() -> None:
    actor = leading(A, B, C)
    result = b"large" * 1_000
    made(actor, "a", "b", waits="b")
    deliver(actor, GroupsMoved("e", (GroupEnd(1, "t", "a", SLOT, RunState.SUCCEEDED, result),)), now=NOW)
    holders = sys.getrefcount(result)
    ended(actor, 2, "b")
    assert sys.getrefcount(result) == holders - 1

    (read,) = sent(deliver(actor, RunsMade("n", (waiting(3, "c", "a"),)), now=NOW), Read)
    assert read.question == GetGroup("t", (SLOT,))
    assert verdicts(ended(actor, 2, "b")) == [], "said again, before the store has answered"
    rows = row(1, "a", RunState.SUCCEEDED), row(2, "b", RunState.SUCCEEDED), row(3, "c", RunState.BLOCKED)
    assert verdicts(deliver(actor, Found(read.key, rows), now=NOW)) == [Unblock(3, (b"a",))]


def test_what_was_found_before_a_workflow_was_over_does_not_stand_for_the_results_that_were_let_go_since() -> None:
    actor = leading(A, B, C)
    made(actor, "a")
    deliver(actor, RunsMade("n", (waiting(2, "b", "a"),), rebuilt=True), now=NOW)
    early = row(1, "a", RunState.READY), row(2, "b", RunState.BLOCKED)
    ended(actor, 2, "b", RunState.CANCELLED)
    ended(actor, 1, "a")
    deliver(actor, RunsMade("n", (waiting(3, "c", "a"),)), now=NOW)
    assert verdicts(deliver(actor, Found("group/1/early", early), now=NOW)) == []
    later = row(1, "a", RunState.SUCCEEDED), row(2, "b", RunState.CANCELLED), row(3, "c", RunState.BLOCKED)
    assert verdicts(deliver(actor, Found("group/1/later", later), now=NOW)) == [Unblock(3, (b"a",))]


def test_of_very_many_groups_a_few_are_read_at_a_time_and_asked_for_again_until_they_are() -> None:
    actor = leading(A, B)
    groups = [f"m/{number}" for number in range(GROUPS_A_READ + 6)]
    (first,) = sent(rebuilt(actor, *(waiting(2, "b", "a", group=group) for group in groups)), Read)
    assert first.question == GetGroup("t", (groups[0],))
    assert sent(deliver(actor, TimerFired("groups"), now=NOW), Read) == [first]
    (second,) = sent(deliver(actor, Found(first.key, (row(1, "a", RunState.SUCCEEDED, groups[0]),)), now=NOW), Read)
    assert second.question == GetGroup("t", tuple(groups[1 : GROUPS_A_READ + 1]))
    assert sent(deliver(actor, Found(first.key, ()), now=NOW), Read) == [], "it was answered twice"
    rows = tuple(row(1, "a", RunState.SUCCEEDED, group) for group in groups[1:5])
    told = deliver(actor, Found(second.key, rows), now=NOW)
    assert [read.question for read in sent(told, Read)] == [GetGroup("t", tuple(groups[GROUPS_A_READ + 1 :]))]
    assert verdicts(told) == [Unblock(2, (b"a",))] * 4


def test_a_slot_whose_group_was_read_and_is_empty_is_not_read_again_when_its_runs_are_made() -> None:
    e = make_job("e", every(60), after=("a",))
    actor = leading(replace(A, trigger=every(60)), e)
    slot = DueSlot(A, (Decision("t", "a", NOW, NOW, 1, DecisionKind.FIRED, NOW),), NOW, 1, None)
    (read,) = sent(deliver(actor, Due("due/1", (slot,)), now=NOW), Read)
    deliver(actor, Found(read.key, ()), now=NOW)
    assert sent(deliver(actor, RunsMade("m", (waiting(1, "a"), waiting(2, "e", "a"))), now=NOW), Read) == []
    assert verdicts(ended(actor, 1, "a")) == [Unblock(2, (b"a",))]


def is_remembered(actor: Dependencies, group: str) -> bool:
    """Whether the ended runs of a group are known, so that they need not be read."""
    return not sent(rebuilt(actor, waiting(0, "b", group=group)), Read)


def test_of_groups_in_which_nothing_lives_the_newest_are_remembered_however_many_live() -> None:
    actor = leading(A, B)
    deliver(actor, RunsMade("live", tuple(waiting(0, "a", group=f"m/live/{i}") for i in range(9))), now=NOW)
    for first in range(0, CLOSED_GROUPS + 9, 256):
        groups = [f"m/closed/{number}" for number in range(first, min(first + 256, CLOSED_GROUPS + 9))]
        deliver(actor, RunsMade("m", tuple(waiting(1, "a", group=group) for group in groups)), now=NOW)
        ends = tuple(GroupEnd(1, "t", "a", group, RunState.SUCCEEDED, b"") for group in groups)
        deliver(actor, GroupsMoved("e", ends), now=NOW)
    assert not is_remembered(actor, "m/closed/8"), "it is one of the nine oldest"
    assert is_remembered(actor, "m/closed/9")
    assert is_remembered(actor, "m/live/0")
