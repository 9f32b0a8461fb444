"""Constants of modules, drawn from extremes: what holds for batches of 256 must hold for batches of 1."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from types import ModuleType
from typing import Final
from unittest.mock import patch

ACTORS: Final = "callsheet.actors."
EXTREMES: Final[dict[str, tuple[int, ...]]] = {
    "DUE_BATCH": (1, 2),
    "MAX_UNDECIDED": (1, 2),
    "HORIZON_US": (2_000_000, 10_000_000),
    "ITEMS_A_MESSAGE": (1, 3),
    "FENCES_A_MESSAGE": (1, 2),
    "MADE_A_MESSAGE": (1, 2),
    "SETTLED_STEP": (1, 3),
    "GROUP_WRITES": (1, 3),
    "BYTES_AT_ONCE": (1, 600),
    "AHEAD_US": (0, 3_000_000),
    "KNOWN_JOBS": (1, 3),
    "CLOSED_GROUPS": (1, 5),
    "MAX_PAGE": (2, 7),
    "SQUARED_A_TURN": (1, 3),
    "AUDITED_A_TURN": (1, 3),
    "LOOKED_A_TURN": (1, 3),
    "SORTED_A_TURN": (1, 3),
    "SETTLED_A_TURN": (1, 3),
    "PASSED_A_TURN": (1, 3),
    "HELD_A_TURN": (1, 3),
}
OWN: Final[dict[str, tuple[int, ...]]] = {"settle_after": (1, 2, 10_000)}


def draw_constants(random: Random) -> dict[str, int]:
    """About half of all constants, at an extreme."""
    drawn = {name: random.choice(values) for name, values in EXTREMES.items() if random.random() < 0.4}
    drawn.update({name: random.choice(values) for name, values in OWN.items() if random.random() < 0.4})
    return drawn


@contextmanager
def patched(constants: dict[str, int]) -> Iterator[None]:
    """Let the modules have these constants for a while."""
    with ExitStack() as stack:
        for name, value in constants.items():
            for module in _modules_with(name) if name in EXTREMES else ():
                stack.enter_context(patch.object(module, name, value))
        yield


def _modules_with(name: str) -> list[ModuleType]:
    """The modules of the actors that know a constant by this name, wherever they have it from."""
    found = [
        module for path, module in sorted(sys.modules.items()) if path.startswith(ACTORS) and hasattr(module, name)
    ]
    assert found, f"no actor knows {name} any more; mend the list of extremes"
    return found
