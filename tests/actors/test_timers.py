"""Timers as data."""

from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.actor import CancelTimer, SetTimer
from callsheet.actors.timers import Timers


def ring(timers: Timers, now: int, elapsed: int) -> list[str]:
    """Take what is due."""
    return [alarm.key for alarm in timers.pop_due(now, elapsed) if timers.take(alarm)]


def test_timers_come_due_in_the_order_of_their_instants_and_then_of_setting() -> None:
    timers = Timers()
    for key, at in (("late", 30), ("first", 10), ("second", 10), ("never", 31)):
        timers.set(key, at)

    assert ring(timers, 30, 0) == ["first", "second", "late"]
    assert ring(timers, 30, 0) == []
    assert len(timers) == 1


def test_a_new_timer_replaces_the_one_of_its_key_only() -> None:
    timers = Timers()
    timers.set("next", 10)
    timers.set("other", 10)
    timers.set("next", 20)

    assert ring(timers, 10, 0) == ["other"]
    assert ring(timers, 20, 0) == ["next"]


def test_what_came_due_counts_until_it_is_taken() -> None:
    timers = Timers()
    for key in ("kept", "replaced", "cancelled"):
        timers.set(key, 10)
    kept, replaced, cancelled = timers.pop_due(10, 0)
    timers.change([SetTimer("replaced", 20, steady=False), CancelTimer("cancelled")])

    assert len(timers) == 2
    assert [timers.take(each) for each in (kept, replaced, cancelled, kept)] == [True, False, False, False]
    assert ring(timers, 20, 0) == ["replaced"]


def test_a_steady_timer_replaces_an_utc_one_of_the_same_key() -> None:
    timers = Timers()
    timers.set("next", 10)
    timers.set("next", 5, steady=True)

    assert ring(timers, 100, 4) == []
    assert ring(timers, 0, 5) == ["next"]


def test_the_two_clocks_are_never_compared() -> None:
    timers = Timers()
    timers.set("utc", 1_000_000)
    timers.set("steady", 50, steady=True)

    assert timers.wait_us(999_990, 0) == 10
    assert timers.wait_us(0, 20) == 30
    assert ring(timers, 999_999, 50) == ["steady"]
    assert timers.wait_us(2_000_000, 50) == 0


def test_utc_timers_are_looked_at_now_and_then_and_steady_ones_when_they_are_due() -> None:
    timers = Timers()
    timers.set("steady", 5_000, steady=True)
    assert timers.wait_us(0, 0, poll_us=500) == 5_000

    timers.set("utc", 9_000)
    assert timers.wait_us(0, 0, poll_us=500) == 500
    assert timers.wait_us(8_900, 0, poll_us=500) == 100


def test_a_cancelled_timer_does_not_come_due() -> None:
    timers = Timers()
    timers.set("next", 10)
    timers.cancel("next")
    timers.cancel("next")

    assert timers.wait_us(0, 0) is None
    assert ring(timers, 10, 10) == []


def test_all_timers_are_forgotten_together_also_those_that_came_due() -> None:
    timers = Timers()
    for key in "abc":
        timers.set(key, 10, steady=key == "c")
    [alarm] = timers.pop_due(0, 10)
    timers.clear()

    assert not timers.take(alarm)
    assert ring(timers, 10, 10) == []


def test_a_timer_that_is_replaced_for_ever_takes_no_more_room() -> None:
    timers = Timers()
    for at in range(10_000):
        timers.set("next", 1_000_000 - at)

    assert len(timers) == 1
    assert len(timers._utc) < 200  # the room is what this is about
    assert timers.wait_us(0, 0) == 990_001


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcde"), st.integers(0, 50), st.booleans(), st.sampled_from(["set", "cancel", "pop"])
        )
    )
)
def test_timers_do_what_a_plain_table_would(steps: list[tuple[str, int, bool, str]]) -> None:
    timers, table = Timers(), dict[str, tuple[int, bool]]()
    for key, at, steady, step in steps:
        match step:
            case "set":
                timers.set(key, at, steady=steady)
                table[key] = (at, steady)
            case "cancel":
                timers.cancel(key)
                table.pop(key, None)
            case _:
                now, elapsed = (0, at) if steady else (at, 0)
                due = {key for key, (at, steady) in table.items() if at <= (elapsed if steady else now)}
                assert set(ring(timers, now, elapsed)) == due
                for each in due:
                    del table[each]
        waits = [at for at, _ in table.values()]
        assert timers.wait_us(0, 0) == min(waits, default=None)
        assert len(timers) == len(table)
