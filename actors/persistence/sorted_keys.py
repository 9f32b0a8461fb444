"""Keys in order, kept so while keys come and go: a list of short sorted lists."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Any, Final, Generic, TypeVar

Key = TypeVar("Key", bound=Any)

_BLOCK: Final = 1024
"""Keys in a block at most; one more and it is cut in two."""


class SortedKeys(Generic[Key]):
    """A set of comparable keys that is read in order; each change costs about a microsecond, also among a million."""

    __slots__ = ("_blocks", "_lasts")

    def __init__(self) -> None:
        self._blocks: list[list[Key]] = []
        self._lasts: list[Key] = []

    def add(self, key: Key) -> None:
        """Add a key that is not there yet."""
        if not self._blocks:
            self._blocks.append([key])
            self._lasts.append(key)
            return
        at = min(bisect_left(self._lasts, key), len(self._blocks) - 1)
        block = self._blocks[at]
        insort(block, key)
        if len(block) > _BLOCK:
            self._blocks[at : at + 1] = [block[: _BLOCK // 2], block[_BLOCK // 2 :]]
            self._lasts[at : at + 1] = [block[_BLOCK // 2 - 1], block[-1]]
        else:
            self._lasts[at] = block[-1]

    def remove(self, key: Key) -> None:
        """Remove a key that is there."""
        at = bisect_left(self._lasts, key)
        block = self._blocks[at]
        place = bisect_left(block, key)
        assert block[place] == key, "the key is not there"
        del block[place]
        if block:
            self._lasts[at] = block[-1]
        else:
            del self._blocks[at], self._lasts[at]

    def after(self, key: Key | None) -> Iterator[Key]:
        """The keys greater than `key` in order; all of them for None."""
        first = 0 if key is None else bisect_right(self._lasts, key)
        for index in range(first, len(self._blocks)):
            block = self._blocks[index]
            yield from block if index > first or key is None else block[bisect_right(block, key) :]

    def copy(self) -> SortedKeys[Key]:
        """Another set with the same keys."""
        twin: SortedKeys[Key] = SortedKeys()
        twin._blocks = [block.copy() for block in self._blocks]
        twin._lasts = self._lasts.copy()
        return twin
