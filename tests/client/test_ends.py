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

    assert ends.with_others(second) == (2, 1)
    ends.take(RunsEnded((End(1, RunState.SUCCEEDED, 0, 1),)))
    assert first.end is not None
    assert ends.with_others(second) == (2,)


def test_what_is_asked_again_fits_into_one_request() -> None:
    ends = Ends()
    handles = [Waiting(number) for number in range(2 * WATCH_BATCH)]
    for handle in handles:
        ends.follow(handle)

    asked = ends.with_others(handles[-1])

    assert asked[0] == handles[-1].run_id
    assert len(asked) == len(set(asked)) == WATCH_BATCH
