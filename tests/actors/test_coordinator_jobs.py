"""What the registry says of jobs to a coordinator that leads."""

from __future__ import annotations

from msgspec.structs import replace

from callsheet.actors.actor import REGISTRY, Send
from callsheet.actors.messages import Draft, HoldJob, JobHeld, KnowJobs, Noted, Withdraw, Withdrawn
from callsheet.actors.records import Hook, JobRecord
from support.actors import Leader, make_job, make_record

FIRST = make_record(make_job("first", hook=Hook(moment="before")))
GONE = JobRecord(FIRST.job, replace(FIRST.state, status="removed"))


def ordered(leader: Leader) -> list[str]:
    """The jobs whose runs are ordered when a run is submitted."""
    leader.admit(Draft(make_job(), "submit", None, ""))
    return [order.job for order in leader.assigned()]


def test_what_is_said_of_jobs_is_acknowledged_unless_a_later_word_has_overtaken_it_or_the_reign_is_another() -> None:
    leader = Leader()
    leader.tell(KnowJobs(1, 2, (GONE,)), KnowJobs(1, 1, (FIRST,)), KnowJobs(2, 3, (FIRST,)), sender=REGISTRY)
    assert [send for send in leader.sent if isinstance(send.message, Noted)] == [Send(REGISTRY, Noted("jobs/1/2"))]
    assert ordered(leader) == ["work"], "no hook is in force"


def test_a_hook_that_is_removed_is_in_force_no_more() -> None:
    leader = Leader()
    leader.tell(KnowJobs(1, 1, (FIRST,)), sender=REGISTRY)
    assert ordered(leader) == ["first"]
    leader = Leader()
    leader.tell(KnowJobs(1, 1, (FIRST,)), KnowJobs(1, 2, (GONE,)), sender=REGISTRY)
    assert ordered(leader) == ["work"]


def test_hooks_that_are_said_again_are_called_once_and_in_the_order_they_had() -> None:
    leader = Leader()
    second = make_record(make_job("second", hook=Hook(moment="before")))
    leader.tell(KnowJobs(1, 1, (FIRST, second)), KnowJobs(1, 2, (FIRST,)), sender=REGISTRY)
    assert ordered(leader) == ["first", "second"]


def test_a_hold_that_is_asked_for_again_while_it_is_under_way_is_answered_when_all_is_fetched_back() -> None:
    leader = Leader()
    ordered(leader)
    hold = HoldJob("h", "t", "work", held=True)
    leader.tell(hold, hold, sender=REGISTRY)
    (withdraw, _) = [message for message in leader.out if isinstance(message, Withdraw)]
    assert [message for message in leader.out if isinstance(message, JobHeld)] == []

    leader.tell(Withdrawn("h", (), incarnation=withdraw.incarnation), sender="executor")

    assert [message.key for message in leader.out if isinstance(message, JobHeld)] == ["h"]
