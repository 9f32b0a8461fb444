"""What every store promises about runs, claims, attempts and ends."""

from typing import Any

import pytest

from callsheet.actors.persistence.store import (
    MAX_PAGE,
    AddAttempts,
    AddEnds,
    AddRuns,
    Committed,
    Counters,
    GetCounters,
    GetGroup,
    GetLiveRuns,
    GetRuns,
    GetTokens,
    ListAttempts,
    ListRuns,
    PutConditions,
    PutSettled,
    Write,
)
from callsheet.actors.records import (
    Condition,
    ErrorInfo,
    RunState,
)
from support.stored import (
    Leader,
    Place,
    a_claim,
    a_record,
    a_run,
    an_attempt,
    an_end,
    insert,
)


def numbers(records: list[Any]) -> list[int]:
    return [record.run.run_id for record in records]


def test_a_run_and_its_end_come_back_as_they_were_stored(leader: Leader) -> None:
    run = a_run(
        2**40, cause="slot", slot=-7, group="g", not_before=9, priority=-100, arguments=b"\x00\xff", token="", parent=0
    )
    end = an_end(
        2**40,
        RunState.FAILED,
        attempt=3,
        fence=8,
        node="n",
        started_at=1,
        result=b"\xc0",
        error=ErrorInfo("E", ("B",), "ü\x00", "tb"),
        logs=b"\xff\x00",
        reason="why",
    )
    leader.write(AddRuns((run,)), AddEnds((end,)))
    [record] = leader.read(GetRuns("default", (run.run_id,)))
    assert (record.run, record.end, record.state) == (run, end, RunState.FAILED)
    assert (record.attempts, record.reason) == (3, "why")


def test_a_final_state_never_changes(leader: Leader) -> None:
    leader.write(AddRuns((a_run(1), a_run(2))))
    leader.write(AddEnds((an_end(1, reason="first"), an_end(1, RunState.LOST))))
    leader.write(AddEnds((an_end(1, RunState.FAILED), an_end(2, RunState.FAILED))))
    records = leader.read(GetRuns("default", (1, 2)))
    assert [(record.state, record.reason) for record in records] == [("SUCCEEDED", "first"), ("FAILED", "")]


def test_a_token_that_is_there_gives_the_run_that_has_it(leader: Leader) -> None:
    first, other, plain = a_run(1, token="t"), a_run(2, token="t", tenant="other"), a_run(3)
    assert leader.write(AddRuns((first, other, plain))) == Committed()
    late, new, again = a_run(4, token="t"), a_run(5, token="u"), a_run(6, token="u")
    committed = leader.write(AddRuns((late, new)), AddRuns((again, a_run(7))))
    assert committed == Committed(tokens=((4, first), (6, new)))
    assert numbers(leader.read(GetLiveRuns())) == [1, 2, 3, 5, 7]
    assert leader.store.found_before(()) == committed


def test_the_number_of_a_run_that_was_there_by_its_token_is_used_all_the_same(place: Place) -> None:
    leader = Leader(place.open())
    leader.write(AddRuns((a_run(1, token="t"),)))
    leader.write(AddRuns((a_run(2), a_run(3, token="t"))), a_claim((3, 1, 30)))  # its claim stands under its number
    assert leader.read(GetCounters())[0].run_id == 3
    assert place.open().read(GetCounters())[0].run_id == 3


@pytest.mark.parametrize(("write", "used"), [(AddEnds((an_end(4),)), 4), (PutSettled(9), 8)])
def test_a_number_that_an_end_or_the_settled_mark_has_passed_is_used(place: Place, write: Write, used: int) -> None:
    leader = Leader(place.open())
    leader.write(AddRuns((a_run(1),)), write)
    assert leader.read(GetCounters())[0].run_id == used
    assert place.open().read(GetCounters())[0].run_id == used


def test_runs_are_found_by_their_tokens_and_tenant(leader: Leader) -> None:
    leader.write(AddRuns((a_run(1, token="t"), a_run(2, token="t", tenant="other"), a_run(3, token="u"), a_run(4))))
    assert numbers(leader.read(GetTokens("default", ("u", "none", "t")))) == [1, 3]


def test_no_tenant_sees_another_tenants_runs(leader: Leader) -> None:
    leader.write(AddRuns((a_run(1, tenant="a", group="g"), a_run(2, tenant="b", group="g"), a_run(3))))
    leader.write(AddAttempts((an_attempt(1, 1), an_attempt(2, 2))))
    assert numbers(leader.read(GetRuns("a", (1, 2, 3)))) == [1]
    assert numbers(leader.read(ListRuns(tenant="b"))) == [2]
    assert numbers(leader.read(GetGroup("b", ("g",)))) == [2]
    assert [attempt.run_id for attempt in leader.read(ListAttempts("b", 2))] == [2]
    assert leader.read(ListAttempts("a", 2)) == []


