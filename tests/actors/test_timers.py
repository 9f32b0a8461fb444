"""Timers as data."""

from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.timers import Alarm, Timers


def keys(alarms: list[Alarm]) -> list[tuple[str, str]]:
    return [(alarm.owner, alarm.key) for alarm in alarms]


def test_timers_come_due_in_the_order_of_their_instants_and_then_of_setting() -> None:
    timers = Timers()
    for key, at in (("late", 30), ("first", 10), ("second", 10), ("never", 31)):
        timers.set("clock", key, at)

    assert keys(timers.pop_due(30, 0)) == [("clock", "first"), ("clock", "second"), ("clock", "late")]
    assert timers.pop_due(30, 0) == []
    assert len(timers) == 1


def test_a_new_timer_replaces_the_one_of_its_key_and_owner_only() -> None:
    timers = Timers()
    timers.set("clock", "next", 10)
    timers.set("registry", "next", 10)
    number = timers.set("clock", "next", 20)

    assert keys(timers.pop_due(10, 0)) == [("registry", "next")]
    assert timers.pop_due(20, 0) == [Alarm("clock", "next", number)]


def test_a_steady_timer_replaces_an_utc_one_of_the_same_key() -> None:
    timers = Timers()
    timers.set("clock", "next", 10)
    timers.set("clock", "next", 5, steady=True)

    assert timers.pop_due(100, 4) == []
    assert keys(timers.pop_due(0, 5)) == [("clock", "next")]


def test_the_two_clocks_are_never_compared() -> None:
    timers = Timers()
    timers.set("clock", "utc", 1_000_000)
    timers.set("clock", "steady", 50, steady=True)

    assert timers.wait_us(999_990, 0) == 10
    assert timers.wait_us(0, 20) == 30
    assert keys(timers.pop_due(999_999, 50)) == [("clock", "steady")]
    assert timers.wait_us(2_000_000, 50) == 0


def test_a_cancelled_timer_does_not_come_due() -> None:
    timers = Timers()
    timers.set("clock", "next", 10)
    timers.cancel("clock", "next")
    timers.cancel("clock", "next")

    assert timers.wait_us(0, 0) is None
    assert timers.pop_due(10, 10) == []


def test_all_timers_of_an_owner_are_forgotten_together() -> None:
    timers = Timers()
    for owner in ("clock", "registry"):
        for key in "abc":
            timers.set(owner, key, 10, steady=key == "c")
    timers.cancel_all("clock")

    assert keys(timers.pop_due(10, 10)) == [("registry", "a"), ("registry", "b"), ("registry", "c")]


def test_a_timer_that_is_replaced_for_ever_takes_no_more_room() -> None:
    timers = Timers()
    for at in range(10_000):
        timers.set("clock", "next", 1_000_000 - at)

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
                timers.set("clock", key, at, steady=steady)
                table[key] = (at, steady)
            case "cancel":
                timers.cancel("clock", key)
                table.pop(key, None)
            case _:
                now, elapsed = (0, at) if steady else (at, 0)
                due = {key for key, (at, steady) in table.items() if at <= (elapsed if steady else now)}
                assert {alarm.key for alarm in timers.pop_due(now, elapsed)} == due
                for each in due:
                    del table[each]
        waits = [at for at, _ in table.values()]
        assert timers.wait_us(0, 0) == min(waits, default=None)
        assert len(timers) == len(table)
