"""A simulated node: the real actors of one process, each on a stage with a mailbox, in virtual time.

    Node    a name on a machine; it lives, dies and lives again
    Life    one process: stages, mailboxes, timers, a runner, a store's port. When it dies nothing of it acts any more

A stage takes one envelope or alarm at a time; handling it takes a moment, during which others gather in the mailbox. A turn of
persistence takes as long as the store took, and what it says leaves when that is over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from callsheet.actors.actor import COORDINATOR, EXECUTOR, METRICS, PERSISTENCE, Address
from callsheet.actors.executor.runner import Reported
from callsheet.actors.messages import (
    Envelope,
    NodeStopped,
    PeerRestarted,
    PeersForgotten,
    PeersKnown,
    RunnerReported,
    Started,
)
from callsheet.actors.persistence.absent import AbsentStore
from callsheet.actors.persistence.faulty import Crash, FaultyStore
from callsheet.actors.persistence.store import Lease, Write
from callsheet.actors.stage import Limits, Stage, can_wait
from callsheet.node import NodeOptions, factories
from simulation.disk import DiskStore
from simulation.runner import SimulatedRunner
from simulation.surroundings import Surroundings
from simulation.virtual import Interruption

if TYPE_CHECKING:
    from simulation.machine import Machine
    from simulation.referee import Referee
    from simulation.world import World

_CRASH: Final = object()
_RING: Final = object()
_Item = Envelope | object


class Watch:
    """Lets the referee look on when one process writes to the store."""

    def __init__(self, referee: Referee, life: Life) -> None:
        self._referee = referee
        self._life = life

    def on_commit(self, writes: tuple[Write, ...], epoch: int) -> Callable[[], None]:
        """Pass on that a batch is about to be written."""
        return self._referee.on_commit(self._life, writes, epoch)

    def on_take_over(self, seen: Lease | None, found: Lease | None, taken: Lease | None) -> None:
        """Pass on that the lease was to be taken over."""
        self._referee.leadership.on_take_over(self._life, seen, found, taken)


class Node:
    """A name under which one process at a time lives."""

    def __init__(self, world: World, name: str, machine: Machine, places: dict[str, int]) -> None:
        self._world = world
        self.name = name
        self.machine = machine
        self.places = places
        self.works_only = name.startswith("w")
        self.is_rolled = "roll" in world.options.faults
        self.lag_us = 0
        self.lives = 0
        self.life: Life | None = None

    def start(self) -> None:
        """Begin a life, unless it lives."""
        if self.life is None:
            self.lives += 1
            life = self.life = Life(self._world, self, f"{self.name}-{self.lives}")
            self._world.on_birth(life)
            life.begin()

    def kill(self, cause: str = "commit", rest_us: int | None = None) -> bool:
        """End the life at once, and begin another after a rest; answers False if there was none."""
        life, self.life = self.life, None
        if life is None:
            return False
        life.die()
        self._world.on_death(life, cause, rest_us)
        return True


class Life:
    """A process with its actors."""

    def __init__(self, world: World, node: Node, incarnation: str) -> None:
        self._world = world
        self.node = node
        self.holder = f"{node.name}/{incarnation}"
        self.born_at = world.time.now
        self._random = world.hosts
        self.incarnation = incarnation
        self.alive = True
        self.time = node.machine.clocks
        self.limits = Limits(
            mailbox=world.constant("mailbox", 10_000),
            settle_after=world.constant("settle_after", 64),
            restarts=1_000,
        )
        self.started = Started(node.name, incarnation)
        self.transport = world.network.transport(node.name)
        self.runner = SimulatedRunner(Surroundings(world, self), incarnation)
        self._port = DiskStore(
            world.disk,
            lambda: world.faults.store_takes(node.name),
            Watch(world.referee, self),
            owner=self,
            is_dead=world.is_surely_dead,
            many_hosts=world.options.apart,
        )
        store = AbsentStore() if node.works_only else self._port
        self._store = FaultyStore(store, lambda step: world.faults.store_fault(node.name, step))
        self._wake = 0
        self._rung: set[Address] = set()
        self._mail: dict[Address, deque[_Item]] = {}
        self._waiting: dict[Address, deque[Envelope]] = {}
        self._due: set[Address] = set()
        self._free_at: dict[Address, int] = {}
        self._held_until = 0
        self.heard: dict[str, int] = {}
        self.silent_until: dict[str, int] = {}
        self.stages: dict[Address, Stage] = {}
        self.actors: dict[Address, Any] = {}

    # ---- birth and death ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """As a node starts: the store, the runner, the actors, and `Started` for each."""
        self._store.open()
        self.runner.open(self._report_outcomes)
        options = NodeOptions(name=self.node.name, worker_only=self.node.works_only)
        for name, factory in factories(self._store, self.runner, options).items():
            build = self._keeping(name, factory)
            self.stages[name] = Stage(self, name, build(), build)
            self._mail[name] = deque()
            self._waiting[name] = deque()
        for name in self.stages:
            self._post(name, Envelope(name, name, 0, (self.started,)))
            self.transport.attach(name, self._acceptor(name))

    def _keeping(self, name: Address, factory: Callable[[], Any]) -> Callable[[], Any]:
        def build() -> Any:
            self.actors[name] = factory()
            return self.actors[name]

        return build

    def die(self) -> None:
        """Nothing of this life acts any more."""
        self.alive = False
        self.transport.close()
        self.runner.die()

    def tell(self, envelope: Envelope) -> None:
        """Put an envelope into a mailbox of this process, as the program around it does."""
        self._post(envelope.recipient, envelope)

    def hold(self, until: int) -> None:
        """The process stands still until then. What it does at a store's server goes on; what it does with a file does not."""
        if not self._world.options.apart:
            self._world.disk.stand_still(self, until)
        self._held_until = max(self._held_until, until)
        self._world.calm.disturb(until - self._world.time.now)

    @property
    def held_until(self) -> int:
        """Until when the process stands still, 0 if it does not."""
        return self._held_until if self._held_until > self._world.time.now else 0

    def fail_actor(self, name: Address) -> None:
        """Let one actor fail."""
        self._post(name, _CRASH)

    # ---- mailboxes ------------------------------------------------------------------------------------------------------

    def mail(self) -> dict[Address, int]:
        """How much waits in each mailbox."""
        return {name: len(items) + len(self._waiting[name]) for name, items in self._mail.items()}

    def empty(self, name: Address) -> None:
        """Let an actor take all that waits in its mailbox, now."""
        while self._mail[name] and not self.held_until:
            self._turn(name)

    def _acceptor(self, name: Address) -> Callable[[Envelope], bool]:
        def accept(envelope: Envelope) -> bool:
            if len(self._mail[name]) + len(self._waiting[name]) >= self.limits.mailbox or self._world.faults.is_full(
                self.node.name, name
            ):
                return False
            if name == PERSISTENCE:
                self._world.referee.on_saves(self, envelope)
            elif name == COORDINATOR and "@" in envelope.sender:
                self._world.referee.leadership.on_heard(self, envelope.sender.partition("@")[2])
            if can_wait(envelope):
                self._waiting[name].append(envelope)
            else:
                self._post(name, envelope)
            return True

        return accept

    def _post(self, name: Address, item: _Item) -> None:
        self._mail[name].append(item)
        self._plan_turn(name)

    def _plan_turn(self, name: Address) -> None:
        if name in self._due:
            return
        self._due.add(name)
        moment = self._world.time.now + 1 + self._random.randrange(40) + self.node.lag_us
        self._world.time.call_at(max(moment, self._free_at.get(name, 0)), lambda: self._turn(name))

    def _turn(self, name: Address) -> None:
        if not self.alive:
            return
        if self._held_until > self._world.time.now:
            self._world.time.call_at(self._held_until, lambda: self._turn(name))
            return
        self._due.discard(name)
        mailbox, stage = self._mail[name], self.stages[name]
        item = mailbox.popleft()
        try:
            if isinstance(item, Envelope):
                stage.open(item)
            elif item is _RING:
                self._rung.discard(name)
                while self._waiting[name]:
                    stage.open(self._waiting[name].popleft())
                stage.ring()
            else:
                stage.crash()
            stage.rest(lambda: not mailbox)
        except Crash:
            self.node.kill()
            return
        if name == PERSISTENCE:
            self._free_at[name] = self._world.time.now + self._port.slow_us
            self._port.slow_us = 0
        if mailbox:
            self._plan_turn(name)
        self._look_at_timers_of(name)

    # ---- what stages ask of their host ----------------------------------------------------------------------------------

    def attempt(self, call: Callable[..., object], *arguments: Any) -> BaseException | None:
        """Call what may raise; the death of the process and the referee's whistle are no actor's affair."""
        try:
            call(*arguments)
        except (Interruption, Crash, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - as the host does
            return error
        return None

    def send(self, envelope: Envelope) -> None:
        """Let an envelope leave; what persistence says leaves when the store is done."""
        wait_us = self._port.slow_us if envelope.sender.partition("@")[0] == PERSISTENCE else 0
        if wait_us:
            self._world.time.call_in(wait_us, lambda: self._leave(envelope))
        else:
            self._leave(envelope)

    def _leave(self, envelope: Envelope) -> None:
        if self._held_until > self._world.time.now:
            self._world.time.call_at(self._held_until, lambda: self._leave(envelope))
        elif self.alive:
            self.transport.send(envelope)

    def report(self, address: Address, event: Any) -> None:
        """Hand an event to metrics, as a node does, and to the referee."""
        self._world.referee.on_event(self, address, event)
        if METRICS in self._mail and not isinstance(event, PeersKnown | PeersForgotten | NodeStopped):
            self._post(METRICS, Envelope("", METRICS, 0, (event,)))

    def count_drop(self, reason: str) -> None:
        """Note a dropped envelope."""
        self._world.count(f"dropped {reason}")

    def restarted(self, name: Address) -> None:
        """Tell the coordinator that an actor was made anew."""
        if name != COORDINATOR:
            self._post(COORDINATOR, Envelope(name, COORDINATOR, 0, (PeerRestarted(name),)))

    def gave_up(self, name: Address, reason: str) -> None:
        """An actor cannot be kept alive."""
        self._world.referee.fail("0", f"{name} was given up: {reason}")

    def _report_outcomes(self, reports: Sequence[Reported]) -> None:
        if self.alive:
            self._post(EXECUTOR, Envelope("", EXECUTOR, 0, (RunnerReported(tuple(reports)),)))

    # ---- timers ---------------------------------------------------------------------------------------------------------

    def look_at_timers(self) -> None:
        """Wake when the next timer is due; a clock that jumps meanwhile is noticed by the host's poll."""
        for name in self.stages:
            self._look_at_timers_of(name)

    def _look_at_timers_of(self, name: Address) -> None:
        wait_us = self._wait_us(name)
        if wait_us is None:
            return
        at = self._world.time.now + max(wait_us, 1)
        if at < self._wake or self._wake <= self._world.time.now:
            self._wake = at
            self._world.time.call_at(at, lambda: self._ring(at))

    def _wait_us(self, name: Address) -> int | None:
        timers = self.stages[name].timers
        return timers.wait_us(self.time.now(), self.time.elapsed()) if timers and name not in self._rung else None

    def _ring(self, at: int) -> None:
        if not self.alive or self._wake != at:
            return
        if self._held_until > self._world.time.now:
            self._wake = self._held_until
            self._world.time.call_at(self._wake, lambda: self._ring(self._wake))
            return
        for name in self.stages:
            if self._wait_us(name) == 0:
                self._rung.add(name)
                self._post(name, _RING)
        self.look_at_timers()
