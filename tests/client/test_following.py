"""A gateway follows the leader: what waits goes to whoever leads, and nobody need know that it moved."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

import pytest
from msgspec.structs import replace

from callsheet.actors.messages import (
    Accepted,
    AddJobs,
    Answer,
    ChangeJob,
    Envelope,
    Follow,
    LeaderIs,
    MetricsReported,
    Query,
    ReportMetrics,
    RequestRejected,
    RunsEnded,
    Submit,
    SubmitItem,
    Watch,
)
from callsheet.actors.persistence.store import ListJobs
from callsheet.actors.records import End, Job, RunState
from callsheet.client.batch import WINDOW
from callsheet.client.gateway import Gateway
from callsheet.errors import CallsheetError, NotRunning, UnknownJob
from callsheet.transport.in_process import InProcess

WAIT_S = 10.0
QUESTION = ListJobs(tenant="t")


class Stand:
    """Takes what is sent to an address into a queue, and answers from there."""

    def __init__(self, transport: InProcess, address: str) -> None:
        self.address = address
        self.came: SimpleQueue[tuple[Any, str]] = SimpleQueue()
        self._transport = transport
        transport.attach(address, self._receive)

    def _receive(self, envelope: Envelope) -> bool:
        for message in envelope.messages:
            self.came.put((message, envelope.sender))
        return True

    def next(self, kind: type) -> tuple[Any, str]:
        """The next message of a kind, and who sent it; others are thrown away."""
        while True:
            message, sender = self.came.get(timeout=WAIT_S)
            if isinstance(message, kind):
                return message, sender

    def say(self, to: str, *messages: Any) -> None:
        self._transport.send(Envelope(self.address, to, 0, messages))


class Waiter:
    """A handle that waits for the end of a run."""

    tenant = "t"

    def __init__(self, run_id: int = 0, *, is_awaited: bool = False) -> None:
        self.run_id = run_id
        self.is_awaited = is_awaited
        self.ended = threading.Event()

    def on_end(self, end: End) -> None:
        self.ended.set()


class Stage:
    """A gateway on node n1, whose coordinator and registries on three nodes are played by the test."""

    def __init__(self, **options: Any) -> None:
        self.transport = InProcess("n1")
        self.coordinator = Stand(self.transport, "coordinator")
        self.registries = {
            "n1": Stand(self.transport, "registry"),
            "n2": Stand(self.transport, "registry@n2"),
            "n3": Stand(self.transport, "registry@n3"),
        }
        self.gateway = Gateway(self.transport, "x", **{"node": "n1", **options})

    def lead(self, node: str, epoch: int) -> None:
        self.coordinator.say("client-x", LeaderIs("x/follow", epoch, node, ""))

    def ask(self, message: Any = None, timeout_s: float = WAIT_S) -> Asked:
        return Asked(lambda: self.gateway.request(message or Query("q", QUESTION), timeout_s=timeout_s))

    def end(self, node: str, to: str, *run_ids: int) -> None:
        ends = tuple(End(run_id, RunState.SUCCEEDED, 0) for run_id in run_ids)
        self.registries[node].say(to, RunsEnded(ends))


class Asked:
    """A question that is asked on a thread of its own."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._future: Future[Any] = Future()
        threading.Thread(target=self._run, args=(ask,), daemon=True).start()

    def _run(self, ask: Callable[[], Any]) -> None:
        try:
            self._future.set_result(ask())
        except (CallsheetError, TimeoutError) as error:
            self._future.set_exception(error)

    def answer(self) -> Any:
        return self._future.result(WAIT_S)

    def error(self) -> BaseException | None:
        return self._future.exception(WAIT_S)


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.gateway.close("the test is over")


def test_it_asks_its_own_coordinator_who_leads_as_soon_as_it_is_there(stage: Stage) -> None:
    message, sender = stage.coordinator.next(Follow)
    assert (message, sender) == (Follow("x/follow"), "client-x")


