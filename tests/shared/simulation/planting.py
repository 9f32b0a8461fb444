"""How a bug is planted: see `simulation.plant` for those of any world, `simulation.cluster_plant` for those of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from msgspec import Struct


class Plant(Struct, frozen=True):
    """A bug: how it is planted, which invariants may find it, and under which options it shows soon."""

    name: str
    make: Callable[[], Any]
    found_by: tuple[str, ...]
    where: str = ""


def replaced(owner: Any, name: str, wrap: Callable[[Any], Any]) -> Callable[[], Any]:
    """Patch a method by one that is made from it."""
    return lambda: patch.object(owner, name, wrap(getattr(owner, name)))
