"""Bugs planted on purpose are found: else the workload is too weak."""

import pytest

from simulation.command import find_plant
from simulation.plant import PLANTS

BY_INVARIANT = [name for name, plant in PLANTS.items() if plant.found_by != ("determinism",)]


def test_there_are_enough_of_them() -> None:
    assert len(BY_INVARIANT) >= 30


@pytest.mark.parametrize("name", BY_INVARIANT)
def test_a_planted_bug_is_found(name: str) -> None:
    seeds, result = find_plant(name, most_seeds=60)

    assert result is not None, f"{name} was not found by {seeds} seeds"
    assert result.invariant in PLANTS[name].found_by