def test_nothing_is_asked_while_nobody_leads_and_the_question_goes_on_when_somebody_does(stage: Stage) -> None:
    asked = stage.ask()
    stage.coordinator.next(Follow)
    stage.coordinator.next(Follow)  # again, because nobody was named
    assert all(registry.came.empty() for registry in stage.registries.values())
    stage.lead("n2", 4)
    assert stage.registries["n2"].next(Query) == (Query("q", QUESTION), "client-x@n1")
    stage.registries["n2"].say("client-x@n1", Answer("q", ()))
    assert asked.answer() == Answer("q", ())


def test_a_leader_on_the_own_node_is_asked_by_its_short_name(stage: Stage) -> None:
    stage.lead("n1", 1)
    asked = stage.ask()
    assert stage.registries["n1"].next(Query)[1] == "client-x"
    stage.registries["n1"].say("client-x", Answer("q", ()))
    asked.answer()


def test_what_waits_for_an_answer_is_sent_at_once_to_a_new_leader(stage: Stage) -> None:
    stage.lead("n2", 4)
    asked = stage.ask()
    stage.registries["n2"].next(Query)
    began = time.monotonic()
    stage.lead("n3", 5)
    stage.registries["n3"].next(Query)
    assert time.monotonic() - began < 0.9, "it waited until the answer was overdue"
    stage.registries["n3"].say("client-x@n1", Answer("q", ()))
    asked.answer()


def test_a_submission_that_is_sent_to_a_new_leader_says_that_it_may_be_known(stage: Stage) -> None:
    stage.lead("n2", 4)
    waiter = Waiter()
    submitted = Asked(lambda: stage.gateway.submit("t", [SubmitItem("a")], [waiter], "submit", WAIT_S))
    first, _ = stage.registries["n2"].next(Submit)
    stage.lead("n3", 5)
    second, _ = stage.registries["n3"].next(Submit)
    assert (first.epoch, second.epoch) == (4, 0)
    assert first.key == second.key
    stage.registries["n3"].say("client-x@n1", Accepted(second.key, (7,), durable=True))
    assert submitted.answer() is None
    assert waiter.run_id == 7
    watch, _ = stage.registries["n3"].next(Watch)
    assert watch.run_ids == (7,), "who had it first knows its watcher, and is gone"


@pytest.mark.parametrize("change", [ChangeJob("q", "t", "a", "remove"), AddJobs("q", (Job(tenant="t", name="a"),))])
def test_a_change_of_jobs_that_is_sent_to_a_new_leader_says_that_it_may_be_done(
    stage: Stage, change: ChangeJob | AddJobs
) -> None:
    stage.lead("n2", 4)
    stage.ask(change)
    first, _ = stage.registries["n2"].next(type(change))
    stage.lead("n3", 5)
    second, _ = stage.registries["n3"].next(type(change))
    assert (first, second) == (replace(change, epoch=4), change)


def test_a_refusal_for_not_leading_is_followed_to_the_leader_and_never_shown(stage: Stage) -> None:
    stage.lead("n2", 4)
    stage.coordinator.next(Follow)
    asked = stage.ask()
    stage.registries["n2"].next(Query)
    stage.registries["n2"].say("client-x@n1", RequestRejected("q", "not_leader", "another leads"))
    stage.coordinator.next(Follow)
    stage.lead("n2", 4)
    stage.registries["n2"].next(Query)
    stage.registries["n2"].say("client-x@n1", Answer("q", ()))
    asked.answer()


def test_a_leader_that_says_over_and_over_that_it_does_not_lead_is_not_hammered(stage: Stage) -> None:
    stage.lead("n2", 4)
    stage.ask()
    began = time.monotonic()
    for _ in range(4):
        stage.registries["n2"].next(Query)
        while not stage.coordinator.came.empty():
            stage.coordinator.came.get()
        stage.registries["n2"].say("client-x@n1", RequestRejected("q", "not_leader", "another leads"))
        stage.coordinator.next(Follow)
        stage.lead("n2", 4)
    assert time.monotonic() - began > 0.2


