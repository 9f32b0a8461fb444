"""The plan of a demo: when it opens, dies and closes, and which slots it owes. Known before the scheduler is started.

The slots are computed here by plain arithmetic, not asked of the scheduler, so that the verdict has something to hold the
scheduler against.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from footprint import MICROSECONDS

FILE: Final = "plan.json"
STORE: Final = "jobs.db"
WAREHOUSE: Final = "warehouse.db"
ORDERS: Final = Path(__file__).resolve().parent / "orders"

DELIVERIES: Final = 4
SHOPS: Final = ("berlin", "london", "oslo")
TICK_S: Final = 0.05
PULSE_S: Final = 0.5
LABEL_S: Final = 1.0
INTO_DELIVERY_S: Final = 0.35
"""How long after a delivery begins the kill comes: its rates have not arrived, and a label is being printed."""

CHAIN: Final = ("deliver", *(f"extract_{shop}" for shop in SHOPS), "clean", "load", "report")


@dataclass(frozen=True)
class Rhythm:
    """The slots of a job: `first`, then one each `period` up to `last` (microseconds UTC)."""

    job: str
    first: int
    period: int
    last: int

    def slots(self) -> range:
        """All slots, in order."""
        return range(self.first, self.last + 1, self.period)


@dataclass(frozen=True)
class Plan:
    """The instants of a demo, in microseconds UTC. `seconds` is its length from `opening` to `closing`, an even number."""

    opening: int
    seconds: int

    @property
    def closing(self) -> int:
        """The last instant that may be a slot."""
        return self.opening + self.seconds * MICROSECONDS

    @property
    def delivery_us(self) -> int:
        """The time between two deliveries."""
        return self.seconds * MICROSECONDS // DELIVERIES

    @property
    def kill(self) -> int:
        """When the leader is killed: half-way, in the middle of a delivery."""
        return self.opening + DELIVERIES // 2 * self.delivery_us + int(INTO_DELIVERY_S * MICROSECONDS)

    def delivery(self, slot: int) -> int:
        """The number of the delivery that a slot stands for, from 1."""
        return (slot - self.opening) // self.delivery_us + 1

    def rhythms(self) -> list[Rhythm]:
        """The slots of all jobs in Python that have a trigger or follow one."""
        found = [
            Rhythm(job, self.opening, int(period * MICROSECONDS), self.closing)
            for job, period in (("tick", TICK_S), ("pulse", PULSE_S), ("print_label", LABEL_S))
        ]
        last = self.opening + (DELIVERIES - 1) * self.delivery_us
        found += [Rhythm(job, self.opening, self.delivery_us, last) for job in (*CHAIN, "fetch_rates")]
        return found

    def write(self, folder: Path) -> None:
        """Put the plan where the scheduler's program finds it."""
        (folder / FILE).write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Read the plan of a folder."""
        return cls(**json.loads((folder / FILE).read_text()))