def test_a_group_is_all_its_runs_with_their_ends(leader: Leader) -> None:
    leader.write(
        AddRuns((a_run(3, group="h"), a_run(1, group="g"), a_run(2, group="g"), a_run(4))), AddEnds((an_end(2),))
    )
    records = leader.read(GetGroup("default", ("h", "g", "none")))
    assert [(record.run.run_id, record.state) for record in records] == [(1, "READY"), (2, "SUCCEEDED"), (3, "READY")]


def test_runs_come_in_the_order_they_were_asked_for(leader: Leader) -> None:
    leader.write(AddRuns(tuple(a_run(number) for number in (1, 2, 3))))
    assert numbers(leader.read(GetRuns("default", (3, 9, 1, 3)))) == [3, 1]


def test_live_runs_are_those_without_an_end_in_pages(leader: Leader) -> None:
    leader.write(AddRuns(tuple(a_run(number, tenant=f"t{number % 3}") for number in range(1, 21))))
    leader.write(AddEnds(tuple(an_end(number) for number in range(1, 21) if number % 4)))
    assert numbers(leader.read(GetLiveRuns(limit=2))) == [4, 8]
    assert numbers(leader.read(GetLiveRuns(after=8, limit=2))) == [12, 16]
    assert numbers(leader.read(GetLiveRuns(after=16, limit=2))) == [20]
    assert leader.read(GetLiveRuns(after=20)) == []


def test_no_page_is_longer_than_the_limit_of_the_contract(leader: Leader) -> None:
    leader.write(AddRuns(tuple(a_run(number) for number in range(1, MAX_PAGE + 2))))
    assert len(leader.read(GetLiveRuns(limit=MAX_PAGE + 100))) == MAX_PAGE
    assert len(leader.read(ListRuns(tenant="default", limit=MAX_PAGE + 100))) == MAX_PAGE
    assert leader.read(ListRuns(tenant="default", limit=0)) == []
    assert leader.read(ListRuns(tenant="default", limit=-1)) == []


def test_the_settled_mark_only_grows_and_hides_what_is_below_it(leader: Leader) -> None:
    leader.write(AddRuns(tuple(a_run(number) for number in (1, 2, 3))))
    leader.write(AddEnds((an_end(1),)), PutSettled(2))
    leader.write(PutSettled(1))
    assert leader.read(GetCounters()) == [Counters(run_id=3, fence=0, settled=2)]
    assert numbers(leader.read(GetLiveRuns())) == [2, 3]
    leader.write(PutSettled(3))
    assert numbers(leader.read(GetLiveRuns())) == [3]


def test_a_live_run_says_who_holds_it(leader: Leader) -> None:
    leader.write(AddRuns((a_run(1), a_run(2), a_run(3))))
    leader.write(a_claim((1, 1, 10), (2, 1, 11)), a_claim((1, 2, 12), node="node-2", incarnation="life-2"))
    one, two, three = leader.read(GetLiveRuns())
    assert (one.claim.fence, one.claimed_by, one.incarnation) == (12, "node-2", "life-2")
    assert (two.claim.fence, two.claimed_by, two.incarnation) == (11, "node-1", "life-1")
    assert (three.claim, three.claimed_by, three.incarnation) == (None, "", "")


def test_a_claim_whose_attempt_came_back_counts_no_more(leader: Leader) -> None:
    leader.write(AddRuns((a_run(1),)), a_claim((1, 1, 10)))
    leader.write(AddAttempts((an_attempt(1, 10, attempts=1, crashes=1, next_at=9_000),)))
    [live] = leader.read(GetLiveRuns())
    assert (live.claim, live.attempts, live.crashes, live.next_at) == (None, 1, 1, 9_000)
    leader.write(a_claim((1, 2, 11)))
    [live] = leader.read(GetLiveRuns())
    assert (live.claim.fence, live.attempts) == (11, 1)
    leader.write(AddAttempts((an_attempt(1, 0, attempts=1, next_at=9_500),)))
    [live] = leader.read(GetLiveRuns())
    assert (live.claim.fence, live.next_at) == (11, 9_500)


def test_the_newest_attempt_says_how_many_were_spent(leader: Leader) -> None:
    leader.write(AddRuns((a_run(1), a_run(2))))
    attempts = (an_attempt(1, 1, attempts=1), an_attempt(2, 2, attempts=1), an_attempt(1, 3, attempts=2, next_at=7_000))
    leader.write(AddAttempts(attempts))
    assert [(live.attempts, live.next_at) for live in leader.read(GetLiveRuns())] == [(2, 7_000), (1, 1_600)]
    assert leader.read(ListAttempts("default", 1)) == [attempts[0], attempts[2]]


