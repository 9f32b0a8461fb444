"""Who waits for the ends of runs, and what is asked again together."""

from __future__ import annotations

from callsheet.actors.messages import RunsEnded
from callsheet.actors.records import End, RunState
from callsheet.client.ends import WATCH_BATCH, Ends


class Waiting:
    """Waits for the end of a run, and keeps it."""

    is_awaited = True

    def __init__(self, run_id: int, tenant: str = "default") -> None:
        self.tenant = tenant
        self.run_id = run_id
        self.end: End | None = None

    def on_end(self, end: End) -> None:
        self.end = end


def test_who_asks_again_asks_for_the_others_of_its_tenant_too() -> None:
    ends = Ends()
    first, second, foreign = Waiting(1), Waiting(2), Waiting(3, "shop")
    for handle in (first, second, foreign):
        ends.follow(handle)

    assert ends.doubt(second)
    assert ends.next_look() == ("default", (2, 1))
    assert not ends.must_look
    ends.take(RunsEnded((End(1, RunState.SUCCEEDED, 0, 1),)))
    assert first.end is not None
    assert ends.doubt(second)
    assert ends.next_look() == ("default", (2,))


def test_what_is_asked_again_fits_into_one_request() -> None:
    ends = Ends()
    handles = [Waiting(number) for number in range(2 * WATCH_BATCH)]
    for handle in handles:
        ends.follow(handle)

    ends.doubt(handles[-1])
    _, asked = ends.next_look()

    assert asked[0] == handles[-1].run_id
    assert len(asked) == len(set(asked)) == WATCH_BATCH


def test_those_who_ask_at_once_are_asked_for_together_each_tenant_for_itself() -> None:
    ends = Ends()
    handles = [Waiting(number, "shop" if number % 2 else "default") for number in range(4 * WATCH_BATCH)]
    for handle in handles:
        ends.follow(handle)

    assert [ends.doubt(handle) for handle in handles + handles].count(True) == 1
    looks = [ends.next_look() for _ in range(4)]

    assert not ends.must_look
    assert sorted(run_id for _, run_ids in looks for run_id in run_ids) == list(range(4 * WATCH_BATCH))
    for tenant, run_ids in looks:
        assert {run_id % 2 for run_id in run_ids} == {tenant == "shop"}


def test_of_what_has_ended_meanwhile_nothing_is_asked() -> None:
    ends = Ends()
    handle = Waiting(1)
    ends.follow(handle)
    ends.follow(Waiting(2))
    ends.doubt(handle)
    ends.take(RunsEnded((End(1, RunState.SUCCEEDED, 0, 1),)))

    assert ends.next_look() == ("default", ())


def test_what_a_new_leader_is_asked_for_is_not_asked_for_once_more() -> None:
    ends = Ends()
    handle = Waiting(1)
    ends.follow(handle)
    ends.doubt(handle)

    ends.forget_watches()

    assert ends.must_watch
    assert not ends.must_look