def test_other_refusals_are_shown(stage: Stage) -> None:
    stage.lead("n2", 4)
    asked = stage.ask(ChangeJob("q", "t", "a", "pause"))
    stage.registries["n2"].next(ChangeJob)
    stage.registries["n2"].say("client-x@n1", RequestRejected("q", "unknown_job", "no job 'a'"))
    assert isinstance(asked.error(), UnknownJob)


def test_a_word_of_an_older_epoch_changes_nothing(stage: Stage) -> None:
    stage.lead("n3", 5)
    stage.lead("n2", 4)
    stage.lead("", 4)
    stage.ask()
    stage.registries["n3"].next(Query)
    assert stage.registries["n2"].came.empty()


def test_a_question_that_gets_no_answer_is_sent_again_and_the_coordinator_is_asked_who_leads(stage: Stage) -> None:
    stage.lead("n2", 4)
    stage.coordinator.next(Follow)
    stage.ask()
    stage.registries["n2"].next(Query)
    stage.registries["n2"].next(Query)
    stage.coordinator.next(Follow)


def test_a_new_leader_is_asked_for_the_ends_of_all_runs_that_handles_wait_for(stage: Stage) -> None:
    stage.lead("n2", 4)
    waiters = [Waiter(number, is_awaited=number > 500) for number in range(1, 601)]
    for waiter in waiters:
        stage.gateway.follow(waiter)
    stage.lead("n3", 5)
    watched: list[int] = []
    while len(watched) < 600:
        watch, sender = stage.registries["n3"].next(Watch)
        assert sender == "client-x@n1"
        assert len(watch.run_ids) <= 256
        watched.extend(watch.run_ids)
    assert sorted(watched) == list(range(1, 601))
    assert set(watched[:100]) == set(range(501, 601)), "those that somebody waits for come first"
    stage.end("n3", "client-x@n1", *watched)
    assert all(waiter.ended.wait(WAIT_S) for waiter in waiters)


def test_thousands_who_wait_in_vain_ask_together_and_not_each_for_all(stage: Stage) -> None:
    stage.lead("n2", 4)
    waiters = [Waiter(number, is_awaited=True) for number in range(1, 2_001)]
    for waiter in waiters:
        stage.gateway.follow(waiter)
    for waiter in waiters:
        stage.gateway.watch_again(waiter)
    asked: list[tuple[int, ...]] = []
    while len(set().union(*asked)) < len(waiters):
        watch, _ = stage.registries["n2"].next(Watch)
        asked.append(watch.run_ids)
    assert len(asked) < 40


def test_a_leader_that_is_known_again_is_asked_again_only_for_what_it_has_refused(stage: Stage) -> None:
    stage.lead("n2", 4)
    stage.gateway.follow(Waiter(1))
    stage.lead("n3", 5)
    watch, _ = stage.registries["n3"].next(Watch)
    stage.lead("", 5)
    stage.lead("n3", 5)
    stage.ask()
    came = [stage.registries["n3"].came.get(timeout=WAIT_S)[0] for _ in range(2)]  # the second one a second later
    assert came == [Query("q", QUESTION)] * 2, "it was asked for an end again"
    stage.registries["n3"].say("client-x@n1", RequestRejected(watch.key, "not_leader", "another leads"))
    stage.coordinator.next(Follow)
    stage.lead("n3", 5)
    assert stage.registries["n3"].next(Watch)[0].run_ids == (1,)


def test_metrics_are_those_of_the_own_node(stage: Stage) -> None:
    metrics = Stand(stage.transport, "metrics")
    stage.lead("n2", 4)
    asked = Asked(lambda: stage.gateway.request(ReportMetrics("m"), to="metrics"))
    assert metrics.next(ReportMetrics)[1] == "client-x"
    metrics.say("client-x", MetricsReported("m", "text"))
    assert asked.answer().text == "text"


