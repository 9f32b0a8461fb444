"""However much there is to be said at once, every message that leaves a node can travel, and all of it arrives."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from msgspec.structs import replace

from callsheet.actors.actor import Effect, deliver, sent
from callsheet.actors.coordinator.attempts import SEND_AGAIN_US
from callsheet.actors.coordinator.places import MAX_LOADING_BYTES
from callsheet.actors.coordinator.reign import AUDIT_US
from callsheet.actors.executor.executor import Executor
from callsheet.actors.executor.runner import Capacity, Order, Outcome, Progress
from callsheet.actors.messages import (
    MAX_BATCH,
    Assign,
    AttemptsBegun,
    AttemptsEnded,
    AttemptsLost,
    AttemptsProgressed,
    CancelLive,
    Draft,
    HoldJob,
    JobHeld,
    Offer,
    PeerFound,
    Recorded,
    RunnerReported,
    RunsEnded,
    Started,
    StockTaken,
    StopAttempts,
    TakeStock,
    TimerFired,
    Unblock,
    Watch,
    WatchLive,
    Withdraw,
    Withdrawn,
)
from callsheet.actors.persistence.store import AddEnds
from callsheet.actors.portions import BYTES_AT_ONCE, MAX_HANDED, MAX_HANDED_BYTES, order_size, outcome_size
from callsheet.actors.records import (
    MAX_ARGUMENT_BYTES,
    MAX_LOG_BYTES,
    MAX_RESULT_BYTES,
    Command,
    End,
    ErrorInfo,
    Run,
    RunRecord,
    RunState,
)
from support.actors import NOW, SECOND, Leader, live_row, make_job
from support.desk import Desk
from support.executing import FakeRunner, order, outcome, working
from support.membership import OTHER, Cluster
from support.membership import outcome as outcome_of
from support.travelling import assert_travels, travelling

MANY = 10_000
LEADER = "coordinator@n2"
BIG_ERROR = ErrorInfo("builtins.ValueError", ("builtins.Exception",), "𝄞" * 4_000, "𝄞" * 16_000)


def fences(messages: list[Any]) -> list[int]:
    return [fence for message in messages for fence in message.fences]


# ---- orders -------------------------------------------------------------------------------------------------------------


def roomy(**more: Any) -> Cluster:
    """A leader whose member takes as many runs as there are, and whose own executor takes none."""
    leader = Cluster()
    leader.tell(Offer("n", "i", {}, Capacity(0, 0, 0, 0)), sender="executor")
    room = dict.fromkeys(("thread", "async", "command"), MANY)
    leader.tell(Offer("n2", "i2", room, Capacity(MANY, MANY, 0, MANY), **more), sender=OTHER)
    return leader


def admit(leader: Leader, count: int, arguments: bytes = b"", **job: Any) -> None:
    """Submit runs, as many in one request as there may be."""
    asked = Draft(make_job(**job), "submit", None, "", arguments=arguments)
    for start in range(0, count, MAX_BATCH):
        leader.admit(*[asked] * min(MAX_BATCH, count - start), key=f"k/{start}")


def test_orders_with_large_arguments_travel_in_portions() -> None:
    leader = roomy()
    admit(leader, 70, bytes(MAX_ARGUMENT_BYTES), executor="async")
    orders = [order for message in travelling(leader.sent, Assign) for order in message.orders]
    assert [order.run_id for order in orders] == list(range(1, 71))


def test_orders_whose_results_handed_on_are_large_travel_in_portions() -> None:
    leader = roomy()
    joined = make_job("train", after=("ingest",))
    leader.admit(*[Draft(joined, "submit", None, f"m/{number}", waits=True) for number in range(20)])
    leader.tell(*(Unblock(run_id, (bytes(MAX_RESULT_BYTES),) * 7) for run_id in range(1, 21)), sender="dependencies")
    while len(leader.assigned()) < 20:
        leader.tell(AttemptsEnded("n2", tuple(map(outcome_of, leader.assigned()))), sender=OTHER)
    orders = [order for message in travelling(leader.sent, Assign) for order in message.orders]
    assert sorted(order.run_id for order in orders) == list(range(1, 21))


def test_as_much_as_may_be_handed_on_travels_with_as_large_arguments_as_there_may_be() -> None:
    leader = roomy()
    leader.admit(
        Draft(
            make_job("train", after=("ingest",), arguments=bytes(MAX_ARGUMENT_BYTES)), "submit", None, "m", waits=True
        )
    )
    leader.tell(Unblock(1, (bytes(MAX_RESULT_BYTES - 5),) * 8), sender="dependencies")
    (message,) = travelling(leader.sent, Assign)
    assert sum(map(len, message.orders[0].handed)) + 8 * 5 == MAX_HANDED_BYTES


@pytest.mark.parametrize(
    ("handed", "reason"),
    [
        (
            (bytes(MAX_RESULT_BYTES),) * 64,
            (
                "what its upstreams hand on to it has 67,109,184 bytes together, the limit is 8,388,608; "
                "store it elsewhere and return where it is"
            ),
        ),
        ((b"\xc0",) * (MAX_HANDED + 1), "4,097 upstreams hand something on to it, the limit is 4,096"),
    ],
)
def test_a_run_to_which_too_much_is_handed_on_fails_and_says_why(handed: tuple[bytes, ...], reason: str) -> None:
    leader = roomy()
    leader.admit(Draft(make_job("train", after=("ingest",)), "submit", None, "m/1", waits=True))
    leader.tell(Unblock(1, handed), sender="dependencies")
    assert leader.assigned() == []
    assert [(end.state, end.reason) for end in leader.written(AddEnds, "ends")] == [(RunState.FAILED, reason)]


def test_no_more_large_orders_are_on_their_way_to_a_node_than_its_line_holds() -> None:
    leader = roomy()
    admit(leader, 1_000, bytes(MAX_ARGUMENT_BYTES), executor="async")
    first = leader.assigned()
    assert len(first) * MAX_ARGUMENT_BYTES == MAX_LOADING_BYTES
    leader.tell(AttemptsBegun(tuple((order.run_id, order.fence) for order in first[:100])), sender=OTHER)
    assert len(leader.assigned()) == len(first) + 100
    assert travelling(leader.sent, Assign)
    while len(leader.assigned()) < 1_000:
        now_there = leader.assigned()[-100:]
        leader.tell(AttemptsEnded("n2", tuple(map(outcome_of, now_there))), sender=OTHER)
    assert len({order.run_id for order in leader.assigned()}) == 1_000


def test_what_commands_read_is_large_on_its_way_too() -> None:
    leader = roomy()
    admit(leader, 200, executor="command", command=Command(line="cat", stdin="x" * 400_000))
    first = leader.assigned()
    assert 0 < len(first) * 400_000 <= MAX_LOADING_BYTES
    leader.tell(AttemptsBegun(tuple((order.run_id, order.fence) for order in first)), sender=OTHER)
    assert len(leader.assigned()) == 2 * len(first)


def test_small_orders_are_not_held_up_by_their_number() -> None:
    leader = roomy()
    admit(leader, MANY, bytes(100))
    assert len(leader.assigned()) == MANY


def test_orders_are_sent_again_the_oldest_first_and_not_all_at_once() -> None:
    leader = roomy()
    admit(leader, 70, bytes(MAX_ARGUMENT_BYTES), executor="async")
    first = leader.assigned()
    leader.sent.clear()
    leader.tell(TimerFired("audit"), after=max(AUDIT_US, SEND_AGAIN_US) + 1)
    again = [order for message in travelling(leader.sent, Assign) for order in message.orders]
    assert again == first[: len(again)]
    assert 0 < sum(map(order_size, again)) <= BYTES_AT_ONCE
    assert len(again) < len(first)


# ---- what the leader asks and says of many attempts ---------------------------------------------------------------------


def test_what_a_suspected_node_has_not_begun_is_asked_for_in_portions() -> None:
    leader = roomy()
    admit(leader, MANY)
    leader.be_silent(0.5)
    assert sorted(fences(travelling(leader.sent, Withdraw))) == [order.fence for order in leader.assigned()]


def test_a_node_that_stops_is_told_in_portions_what_is_to_end() -> None:
    leader = roomy()
    admit(leader, MANY)
    leader.beat(draining=True, hurry=True)
    assert fences(travelling(leader.sent, StopAttempts)) == [order.fence for order in leader.assigned()]


def test_cancels_are_said_again_in_portions() -> None:
    leader = roomy()
    admit(leader, MANY)
    for it in leader.assigned():
        leader.tell(CancelLive(f"c{it.run_id}", "client-1", it.run_id, "enough"))
    leader.sent.clear()
    leader.tell(TimerFired("audit"), after=max(AUDIT_US, SEND_AGAIN_US) + 1)
    everything = [order.fence for order in leader.assigned()]
    assert fences(travelling(leader.sent, StopAttempts)) == everything
    assert fences(travelling(leader.sent, Withdraw)) == everything


def test_what_has_not_begun_of_a_removed_job_is_asked_for_again_in_portions() -> None:
    leader = roomy()
    admit(leader, MANY)
    leader.tell(HoldJob("h", "t", "work", held=False, removed=1), sender="registry")
    leader.sent.clear()
    leader.tell(TimerFired("audit"), after=max(AUDIT_US, SEND_AGAIN_US) + 1)
    assert fences(travelling(leader.sent, Withdraw)) == [order.fence for order in leader.assigned()]


def test_outcomes_are_acknowledged_in_portions() -> None:
    leader = roomy()
    admit(leader, MANY)
    outcomes = [Outcome(it.fence, it.run_id, it.attempt, "succeeded", NOW, NOW + 1) for it in leader.assigned()]
    leader.sent.clear()
    leader.tell(
        *(AttemptsEnded("n2", tuple(outcomes[start : start + 256])) for start in range(0, MANY, 256)), sender=OTHER
    )
    assert sorted(fences(travelling(leader.sent, Recorded))) == [it.fence for it in outcomes]


def test_a_pause_is_acknowledged_when_what_became_of_every_attempt_is_known_in_however_many_parts() -> None:
    leader = roomy()
    admit(leader, MANY)
    leader.tell(HoldJob("h", "t", "work", held=True), sender="registry")
    *first, last = travelling(leader.sent, Withdraw)
    assert first
    for asked in first:
        begun, unknown, over = asked.fences[:2], asked.fences[2:4], asked.fences[4:]
        named = tuple((fence, fence) for fence in begun)
        leader.tell(Withdrawn("h", named, unknown, "i2", over), sender=OTHER)
    assert not sent(leader.sent, JobHeld)
    leader.tell(Withdrawn("h", (), (), "i2", last.fences), sender=OTHER)
    assert [it.key for it in sent(leader.sent, JobHeld)] == ["h"]


# ---- outcomes -----------------------------------------------------------------------------------------------------------


def large(fence: int, **more: Any) -> Outcome:
    """An outcome as large as they may be."""
    return replace(outcome(fence), result=bytes(MAX_RESULT_BYTES), logs=bytes(MAX_LOG_BYTES), **more)


def ended(effects: list[Effect]) -> list[int]:
    return [it.fence for message in travelling(effects, AttemptsEnded) for it in message.outcomes]


def test_large_outcomes_travel_in_portions_and_go_on_when_the_first_are_recorded() -> None:
    executor, _ = working(*range(1, 101))
    deliver(executor, TakeStock(1), now=NOW, sender=LEADER)
    effects = deliver(executor, RunnerReported(tuple(map(large, range(1, 101)))), now=NOW)
    arrived = []
    while now_ended := ended(effects):
        assert len(now_ended) * outcome_size(large(1)) <= BYTES_AT_ONCE + 2 * MAX_RESULT_BYTES
        arrived += now_ended
        effects = deliver(executor, Recorded(tuple(now_ended)), now=NOW, sender=LEADER)
    assert arrived == list(range(1, 101))


def test_outcomes_that_failed_at_length_travel_in_portions() -> None:
    executor, _ = working(*range(1, 257))
    deliver(executor, TakeStock(1), now=NOW, sender=LEADER)
    failed = tuple(replace(outcome(it), outcome="failed", error=BIG_ERROR) for it in range(1, 65))
    assert ended(deliver(executor, RunnerReported(failed), now=NOW)) == list(range(1, 65))


def test_a_new_leader_is_sent_the_oldest_outcomes_first_and_the_rest_as_it_records_them() -> None:
    executor, _ = working(*range(1, 101))
    deliver(executor, RunnerReported(tuple(map(large, range(1, 101)))), now=NOW)
    effects = deliver(executor, TakeStock(2), now=NOW, sender=LEADER)
    first = ended(effects)
    assert first == list(range(1, len(first) + 1))
    assert len(first) < 100
    (stock,) = sent(effects, StockTaken)
    assert stock.held == tuple(range(1, 101)), "what was not sent yet is held all the same"
    again = deliver(executor, TimerFired("resend"), now=NOW + 3 * SECOND)
    assert ended(again) == first, "who records nothing is not sent more"
    more = deliver(executor, Recorded((1, 2)), now=NOW, sender=LEADER)
    assert ended(more) == [first[-1] + 1, first[-1] + 2]


def test_what_says_that_a_function_is_not_known_reaches_a_new_leader_before_the_offer() -> None:
    executor, _ = working(*range(1, 101))
    unknown = Outcome(100, 1_000, 1, "unknown_target", NOW, NOW)
    deliver(executor, RunnerReported((*map(large, range(1, 100)), unknown)), now=NOW)
    effects = deliver(executor, TakeStock(2), now=NOW, sender=LEADER)
    assert ended(effects)[0] == 100
    assert [type(it) for it in sent(effects, (AttemptsEnded, Offer))][-1] is Offer


def test_an_outcome_that_is_recorded_while_it_waits_to_be_sent_again_is_not_sent() -> None:
    executor, _ = working(1, 2)
    deliver(executor, RunnerReported((outcome(1), outcome(2))), now=NOW)
    effects = deliver(executor, TimerFired("resend"), Recorded((1,)), now=NOW + 3 * SECOND)
    assert [[it.fence for it in message.outcomes] for message in sent(effects, AttemptsEnded)] == [[2]]


# ---- what an executor says of many attempts -----------------------------------------------------------------------------


def busy() -> tuple[Executor, FakeRunner]:
    """An executor that was given a great deal by the leader of another node."""
    executor, runner = working()
    deliver(executor, Assign(1, tuple(map(order, range(1, MANY + 1)))), now=NOW, sender=LEADER)
    return executor, runner


def test_an_executor_that_holds_much_says_so_in_parts_that_leave_no_gap() -> None:
    executor, _ = busy()
    parts = travelling(deliver(executor, TakeStock(2), now=NOW, sender=LEADER), StockTaken)
    assert [fence for part in parts for fence in part.held] == list(range(1, MANY + 1))
    assert parts[0].first == 0
    assert all(one.last + 1 == other.first for one, other in itertools.pairwise(parts))
    assert parts[-1].last == 2**63 - 1


def test_attempts_that_run_long_are_said_to_have_begun_in_portions() -> None:
    executor, runner = busy()
    runner.begun_fences = set(range(1, MANY + 1))
    deliver(executor, TimerFired("long"), now=NOW)
    effects = deliver(executor, TimerFired("long"), now=NOW + SECOND)
    begun = [it for message in travelling(effects, AttemptsBegun) for it in message.begun]
    assert begun == [(fence * 10, fence) for fence in range(1, MANY + 1)]


def test_what_became_of_many_withdrawn_attempts_is_said_in_portions() -> None:
    executor, _ = busy()
    asked = list(range(1, MANY + 1_001))
    for start in range(0, len(asked), 2_000):
        deliver(executor, Withdraw(1, "w", tuple(asked[start : start + 2_000])), now=NOW, sender=LEADER)
    given_back = tuple(Outcome(it, it * 10, 1, "not_started", 0, NOW) for it in range(1, 5_001))
    deliver(executor, RunnerReported(given_back), now=NOW)
    answers = travelling(deliver(executor, TimerFired("withdraw/w"), now=NOW), Withdrawn)
    assert [fence for it in answers for fence in it.over] == list(range(1, 5_001))
    assert [fence for it in answers for _, fence in it.begun] == list(range(5_001, MANY + 1))
    assert [fence for it in answers for fence in it.unknown] == list(range(MANY + 1, MANY + 1_001))


def test_attempts_that_a_failed_executor_knew_are_told_in_portions() -> None:
    runner = FakeRunner()
    runner.begun_fences = set(range(1, MANY + 1))
    executor = Executor(runner)
    deliver(executor, Started("n", "i"), now=NOW)
    effects = deliver(executor, TakeStock(1), now=NOW, sender=LEADER)
    assert fences(travelling(effects, AttemptsLost)) == list(range(1, MANY + 1))


def test_progress_is_told_in_portions() -> None:
    executor, _ = busy()
    progress = tuple(Progress(it, it * 10, 1.0, 2.0, "𝄞" * 1_000) for it in range(1, MANY + 1))
    effects = deliver(executor, RunnerReported(progress), now=NOW)
    assert [it for message in travelling(effects, AttemptsProgressed) for it in message.progress] == list(progress)


# ---- parts, and the whole of them ---------------------------------------------------------------------------------------


def parts_of(*held: int, size: int, node: str = "n2", incarnation: str = "i2") -> list[StockTaken]:
    """What an executor says of what it holds, in parts of so many fences."""
    cuts = [held[start : start + size] for start in range(0, len(held), size)]
    first, parts = 0, []
    for cut in cuts[:-1]:
        parts.append(StockTaken(1, node, incarnation, cut, (), first=first, last=cut[-1]))
        first = cut[-1] + 1
    return [*parts, StockTaken(1, node, incarnation, cuts[-1], (), first=first)]


def test_only_the_whole_of_what_a_node_holds_tells_what_it_does_not_hold() -> None:
    leader = roomy()
    admit(leader, 6)
    *held, missing = [order.fence for order in leader.assigned()]
    leader.tell(PeerFound("n2", "i2"))
    one, two, three = parts_of(*held, size=2)
    leader.tell(one, two, sender=OTHER)
    assert fences(sent(leader.sent, Withdraw)) == []
    leader.tell(three, sender=OTHER)
    assert fences(sent(leader.sent, Withdraw)) == [missing]


def test_a_node_of_whose_stock_a_part_was_lost_is_asked_again() -> None:
    leader = roomy()
    admit(leader, 6)
    held = [order.fence for order in leader.assigned()]
    leader.tell(PeerFound("n2", "i2"))
    one, _, three = parts_of(*held, size=2)
    leader.tell(one, three, sender=OTHER)
    assert fences(sent(leader.sent, Withdraw)) == []
    leader.sent.clear()
    for _ in range(12):
        leader.tell(TimerFired("members"), after=100_000)
        leader.beat()
    assert [it for it in leader.sent if it.to == OTHER and isinstance(it.message, TakeStock)]


def test_a_new_leader_waits_for_the_whole_of_what_its_own_executor_holds() -> None:
    rows = tuple(live_row(run_id, claim=True, by="i") for run_id in range(1, 5))
    stock = parts_of(*(90 + run_id for run_id in range(1, 5)), size=2, node="n", incarnation="i")
    leader = Leader(rows, *stock)
    assert leader.written(AddEnds, "ends") == []
    leader.end(Order(91, 1, 1, "t", "work", "thread", "work", b""))
    assert [end.run_id for end in leader.written(AddEnds, "ends")] == [1], "they go on where they are"


# ---- ends ---------------------------------------------------------------------------------------------------------------


def record(run_id: int, end: End) -> RunRecord:
    return RunRecord(Run(run_id, "t", "work", 1, "submit", None, "", NOW, NOW, 0, b""), end.state, end)


@pytest.mark.parametrize(
    "said",
    [
        {"result": bytes(70_000)},
        {"result": bytes(MAX_RESULT_BYTES), "logs": bytes(MAX_LOG_BYTES), "reason": "𝄞" * 5_000},
        {"logs": bytes(MAX_LOG_BYTES)},
        {"error": BIG_ERROR},
    ],
    ids="+".join,
)
@pytest.mark.parametrize(
    "ask",
    [
        lambda desk, ids: desk.tell(Watch("w", "t", ids)),
        lambda desk, ids: desk.tell(WatchLive("client-1", "t", ids), sender="coordinator"),
    ],
    ids=["watched", "missed"],
)
def test_whoever_waits_for_many_runs_that_have_ended_is_told_in_portions(ask: Any, said: dict[str, Any]) -> None:
    desk = Desk()
    desk.runs = tuple(record(it, End(it, RunState.SUCCEEDED, NOW, **said)) for it in range(1, 257))
    told = [message for message in ask(desk, tuple(range(1, 257))) if isinstance(message, RunsEnded)]
    for message in told:
        assert_travels(message)
    assert [end.run_id for message in told for end in message.ends] == list(range(1, 257))


@pytest.mark.parametrize(
    "said", [{"result": bytes(70_000)}, {"logs": bytes(MAX_LOG_BYTES)}, {"outcome": "failed", "error": BIG_ERROR}]
)
def test_ends_are_told_in_portions_as_they_come(said: dict[str, Any]) -> None:
    leader = roomy()
    admit(leader, 256)
    ids = tuple(order.run_id for order in leader.assigned())
    leader.tell(WatchLive("client-1", "t", ids), sender="registry")
    outcomes = [Outcome(it.fence, it.run_id, 1, "succeeded", NOW, NOW) for it in leader.assigned()]
    leader.sent.clear()
    leader.tell(AttemptsEnded("n2", tuple(replace(it, **said) for it in outcomes)), sender=OTHER)
    told = travelling(leader.sent, RunsEnded)
    assert sorted(end.run_id for message in told for end in message.ends) == sorted(ids)