def test_an_attempt_comes_back_as_it_was_stored(leader: Leader) -> None:
    attempt = an_attempt(1, 5, outcome="crashed", error=ErrorInfo("E", (), "x", ""), logs=b"\x00log", crashes=2)
    leader.write(AddRuns((a_run(1),)), AddAttempts((attempt,)))
    assert leader.read(ListAttempts("default", 1)) == [attempt]


def test_a_condition_is_replaced_and_ready_clears_it(leader: Leader) -> None:
    leader.write(AddRuns((a_run(1), a_run(2))))
    parked, cancelling = Condition(1, RunState.PARKED, 5, "no target"), Condition(1, RunState.CANCELLING, 6, "asked")
    leader.write(PutConditions((parked, Condition(2, RunState.PARKED, 5, "x"))))
    leader.write(PutConditions((cancelling, Condition(2, RunState.READY, 6, ""))))
    assert [live.condition for live in leader.read(GetLiveRuns())] == [cancelling, None]
    leader.write(PutConditions((Condition(1, RunState.READY, 7, ""), parked)))
    assert [live.condition for live in leader.read(GetLiveRuns())] == [parked, None]


def test_runs_are_listed_newest_first_and_filtered(leader: Leader) -> None:
    leader.write(insert(a_record("tagged", tags=("x",))), insert(a_record("plain")))
    runs = tuple(a_run(n, "tagged" if n % 2 else "plain", cause="hook" if n == 7 else "slot") for n in range(1, 11))
    ends = (an_end(2, RunState.FAILED), an_end(3, RunState.FAILED), an_end(5), an_end(6, RunState.FAILED))
    leader.write(AddRuns(runs), AddEnds(ends))

    def listed(**filters: Any) -> list[int]:
        return numbers(leader.read(ListRuns(tenant="default", **filters)))

    assert listed() == [10, 9, 8, 6, 5, 4, 3, 2, 1]
    assert listed(hooks=True, limit=4) == [10, 9, 8, 7]
    assert listed(before=6, limit=2) == [5, 4]
    assert listed(job="plain") == [10, 8, 6, 4, 2]
    assert listed(job="plain", before=8, limit=2) == [6, 4]
    assert listed(tag="x") == [9, 5, 3, 1]
    assert listed(tag="x", hooks=True, before=9) == [7, 5, 3, 1]
    assert listed(state=RunState.FAILED) == [6, 3, 2]
    assert listed(state=RunState.FAILED, job="plain", before=6) == [2]
    assert listed(state=RunState.FAILED, tag="x") == [3]
    assert listed(state=RunState.SUCCEEDED) == [5]
    assert listed(state=RunState.READY, job="plain") == [10, 8, 4]
    assert listed(state=RunState.RUNNING) == []
    assert listed(tag="none") == listed(job="none") == []


@pytest.mark.parametrize("tenant", ["default", "acme"])
def test_the_state_of_a_live_run_is_as_far_as_the_store_knows(leader: Leader, tenant: str) -> None:
    runs = tuple(a_run(number, tenant=tenant, not_before=5_000 if number == 2 else 1_000) for number in range(1, 8))
    leader.write(AddRuns(runs), a_claim((3, 1, 1), (4, 1, 2), (5, 1, 3), (6, 1, 4)))
    leader.write(AddAttempts((an_attempt(4, 2, next_at=7_000), an_attempt(5, 3))))
    leader.write(PutConditions((Condition(6, RunState.CANCELLING, 5, "asked"),)), AddEnds((an_end(7),)))
    records = leader.read(ListRuns(tenant=tenant))
    assert [(record.run.run_id, record.state, record.look_at, record.reason) for record in reversed(records)] == [
        (1, "READY", None, ""),
        (2, "DELAYED", 5_000, ""),
        (3, "CLAIMED", None, ""),
        (4, "DELAYED", 7_000, ""),
        (5, "READY", None, ""),
        (6, "CANCELLING", None, "asked"),
        (7, "SUCCEEDED", None, ""),
    ]
    for state in (RunState.READY, RunState.DELAYED, RunState.CLAIMED, RunState.CANCELLING, RunState.SUCCEEDED):
        wanted = [record for record in records if record.state is state]
        assert leader.read(ListRuns(tenant=tenant, state=state)) == wanted != []


def test_a_live_state_is_found_behind_a_page_of_others(leader: Leader) -> None:
    leader.write(AddRuns(tuple(a_run(number) for number in range(1, MAX_PAGE + 50))), a_claim((3, 1, 1)))
    assert numbers(leader.read(ListRuns(tenant="default", state=RunState.CLAIMED))) == [3]
