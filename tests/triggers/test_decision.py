from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.triggers import (
    Calendar,
    CatchUp,
    Decision,
    DecisionKind,
    Missed,
    Schedule,
    Trigger,
    TriggerError,
    at,
    compile_trigger,
    cron,
    decide,
    every,
    manual,
)
from callsheet.triggers.decision import DOWNTIME_US
from callsheet.triggers.instant import DAY_US, HOUR_US, MINUTE_US, SECOND_US, from_datetime

FIRED = DecisionKind.FIRED
COALESCED = DecisionKind.COALESCED_INTO
LATE = DecisionKind.SKIPPED_LATE
CATCHUP = DecisionKind.SKIPPED_CATCHUP
PAUSED = DecisionKind.SKIPPED_PAUSED
CALENDAR = DecisionKind.SKIPPED_CALENDAR

# A Thursday.
START = from_datetime(datetime(2026, 1, 1, tzinfo=UTC))
LONG = 100 * DAY_US


def compiled(trigger: Trigger) -> Schedule:
    return compile_trigger(trigger, key="job", anchor=START)


HOURLY = compiled(every("1h"))


def hours(*numbers: int) -> list[int]:
    return [START + number * HOUR_US for number in numbers]


def told(missed: Missed) -> list[tuple[DecisionKind, int]]:
    """Kind and hour of each decision; the slots it stands for must be single."""
    assert all(decision.count == 1 and decision.first == decision.last for decision in missed.decisions)
    return [(decision.kind, (decision.first - START) // HOUR_US) for decision in missed.decisions]


def test_the_words_are_those_of_the_specification() -> None:
    assert [kind.value for kind in DecisionKind] == [
        "FIRED",
        "COALESCED_INTO",
        "SKIPPED_OVERLAP",
        "SKIPPED_LATE",
        "SKIPPED_CATCHUP",
        "SKIPPED_PAUSED",
        "SKIPPED_CALENDAR",
        "SKIPPED_QUOTA",
        "DROPPED_BUFFER_FULL",
    ]


def test_the_ordinary_fire_is_one_decision() -> None:
    (slot, following) = hours(1, 2)

    missed = decide(HOURLY, START, slot + 1500)

    assert missed == Missed((Decision(FIRED, slot, slot),), slot, HOURLY.slot(following))


def test_before_the_slot_nothing_is_decided() -> None:
    (slot,) = hours(1)

    assert decide(HOURLY, START, slot - 1) == Missed((), START, HOURLY.slot(slot))


def test_a_slot_is_due_at_its_own_instant() -> None:
    (slot,) = hours(1)

    assert decide(HOURLY, START, slot).mark == slot


def test_a_clock_set_back_fires_nothing_twice() -> None:
    mark = hours(5)[0]

    assert decide(HOURLY, mark, START).decisions == ()
    assert decide(HOURLY, mark, START).mark == mark


def test_a_trigger_without_slots_has_no_next() -> None:
    assert decide(compiled(manual()), START, START + DAY_US) == Missed((), START, None)


def test_the_last_slot_has_no_next() -> None:
    schedule = compiled(at(START / SECOND_US))

    missed = decide(schedule, START - 1, START + HOUR_US)

    assert [decision.kind for decision in missed.decisions] == [FIRED]
    assert missed.next is None


def test_without_a_window_what_is_older_than_one_period_is_late() -> None:
    missed = decide(HOURLY, START, hours(4)[0] + 30 * MINUTE_US)

    assert told(missed) == [(LATE, 1), (LATE, 2), (LATE, 3), (FIRED, 4)]


def test_exactly_one_period_old_is_not_late() -> None:
    assert told(decide(HOURLY, START, hours(4)[0])) == [(LATE, 1), (LATE, 2), (COALESCED, 3), (FIRED, 4)]


@pytest.mark.parametrize(
    ("period", "lateness", "kind"),
    [
        ("1m", 5 * MINUTE_US, FIRED),  # at least 5 minutes
        ("30d", 24 * HOUR_US, FIRED),  # at most 24 hours
        ("30d", 24 * HOUR_US + 1, LATE),
    ],
)
def test_the_default_window_has_a_least_and_a_greatest_length(period: str, lateness: int, kind: DecisionKind) -> None:
    schedule = compiled(every(period))
    slot = schedule.next_instant(START)
    assert slot is not None

    assert decide(schedule, START, slot + lateness).decisions[0].kind in {kind, COALESCED}
    assert decide(schedule, START, slot + lateness + (period == "1m")).decisions[0].kind in {kind, LATE}
    if period == "1m":
        assert decide(schedule, START, slot + lateness).decisions[0].kind is COALESCED
        assert decide(schedule, START, slot + lateness + 1).decisions[0].kind is LATE


def test_latest_fires_the_last_and_coalesces_the_others_into_it() -> None:
    missed = decide(HOURLY, START, hours(3)[0] + 5, CatchUp("latest", LONG))

    assert told(missed) == [(COALESCED, 1), (COALESCED, 2), (FIRED, 3)]
    assert [decision.into for decision in missed.decisions] == [hours(3)[0], hours(3)[0], None]
    assert (missed.mark, missed.next) == (hours(3)[0], HOURLY.slot(hours(4)[0]))


def test_earliest_fires_the_first_and_coalesces_the_others_into_it() -> None:
    missed = decide(HOURLY, START, hours(3)[0] + 5, CatchUp("earliest", LONG))

    assert told(missed) == [(FIRED, 1), (COALESCED, 2), (COALESCED, 3)]
    assert {decision.into for decision in missed.decisions[1:]} == {hours(1)[0]}
    assert missed.mark == hours(3)[0]


def test_all_fires_each_oldest_first() -> None:
    missed = decide(HOURLY, START, hours(3)[0] + 5, CatchUp("all", LONG))

    assert told(missed) == [(FIRED, 1), (FIRED, 2), (FIRED, 3)]


def test_all_is_paced_by_batches_that_lose_nothing() -> None:
    policy, now = CatchUp("all", LONG, max_catchup=2), hours(5)[0] + 5
    batches, mark = [], START
    for _ in range(3):
        missed = decide(HOURLY, mark, now, policy)
        batches.append(told(missed))
        mark = missed.mark
        assert missed.next is not None
    assert batches == [[(FIRED, 1), (FIRED, 2)], [(FIRED, 3), (FIRED, 4)], [(FIRED, 5)]]

    first = decide(HOURLY, START, now, policy)
    assert first.next is not None
    assert first.next.due <= now


def test_none_fires_what_is_on_time_and_nothing_that_was_missed() -> None:
    policy, slots = CatchUp("none", LONG), hours(1, 2, 3)

    assert told(decide(HOURLY, START, slots[0] + DOWNTIME_US, policy)) == [(FIRED, 1)]
    assert told(decide(HOURLY, START, slots[0] + DOWNTIME_US + 1, policy)) == [(CATCHUP, 1)]
    assert told(decide(HOURLY, START, slots[2] + 5, policy)) == [(CATCHUP, 1), (CATCHUP, 2), (FIRED, 3)]
    late = decide(HOURLY, START, slots[2] + 2 * DOWNTIME_US, policy)
    assert told(late) == [(CATCHUP, 1), (CATCHUP, 2), (CATCHUP, 3)]


def test_what_passes_in_a_pause_is_paused() -> None:
    missed = decide(HOURLY, START, hours(3)[0] + 5, CatchUp("all"), paused=True)

    assert told(missed) == [(PAUSED, 1), (PAUSED, 2), (PAUSED, 3)]
    assert missed.mark == hours(3)[0]


def test_an_excluded_slot_is_decided_by_the_calendar() -> None:
    schedule = compiled(cron("0 9 * * *").but(calendar=Calendar("work", excluded_weekdays=("sat", "sun"))))
    sunday = START + 3 * DAY_US

    assert [one.kind for one in decide(schedule, START, sunday, CatchUp("all", LONG)).decisions] == [
        FIRED,
        FIRED,
        CALENDAR,
    ]
    alone = decide(schedule, sunday, sunday + 9 * HOUR_US)
    assert [one.kind for one in alone.decisions] == [CALENDAR]
    latest = decide(schedule, START, sunday + 9 * HOUR_US, CatchUp("latest", LONG))
    assert [one.kind for one in latest.decisions] == [COALESCED, FIRED, CALENDAR, CALENDAR]


def test_jitter_delays_the_decision_but_not_the_identity() -> None:
    schedule = compiled(every("1h").but(jitter="30m"))
    slot = schedule.next(START)
    assert slot is not None
    assert slot.due > slot.instant

    assert decide(schedule, START, slot.due - 1).decisions == ()
    assert decide(schedule, START, slot.due).decisions == (Decision(FIRED, slot.instant, slot.instant),)


def test_a_slot_moved_to_the_previous_day_fires_before_its_instant() -> None:
    calendar = Calendar("work", excluded_weekdays=("sat", "sun"), on_excluded="previous")
    schedule = compiled(cron("0 9 * * *").but(calendar=calendar))
    friday = START + DAY_US + 9 * HOUR_US

    missed = decide(schedule, START + 10 * HOUR_US, friday)

    kinds = [(one.kind, (one.first - START) // DAY_US) for one in missed.decisions]
    assert kinds == [(COALESCED, 1), (COALESCED, 2), (FIRED, 3)]


def test_more_than_is_listed_is_told_as_a_row() -> None:
    schedule = compiled(every("1s"))
    now = START + 10 * 365 * DAY_US

    missed = decide(schedule, START, now)

    first = START + SECOND_US
    window = 5 * MINUTE_US
    border = now - window
    assert missed.decisions == (
        Decision(LATE, first, border - SECOND_US, (border - first) // SECOND_US),
        Decision(COALESCED, border, now - SECOND_US, window // SECOND_US, now),
        Decision(FIRED, now, now),
    )


def test_rows_are_broken_by_excluded_days() -> None:
    schedule = compiled(every("1m").but(calendar=Calendar("work", excluded_weekdays=("sat", "sun"))))

    missed = decide(schedule, START, START + 5 * DAY_US, CatchUp("earliest", LONG))

    first = START + MINUTE_US
    saturday, monday = START + 2 * DAY_US, START + 4 * DAY_US
    assert missed.decisions == (
        Decision(FIRED, first, first),
        Decision(COALESCED, first + MINUTE_US, saturday - MINUTE_US, 2 * 1440 - 2, first),
        Decision(CALENDAR, saturday, monday - MINUTE_US, 2 * 1440),
        Decision(COALESCED, monday, START + 5 * DAY_US, 1441, first),
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CatchUp("some"), "catchup must be 'latest', 'earliest', 'all' or 'none'; 'some' was given"),  # type: ignore[arg-type]
        (lambda: CatchUp(window_us=-1), "catchup_window must not be negative"),
        (lambda: CatchUp(max_catchup=0), "max_catchup must be from 1 to 100000; 0 was given"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(TriggerError, match=message):
        make()


# --- properties -------------------------------------------------------------------------------------------------------

SCHEDULES = [
    HOURLY,
    compiled(every("7m").but(jitter="5m")),
    compiled(cron("*/30 * * * *", zone="Europe/Berlin") - cron("0 12 * * *")),
    compiled(cron("0 6,18 * * *").but(calendar=Calendar("work", excluded_weekdays=("sat", "sun")))),
    compiled(
        (cron("0 */5 * * *") | every("11h")).but(
            jitter="3h", calendar=Calendar("work", excluded_weekdays=("sat", "sun"), on_excluded="next")
        )
    ),
    compiled(
        every("100m").but(
            jitter="30m",
            calendar=Calendar("x", excluded_weekdays=("sun",), excluded_dates=("01-05",), on_excluded="previous"),
        )
    ),
]
POLICY = st.builds(
    CatchUp,
    st.sampled_from(["latest", "earliest", "all", "none"]),
    st.none() | st.integers(0, 3 * DAY_US),
    st.integers(1, 60),
)
MOMENTS = st.lists(st.integers(0, 12 * DAY_US), min_size=1, max_size=12)


def slots_of(schedule: Schedule, decision: Decision) -> list[int]:
    return [slot.instant for slot in schedule.slots(decision.first - 1, decision.last)]


@settings(max_examples=150)
@given(st.sampled_from(SCHEDULES), POLICY, MOMENTS, st.lists(st.booleans(), min_size=12, max_size=12))
def test_each_slot_has_exactly_one_decision_whenever_one_looks(
    schedule: Schedule, policy: CatchUp, moments: list[int], pauses: list[bool]
) -> None:
    mark, decided = START, []
    for moment, paused in zip(moments, pauses, strict=False):
        missed = decide(schedule, mark, START + moment, policy, paused=paused)
        assert missed.mark >= mark
        covered = [instant for decision in missed.decisions for instant in slots_of(schedule, decision)]
        assert len(covered) == sum(decision.count for decision in missed.decisions)
        assert missed.mark == (covered[-1] if covered else mark)
        assert missed.next == schedule.next(missed.mark)
        if missed.decisions and not paused and policy.policy != "all":
            assert [one.kind for one in missed.decisions].count(FIRED) <= 1
        mark = missed.mark
        decided += covered

    assert decided == [slot.instant for slot in schedule.slots(START, mark)]
    assert all(first < second for first, second in pairwise(decided))


def fired(schedule: Schedule, moments: list[int], policy: CatchUp) -> list[int]:
    mark, found = START, []
    for moment in moments:
        while True:
            missed = decide(schedule, mark, START + moment, policy)
            found += [decision.first for decision in missed.decisions if decision.kind is FIRED]
            mark = missed.mark
            if not missed.decisions:
                break
    return found


@settings(max_examples=100)
@given(st.sampled_from(SCHEDULES), MOMENTS, st.integers(1, 60))
def test_all_fires_the_same_slots_however_often_one_looks(schedule: Schedule, moments: list[int], most: int) -> None:
    once = fired(schedule, [max(moments)], CatchUp("all", LONG, max_catchup=10_000))

    assert fired(schedule, moments, CatchUp("all", LONG, max_catchup=most)) == once
    due = [slot for slot in schedule.slots(START, START + 20 * DAY_US) if slot.due <= START + max(moments)]
    assert once == [slot.instant for slot in due if slot.excluded is None]


@settings(max_examples=100)
@given(st.sampled_from(SCHEDULES), POLICY, st.integers(0, 12 * DAY_US))
def test_rows_and_single_decisions_say_the_same(schedule: Schedule, policy: CatchUp, moment: int) -> None:
    if policy.policy == "all":
        return
    rows = decide(schedule, START, START + moment, policy)
    single = decide(schedule, START, START + moment, CatchUp(policy.policy, policy.window_us, 10_000))

    spread = [(one.kind, at, one.into) for one in rows.decisions for at in slots_of(schedule, one)]
    assert spread == [(one.kind, one.first, one.into) for one in single.decisions]
    assert (rows.mark, rows.next) == (single.mark, single.next)


SECONDS = START // SECOND_US
# A day of seconds is dropped, more in a row than a difference looks through.
ENDS = compiled(every("1s", start=SECONDS) - every("1s", start=SECONDS).but(start=SECONDS + 50, end=SECONDS + 86_400))


@pytest.mark.parametrize("policy", ["latest", "earliest", "all", "none"])
def test_a_difference_that_ends_within_what_was_missed_is_decided_up_to_its_end(policy: Any) -> None:
    missed = decide(ENDS, START, START + DAY_US + 10 * SECOND_US, CatchUp(policy))

    assert sum(decision.count for decision in missed.decisions) == 49
    assert (missed.mark, missed.next) == (START + 49 * SECOND_US, None)


def test_all_slots_of_a_difference_are_caught_up_with_to_its_end() -> None:
    missed = decide(ENDS, START, START + DAY_US + 10 * SECOND_US, CatchUp("all", window_us=2 * DAY_US))

    assert [decision.kind for decision in missed.decisions] == [FIRED] * 49
    assert (missed.mark, missed.next) == (START + 49 * SECOND_US, None)
