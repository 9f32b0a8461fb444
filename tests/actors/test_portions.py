"""Whatever an actor has to say at once, each message that leaves the node can travel."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet import data
from callsheet.actors.executor.runner import Order, Outcome, Progress
from callsheet.actors.portions import (
    BYTES_A_MESSAGE,
    BYTES_AT_ONCE,
    FENCES_A_MESSAGE,
    ITEMS_A_MESSAGE,
    end_size,
    fence_portions,
    first_of,
    order_size,
    outcome_size,
    portions,
    progress_size,
)
from callsheet.actors.records import Command, End, ErrorInfo
from support.structs import TEXT, instances

SIZED: dict[type, Callable[[Any], int]] = {
    Order: order_size,
    Outcome: outcome_size,
    End: end_size,
    Progress: progress_size,
}


@given(st.lists(st.integers(0, 2 * BYTES_A_MESSAGE), max_size=3 * ITEMS_A_MESSAGE))
def test_portions_have_everything_in_order_and_none_is_too_much_but_one_thing_alone(sizes: list[int]) -> None:
    cut = list(portions(sizes, lambda size: size))
    assert [size for portion in cut for size in portion] == sizes
    assert all(0 < len(portion) <= ITEMS_A_MESSAGE for portion in cut)
    assert all(sum(portion) <= BYTES_A_MESSAGE or len(portion) == 1 for portion in cut)


@given(st.lists(st.integers(0, BYTES_A_MESSAGE // 100), max_size=3 * ITEMS_A_MESSAGE))
def test_two_portions_that_follow_each_other_would_not_fit_into_one(sizes: list[int]) -> None:
    cut = list(portions(sizes, lambda size: size))
    pairs = itertools.pairwise(cut)
    assert all(len(one) == ITEMS_A_MESSAGE or sum(one) + other[0] > BYTES_A_MESSAGE for one, other in pairs)


@pytest.mark.parametrize("count", [0, 1, FENCES_A_MESSAGE, FENCES_A_MESSAGE + 1, 3 * FENCES_A_MESSAGE])
def test_fences_are_cut_by_their_number(count: int) -> None:
    cut = list(fence_portions(range(count)))
    assert [fence for portion in cut for fence in portion] == list(range(count))
    assert len(cut) == -(-count // FENCES_A_MESSAGE)


def test_what_is_sent_again_is_bounded_and_never_nothing() -> None:
    assert first_of([BYTES_AT_ONCE // 2] * 3, int) == [BYTES_AT_ONCE // 2] * 2
    assert first_of([2 * BYTES_AT_ONCE, 1], int) == [2 * BYTES_AT_ONCE]
    assert first_of([], int) == []


@pytest.mark.parametrize("kind", SIZED)
def test_a_size_is_never_less_than_what_is_packed(kind: type) -> None:
    @given(instances(kind))
    def holds(item: Any) -> None:
        assert SIZED[kind](item) >= len(data.pack_record(item))

    holds()


WIDE = "𝄞" * 5_000
ERROR = ErrorInfo(WIDE, (WIDE, WIDE), WIDE, WIDE)


@pytest.mark.parametrize(
    "item",
    [
        Order(1, 2, 3, WIDE, WIDE, "thread", WIDE, bytes(9), (bytes(9),) * 999, None, 4, WIDE, 5),
        Order(1, 2, 3, "t", "j", "command", "", b"", (), Command(line=WIDE, stdin=WIDE, folder=WIDE)),
        Order(1, 2, 3, "t", "j", "command", "", b"", (), Command(argv=(WIDE,) * 9, environment={WIDE: WIDE})),
        Outcome(1, 2, 3, "failed", 4, 5, bytes(99), ERROR, bytes(99)),
        End(1, "FAILED", 2, 3, 4, WIDE, 5, bytes(99), ERROR, bytes(99), WIDE),  # type: ignore[arg-type]
        Progress(1, 2, 3.0, 4.0, WIDE),
    ],
)
def test_every_text_and_all_bytes_count(item: Any) -> None:
    assert SIZED[type(item)](item) >= len(data.pack_record(item))


@given(st.lists(TEXT, min_size=1), st.integers(0, 3))
def test_an_error_counts_with_all_its_texts(texts: list[str], bases: int) -> None:
    error = ErrorInfo(texts[0], tuple(texts) * bases, texts[-1], "".join(texts))
    outcome = Outcome(1, 2, 3, "failed", 4, 5, error=error)
    assert outcome_size(outcome) >= len(data.pack_record(outcome))
