"""Bugs in what is gone by and by when, planted on purpose: deadlines, other upstreams, removed jobs. See `simulation.plant`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from callsheet.actors.coordinator import reign
from callsheet.actors.coordinator.book import Live
from callsheet.actors.dependencies import dependencies
from callsheet.actors.dependencies.workflow import Workflows
from callsheet.actors.registry import definition
from simulation.planting import Plant, replaced
from simulation.virtual import MILLION

DEADLINES: Final = "faults=,faulty_s=30,constants=no"
LINKS: Final = "faults=actor+kill,actions=submit+trigger+relink+uproot,faulty_s=30,clients=3"
CALM: Final = "faults=,actions=relink+uproot+reschedule,faulty_s=30,clients=4,constants=no"


def _without_looks(what: str) -> Any:
    """Look again at no run for this."""

    def wrap(look: Any) -> Any:
        def planted(self: Any, at: int, why: str, live: Live) -> None:
            if why != what:
                look(self, at, why, live)

        return planted

    return wrap


def _never_late(self: Live, now: int) -> bool:
    return False


@contextmanager
def _deadline_forgotten() -> Iterator[None]:
    """The deadline for all attempts counts for nothing."""
    with (
        patch.object(reign.Reign, "look", _without_looks("run_deadline")(reign.Reign.look)),
        patch.object(Live, "is_late", _never_late),
    ):
        yield


def _expired_early(end_late: Any) -> Any:
    def planted(self: Any, live: Live, now: int) -> bool:
        by = live.job.run_deadline_us
        is_soon = by is not None and now >= live.run.created_at + by - 5 * MILLION
        if is_soon and live.fence == 0 and live.waits:
            self.end_late(live, now)
            return True
        return bool(end_late(self, live, now))

    return planted


def _known_once(link: Any) -> Any:
    """Go by the first definition of a job that was heard."""

    def planted(self: Any, records: Any) -> None:
        link(self, [record for record in records if self.find(*record.job.key) is None])

    return planted


_ALL: Final = (
    Plant("deadline_forgotten", _deadline_forgotten, ("25",), DEADLINES),
    Plant(
        "start_deadline_unseen",
        replaced(reign.Reign, "look", _without_looks("start_deadline")),
        ("25",),
        DEADLINES,
    ),
    Plant(
        "wait_deadline_unseen",
        lambda: patch.object(dependencies.Dependencies, "_on_deadline", lambda self, turn: None),
        ("25",),
        CALM,
    ),
    Plant("expired_early", replaced(reign.Reign, "_is_over", _expired_early), ("25",), DEADLINES),
    Plant("links_known_once", replaced(Workflows, "link", _known_once), ("24",), LINKS),
    Plant("cycles_taken", lambda: patch.object(definition, "find_cycle", lambda edges, start: []), ("24",), LINKS),
    Plant(
        "removal_unheard",
        lambda: patch.object(dependencies.Dependencies, "_miss", lambda self, upstream, turn, *, is_gone: None),
        ("26",),
        CALM,
    ),
)
WORD_PLANTS: Final = {plant.name: plant for plant in _ALL}
