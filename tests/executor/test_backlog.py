from __future__ import annotations

from callsheet.actors.executor.live import LiveAttempt
from callsheet.actors.executor.processes.backlog import BATCH_US, BRISK_US, MAX_BATCH, Backlog
from callsheet.actors.executor.runner import Order


def attempts(*targets: str, first: int = 1) -> list[LiveAttempt]:
    orders = (
        Order(fence, fence, 1, "default", "job", "process", target, b"") for fence, target in enumerate(targets, first)
    )
    return [LiveAttempt(order, None, lambda _: None) for order in orders]


def fences(lives: list[LiveAttempt]) -> list[int]:
    return [live.order.fence for live in lives]


def test_a_new_target_travels_alone_and_only_to_an_idle_worker() -> None:
    backlog = Backlog()
    backlog.add(attempts("new", "new"))
    assert backlog.cut(BATCH_US, 64, alone=False) == []
    assert fences(backlog.cut(BATCH_US, 64, alone=True)) == [1]
    assert len(backlog) == 1


def test_brisk_jobs_travel_in_batches_up_to_the_room_and_the_limit() -> None:
    backlog = Backlog()
    backlog.learn("brisk", 5)
    backlog.learn("slower", 400)
    backlog.add(attempts(*["brisk"] * 100))
    assert len(backlog.cut(BATCH_US, 1_000, alone=True)) == MAX_BATCH
    assert len(backlog.cut(BATCH_US, 10, alone=True)) == 10
    backlog.remove_all()
    backlog.add(attempts(*["slower"] * 100))
    assert len(backlog.cut(BATCH_US, 64, alone=True)) == BATCH_US // 415


def test_a_long_job_ends_a_batch_of_brisk_ones_and_keeps_its_place() -> None:
    backlog = Backlog()
    backlog.learn("brisk", 5)
    backlog.learn("long", 10 * BRISK_US)
    backlog.add(attempts("brisk", "brisk", "long", "brisk"))
    assert fences(backlog.cut(BATCH_US, 64, alone=True)) == [1, 2]
    assert fences(backlog.cut(BATCH_US, 64, alone=True)) == [3]
    assert fences(backlog.cut(BATCH_US, 64, alone=True)) == [4]


def test_what_is_given_back_comes_before_the_others_in_its_order() -> None:
    backlog = Backlog()
    backlog.learn("brisk", 5)
    backlog.add(attempts("brisk", "brisk", first=10))
    backlog.give_back(attempts("brisk", "brisk", first=1))
    assert fences(backlog.cut(BATCH_US, 64, alone=True)) == [1, 2, 10, 11]


def test_what_is_removed_is_not_handed_out() -> None:
    backlog = Backlog()
    backlog.learn("brisk", 5)
    backlog.add(attempts("brisk", "brisk", "brisk"))
    assert backlog.remove(2) is not None
    assert backlog.remove(2) is None
    assert fences(backlog.cut(BATCH_US, 64, alone=True)) == [1, 3]
    assert len(backlog) == 0
