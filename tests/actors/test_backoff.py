from __future__ import annotations

import pytest

from callsheet.actors.coordinator.backoff import backoff_us, is_retried
from callsheet.actors.records import ErrorInfo, Retry
from support.actors import SECOND

ERROR = ErrorInfo("shop.Busy", ("shop.Base", "builtins.OSError"), "busy", "")


@pytest.mark.parametrize(
    ("kind", "waits"), [("fixed", [2, 2, 2, 2]), ("linear", [2, 4, 6, 8]), ("exponential", [2, 4, 8, 10])]
)
def test_each_curve_waits_as_it_says(kind: str, waits: list[int]) -> None:
    retry = Retry(kind=kind, delay_us=2 * SECOND, cap_us=10 * SECOND, jitter="none")  # type: ignore[arg-type]
    assert [backoff_us(retry, attempt, 1) // SECOND for attempt in (1, 2, 3, 4)] == waits


def test_full_jitter_stays_below_the_wait_and_equal_above_its_half_and_both_are_stable() -> None:
    for run_id in range(200):
        full = backoff_us(Retry(delay_us=SECOND, jitter="full"), 1, run_id)
        equal = backoff_us(Retry(delay_us=SECOND, jitter="equal"), 1, run_id)
        assert 0 <= full <= SECOND
        assert SECOND // 2 <= equal <= SECOND
        assert full == backoff_us(Retry(delay_us=SECOND, jitter="full"), 1, run_id)
    assert len({backoff_us(Retry(delay_us=SECOND), 1, run_id) for run_id in range(200)}) > 190


def test_a_great_number_of_attempts_is_no_great_number() -> None:
    assert backoff_us(Retry(delay_us=SECOND, cap_us=5 * SECOND, jitter="none"), 9_999, 1) == 5 * SECOND


@pytest.mark.parametrize(
    ("retry", "attempts", "expected"),
    [
        (None, 1, False),
        (Retry(attempts=3), 2, True),
        (Retry(attempts=3), 3, False),
        (Retry(retry_on=("OSError",)), 1, True),
        (Retry(retry_on=("ValueError",)), 1, False),
        (Retry(give_up_on=("shop.Base",)), 1, False),
        (Retry(retry_on=("OSError",), give_up_on=("Busy",)), 1, False),
    ],
)
def test_a_run_is_retried_by_count_and_by_the_types_of_its_error(
    retry: Retry | None, attempts: int, expected: bool
) -> None:
    assert is_retried(retry, attempts, ERROR) is expected
