"""Health: does this node live, and is it ready for work? Told by events, asked by whoever watches over the process.

    live    its actors and lines live; when not, the process is of no use any more and must be started again
    ready   it also hears a leader, or leads; takes work; when not, starting it again would not help

| state     | live | ready | meaning                                                           |
|-----------|------|-------|-------------------------------------------------------------------|
| ready     | yes  | yes   | it leads, or hears who leads                                      |
| no_leader | yes  | no    | nobody is known to lead: just started, or an election is going on |
| cut_off   | yes  | no    | it hears its leader no more, and starts nothing                   |
| draining  | yes  | no    | it takes no new work, because it stops or was asked to            |
| failed    | no   | no    | an actor, or the lines to other nodes, could not be kept alive    |

Where several are true, the last of them counts. What is told here names no job, so that it may be shown to anybody.
"""

from __future__ import annotations

from threading import Lock
from typing import Any, Literal

from msgspec import Struct

from .actors.messages import ContactChanged, DrainChanged, LeaderChanged

HealthState = Literal["ready", "no_leader", "cut_off", "draining", "failed"]
Role = Literal["leader", "follower", "worker"]
"""`follower`: may lead, and does not. `worker`: runs jobs and never leads."""


class Health(Struct, frozen=True):
    """How a node does; `reason` is its state, and `epoch` the highest it has heard of, 0 when none."""

    live: bool
    ready: bool
    reason: HealthState
    node: str
    role: Role
    epoch: int


class NodeHealth:
    """Gathers how a node does. All methods may be called from any thread.

    Args:
        node: its name.
        candidate: whether it may lead.
    """

    def __init__(self, node: str, *, candidate: bool = True) -> None:
        self._node = node
        self._candidate = candidate
        self._lock = Lock()
        self._epoch = 0
        self._leader = ""
        self._leads = False
        self._cut_off = False
        self._draining = False
        self._failed = False

    def on_event(self, event: Any) -> None:
        """Take an event of the node; those that say nothing of its health are passed over."""
        with self._lock:
            match event:
                case LeaderChanged():
                    self._epoch = max(self._epoch, event.epoch)
                    self._leader, self._leads = event.node, event.own
                case ContactChanged():
                    self._cut_off = event.is_cut_off
                case DrainChanged():
                    self._draining = event.is_draining

    def drain(self, *, on: bool = True) -> None:
        """Note that the node takes no new work, or takes some again."""
        with self._lock:
            self._draining = on

    def fail(self) -> None:
        """Note that an actor, or the lines, were given up, for good."""
        with self._lock:
            self._failed = True

    def report(self) -> Health:
        """Say how the node does now. Quick: nobody is asked."""
        with self._lock:
            state = self._state()
            return Health(
                live=state != "failed",
                ready=state == "ready",
                reason=state,
                node=self._node,
                role=self._role(),
                epoch=self._epoch,
            )

    def _state(self) -> HealthState:
        if self._failed:
            return "failed"
        if self._draining:
            return "draining"
        if self._cut_off:
            return "cut_off"
        return "ready" if self._leader else "no_leader"

    def _role(self) -> Role:
        if self._leads:
            return "leader"
        return "follower" if self._candidate else "worker"
