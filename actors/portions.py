"""What is said of many things at once, cut into messages that can travel.

What leaves a node is a frame of at most `data.MAX_ENVELOPE_BYTES`, in which no list is longer than `data.LIMITS` says; a message
beyond that is not sent, however often it is tried. So whoever speaks of as many orders, outcomes, ends or fences as there happen
to be says it in portions. Each has room to spare, so that a size need not be exact: it is never less than what is packed.

    AttemptsEnded ─▶ ≤ 256 outcomes, ≤ 1 MiB, or one alone          Recorded, Withdraw … ─▶ ≤ 2,048 fences

One thing alone travels as it is, so each has a limit of its own: results, arguments and logs where they are made, what is handed
to a run by `MAX_HANDED_BYTES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from ..data import LIMITS, MAX_ENVELOPE_BYTES
from .executor.runner import Order, Outcome, Progress
from .records import Command, End, ErrorInfo

ITEMS_A_MESSAGE: Final = 256
"""Orders, outcomes, ends in one message."""

BYTES_A_MESSAGE: Final = MAX_ENVELOPE_BYTES // 16
"""Of these in one message; one that is larger goes alone."""

FENCES_A_MESSAGE: Final = LIMITS["max_array_len"] // 2
"""Numbers, or pairs of them, in one message."""

MAX_HANDED_BYTES: Final = MAX_ENVELOPE_BYTES // 2
"""What the upstreams of one run hand on to it, together: it goes in one order, beside the arguments."""

MAX_HANDED: Final = LIMITS["max_array_len"]
"""How many upstreams may hand something on to one run."""

BYTES_AT_ONCE: Final = MAX_ENVELOPE_BYTES // 2
"""Bytes that are under way to one recipient again, or unanswered, at most: what waits for a peer is limited (`transport`)."""

_FIELDS: Final = 160
"""More than all numbers of an item and the heads of its fields take."""

_HEAD: Final = 5
_CHARACTER: Final = 4

Item = TypeVar("Item")


def portions(items: Sequence[Item], size: Callable[[Item], int]) -> Iterator[tuple[Item, ...]]:
    """Cut items into portions of at most `ITEMS_A_MESSAGE` and `BYTES_A_MESSAGE`, in order; `size` is in bytes.

    One that is larger alone is a portion.
    """
    if len(items) <= ITEMS_A_MESSAGE and sum(map(size, items)) <= BYTES_A_MESSAGE:
        if items:
            yield tuple(items)
        return
    portion: list[Item] = []
    room = BYTES_A_MESSAGE
    for item in items:
        needed = size(item)
        if portion and (needed > room or len(portion) == ITEMS_A_MESSAGE):
            yield tuple(portion)
            portion, room = [], BYTES_A_MESSAGE
        portion.append(item)
        room -= needed
    yield tuple(portion)


def fence_portions(fences: Sequence[Item]) -> Iterator[tuple[Item, ...]]:
    """Cut fences, or pairs of a run and its fence, into portions of at most `FENCES_A_MESSAGE`, in order."""
    for start in range(0, len(fences), FENCES_A_MESSAGE):
        yield tuple(fences[start : start + FENCES_A_MESSAGE])


def first_of(items: Iterable[Item], size: Callable[[Item], int]) -> list[Item]:
    """The first items that have not more than `BYTES_AT_ONCE` together: at least one, where there is any. `size` is in bytes."""
    taken: list[Item] = []
    room = BYTES_AT_ONCE
    for item in items:
        room -= size(item)
        if taken and room < 0:
            break
        taken.append(item)
    return taken


# ---- sizes: bytes when packed, or somewhat more -------------------------------------------------------------------------


def order_size(order: Order) -> int:
    """What an order takes on its way."""
    texts = len(order.tenant) + len(order.job) + len(order.target) + len(order.key)
    size = _FIELDS + _CHARACTER * texts + len(order.arguments)
    if order.handed:
        size += handed_size(order.handed)
    return size if order.command is None else size + command_size(order.command)


def handed_size(handed: Sequence[bytes]) -> int:
    """What upstreams' results take in an order."""
    return sum(map(len, handed)) + _HEAD * len(handed)


def command_size(command: Command) -> int:
    """What a command takes in an order."""
    environment = command.environment
    fixed = (command.line, command.folder, command.stdin)
    return _FIELDS + _texts_size((*fixed, *command.argv, *environment, *environment.values()))


def outcome_size(outcome: Outcome) -> int:
    """What an outcome takes on its way."""
    size = _FIELDS + len(outcome.result) + len(outcome.logs)
    return size if outcome.error is None else size + _error_size(outcome.error)


def end_size(end: End) -> int:
    """What an end takes on its way."""
    size = _FIELDS + len(end.result) + len(end.logs) + _CHARACTER * (len(end.reason) + len(end.node))
    return size if end.error is None else size + _error_size(end.error)


def progress_size(progress: Progress) -> int:
    """What a report of progress takes on its way."""
    return _FIELDS + _CHARACTER * len(progress.text)


def _error_size(error: ErrorInfo) -> int:
    return _texts_size((error.type, error.text, error.traceback, *error.bases))


def _texts_size(texts: Sequence[str]) -> int:
    return _CHARACTER * sum(map(len, texts)) + _HEAD * len(texts)
