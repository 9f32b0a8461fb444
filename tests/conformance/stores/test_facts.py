"""What every store promises about decisions, submissions, receipts, events and the numbering."""

from callsheet.actors.persistence.store import (
    AddDecisions,
    AddEnds,
    AddEvents,
    AddReceipts,
    AddRuns,
    AddSubmissions,
    Counters,
    GetCounters,
    GetLiveRuns,
    GetReceipts,
    GetRuns,
    GetSubmissions,
    ListDecisions,
    ListEvents,
    PutSettled,
)
from callsheet.actors.records import (
    Decision,
    Event,
    Receipt,
    Submission,
)
from callsheet.triggers import DecisionKind
from support.stored import (
    Leader,
    Place,
    a_claim,
    a_run,
    an_end,
)


def test_a_slot_keeps_its_first_decision(leader: Leader) -> None:
    first = Decision("default", "job", 10, 10, 1, DecisionKind.FIRED, 11, run_id=4)
    late = Decision("default", "job", 10, 10, 1, DecisionKind.SKIPPED_LATE, 12)
    into = Decision("default", "job", 5, 9, 5, DecisionKind.COALESCED_INTO, 11, into=10)
    leader.write(AddDecisions((first, late)))
    leader.write(AddDecisions((late, into)))
    assert leader.read(ListDecisions(tenant="default", job="job")) == [first, into]


def test_decisions_are_listed_newest_slot_first(leader: Leader) -> None:
    slots = [30, 10, -20, 40]
    leader.write(AddDecisions(tuple(Decision("default", "job", s, s, 1, DecisionKind.FIRED, s) for s in slots)))
    leader.write(AddDecisions((Decision("other", "job", 50, 50, 1, DecisionKind.FIRED, 50),)))
    listed = leader.read(ListDecisions(tenant="default", job="job", before=40, limit=2))
    assert [decision.slot for decision in listed] == [30, 10]
    assert leader.read(ListDecisions(tenant="default", job="other")) == []


def test_a_submission_keeps_its_first_numbers(leader: Leader) -> None:
    leader.write(AddSubmissions((Submission("a", 1, 5, 9), Submission("a", 6, 5, 9), Submission("b", 11, 1, 9))))
    leader.write(AddSubmissions((Submission("a", 20, 5, 9),)))
    found = leader.read(GetSubmissions(("b", "none", "a")))
    assert found == [Submission("b", 11, 1, 9), Submission("a", 1, 5, 9)]


def test_the_receipt_of_a_change_keeps_what_it_said_first(leader: Leader) -> None:
    leader.write(AddReceipts((Receipt("a", 9, 2, 3, 4), Receipt("a", 10), Receipt("b", 9))))
    leader.write(AddReceipts((Receipt("a", 20, same=9),)))
    assert leader.read(GetReceipts(("b", "none", "a", "b"))) == [Receipt("b", 9), Receipt("a", 9, 2, 3, 4)]


def test_a_receipt_is_there_after_a_restart(place: Place) -> None:
    Leader(place.open()).write(AddReceipts((Receipt("a", 9, added=1),)))
    assert place.open().read(GetReceipts(("a",))) == [Receipt("a", 9, added=1)]


def test_events_are_listed_newest_first_with_those_of_no_tenant(leader: Leader) -> None:
    events = [
        Event(1, "reign"),
        Event(2, "paused", "default", "job", run_id=7, text="x"),
        Event(2, "paused", "other", "job"),
        Event(1, "jumped"),
        Event(3, "edited", "default", "else"),
    ]
    leader.write(AddEvents(tuple(events[:2])), AddEvents(tuple(events[2:])))
    assert leader.read(ListEvents(tenant="default")) == [events[4], events[3], events[1], events[0]]
    assert leader.read(ListEvents(tenant="default", limit=2)) == [events[4], events[3]]
    assert leader.read(ListEvents(tenant="default", job="job")) == [events[1]]
    assert leader.read(ListEvents(tenant="")) == [events[3], events[0]]


def test_the_numbering_goes_on_after_a_restart(place: Place) -> None:
    leader = Leader(place.open())
    leader.write(AddRuns((a_run(7), a_run(9), a_run(8))), a_claim((7, 1, 30), (9, 1, 29)), a_claim((8, 1, 12)))
    leader.write(a_claim((8, 2, 15)), AddEnds((an_end(9, fence=29),)), PutSettled(8))
    assert leader.read(GetCounters()) == [Counters(run_id=9, fence=30, settled=8)]
    assert place.open().read(GetCounters()) == [Counters(run_id=9, fence=30, settled=8)]


def test_a_batch_of_any_size_is_stored_whole(leader: Leader) -> None:
    sizes = [1, 2, 3, 255, 256, 257, 1_000]
    first = 1
    for size in sizes:
        numbers_of_batch = range(first, first + size)
        first += size
        leader.write(AddRuns(tuple(a_run(number) for number in numbers_of_batch)))
        leader.write(AddEnds(tuple(an_end(number, result=b"%d" % number) for number in numbers_of_batch)))
        found = leader.read(GetRuns("default", tuple(numbers_of_batch)))
        assert [record.end.result for record in found] == [b"%d" % number for number in numbers_of_batch]
    assert leader.read(GetLiveRuns()) == []
