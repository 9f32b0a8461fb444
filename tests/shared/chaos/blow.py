"""The blows: a leader is killed, frozen, or cut off from the others.

kill     SIGKILL; a new node of the same name is started in its place a moment later
freeze   SIGSTOP, and SIGCONT after a while; shorter than the others' patience, or much longer
cut      the leader lives, and reaches the store and its clients, but neither hears nor reaches the other nodes
"""

from __future__ import annotations

import random
import signal
import time
from typing import Final, Literal

from msgspec import Struct

from chaos.cluster import PATIENCE_S, ChaosFailed, Cluster, Process
from chaos.trace import steady_us, utc_us

Kind = Literal["kill", "freeze", "cut"]

REPLACED_AFTER_S: Final = 0.5
"""From a kill to the start of another node in its place, as who watches over processes would do it."""
SHORTEST_FREEZE_S, LONGEST_FREEZE_S = 0.2, 10.0
CUT_S: Final = 4.0
LOOK_CLOSELY_S: Final = 0.0005
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.3, 0.9
"""Between a cluster that is whole again and the next blow."""


class Blow(Struct):
    """What was done to which process. Instants are microseconds, of the steady clock but for `at_us` (UTC).

    `begun_us` is just before the signal was sent. From `at_us` on the process did nothing any more (kill, freeze), or
    reached nobody (cut). `mended_us` is when a freeze or cut was over, 0 for a kill. `died` says that a frozen process was
    ended by another node (see docs/reliability.md). `before` and `after` are the epochs.
    """

    kind: Kind
    node: str
    process: int
    begun_us: int
    at_us: int
    length_s: float = 0.0
    silent: bool = False
    mended_us: int = 0
    died: bool = False
    before: int = 0
    after: int = 0

    @property
    def moved(self) -> bool:
        """Whether somebody else led afterwards."""
        return self.after > self.before


class Fate:
    """Deals the blows, by chance of a seed.

    Args:
        longest_freeze_s: how long the longest freeze is.
    """

    def __init__(self, cluster: Cluster, chance: random.Random, longest_freeze_s: float = LONGEST_FREEZE_S) -> None:
        self._cluster = cluster
        self._chance = chance
        self._longest_freeze_s = longest_freeze_s

    def strike(self, kind: Kind) -> Blow:
        """Strike the leader, and wait until the cluster is whole again.

        Raises:
            ChaosFailed: it does not become whole.
        """
        time.sleep(self._chance.uniform(SHORTEST_PAUSE_S, LONGEST_PAUSE_S))
        name, epoch = self._cluster.lease()
        process = self._cluster.nodes[name]
        blow = Blow(kind, name, process.number, steady_us(), 0, before=epoch)
        {"kill": self._kill, "freeze": self._freeze, "cut": self._cut}[kind](process, blow)
        self._cluster.wait_until_whole()
        blow.after = self._cluster.lease()[1]
        return blow

    def _kill(self, process: Process, blow: Blow) -> None:
        process.end(signal.SIGKILL)
        blow.at_us = utc_us()
        time.sleep(REPLACED_AFTER_S)
        self._cluster.start_node(blow.node)

    def _freeze(self, process: Process, blow: Blow) -> None:
        blow.length_s = SHORTEST_FREEZE_S * (self._longest_freeze_s / SHORTEST_FREEZE_S) ** self._chance.random()
        process.send(signal.SIGSTOP)
        _wait_until_stopped(process)
        blow.at_us = utc_us()
        time.sleep(blow.length_s)
        process.send(signal.SIGCONT)
        blow.mended_us = steady_us()
        time.sleep(REPLACED_AFTER_S)
        if not process.lives:
            blow.died = True
            process.close()
            self._cluster.start_node(blow.node)

    def _cut(self, process: Process, blow: Blow) -> None:
        links = self._cluster.links
        assert links is not None, "this cluster's links cannot be cut"
        blow.silent = self._chance.random() < 0.5
        blow.length_s = CUT_S
        links.cut(process.name, silent=blow.silent)
        blow.at_us = utc_us()
        time.sleep(blow.length_s)
        links.mend(process.name)
        blow.mended_us = steady_us()


def _wait_until_stopped(process: Process) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while process.lives and not process.is_stopped:
        if time.monotonic() > deadline:
            raise ChaosFailed(f"{process.name} was not stopped by SIGSTOP within {PATIENCE_S:g} s")
        time.sleep(LOOK_CLOSELY_S)