def test_a_time_out_says_what_was_asked_how_long_and_who_leads(stage: Stage) -> None:
    refused = stage.ask(ChangeJob("q", "t", "nightly", "pause"), timeout_s=0.05).error()
    assert isinstance(refused, TimeoutError)
    assert "pause job 'nightly' within 0.05 s: nobody is known to lead" in str(refused)
    stage.lead("n2", 4)
    late = Asked(lambda: stage.gateway.submit("t", [SubmitItem("a")] * 3, [Waiter()] * 3, "submit", 0.05)).error()
    assert "a submission of 3 runs (job 'a') within 0.05 s: node 'n2' was asked, which leads in epoch 4" in str(late)


def test_a_submission_that_is_not_answered_says_what_is_stored_and_what_is_not_known(stage: Stage) -> None:
    stage.lead("n2", 4)
    waiters = [Waiter() for _ in range(600)]
    late = Asked(lambda: stage.gateway.submit("t", [SubmitItem("a")] * 600, waiters, "submit", 1.0))
    requests = [stage.registries["n2"].next(Submit)[0] for _ in range(3)]
    first, _, last = requests
    stage.registries["n2"].say(
        "client-x@n1",
        Accepted(first.key, tuple(range(1, 257)), durable=True),
        Accepted(last.key, tuple(range(901, 989)), durable=True),
    )

    error: Any = late.error()

    assert type(error).__name__ == "TimeoutError"
    assert re.search("; of 600 runs 344 are stored, .* `submitted`; of 256 it is not known$", str(error))
    assert error.submitted == [*waiters[:256], *[None] * 256, *waiters[512:]]


def test_a_refused_submission_waits_for_what_is_on_its_way_and_sends_no_more(stage: Stage) -> None:
    stage.lead("n2", 4)
    waiters = [Waiter() for _ in range(256 * (WINDOW + 2))]
    items = [SubmitItem("a")] * len(waiters)
    refused = Asked(lambda: stage.gateway.submit("t", items, waiters, "submit", WAIT_S))
    first, *others = [stage.registries["n2"].next(Submit)[0] for _ in range(WINDOW)]
    stage.registries["n2"].say("client-x@n1", RequestRejected(first.key, "unknown_job", "no job 'a'"))
    for number, each in enumerate(others):
        run_ids = tuple(range(1 + number * 256, 257 + number * 256))
        stage.registries["n2"].say("client-x@n1", Accepted(each.key, run_ids, durable=True))

    error: Any = refused.error()

    assert type(error) is UnknownJob
    assert str(error).startswith("no job 'a'; of 4,608 runs 3,840 are stored")
    assert error.submitted == [*[None] * 256, *waiters[256 : 256 * WINDOW], *[None] * 512]
    assert all(message.__class__ is Watch for message in said(stage.registries["n2"])), (
        "no batch is sent after a refusal"
    )


def said(stand: Stand) -> list[Any]:
    """What has come there by now."""
    found: list[Any] = []
    while not stand.came.empty():
        found.append(stand.came.get()[0])
    return found


def test_closing_ends_what_waits(stage: Stage) -> None:
    asked = stage.ask()
    stage.coordinator.next(Follow)
    stage.gateway.close("it was stopped")
    error = asked.error()
    assert isinstance(error, NotRunning)
    assert str(error) == "it was stopped"
    with pytest.raises(NotRunning, match="it was stopped"):
        stage.gateway.request(Query("q", QUESTION))


def test_without_a_name_of_its_node_it_follows_nobody() -> None:
    stage = Stage(node="")
    try:
        asked = stage.ask()
        stage.registries["n1"].next(Query)
        stage.registries["n1"].say("client-x", Answer("q", ()))
        asked.answer()
        assert stage.coordinator.came.empty()
    finally:
        stage.gateway.close("the test is over")
