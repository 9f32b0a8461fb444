"""What follows when a batch of a coordinator that leads is durable, and what when the store refused it."""

from __future__ import annotations

from callsheet.actors.messages import Draft, RunsMade
from callsheet.actors.records import LiveRun, Run
from support.actors import NOW, Leader, make_job


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
