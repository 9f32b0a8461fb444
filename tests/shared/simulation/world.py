"""A world: one node on one disk, its clients, its faults, and a referee; all of it follows from the options.

    begin      clients declare their jobs, and then act; faults strike by their own calendars
    heal       all faults end, a node that is down comes up
    quiet      clients ask nothing new, paused jobs go on; what waits can come to its end
    end        the final judgement

There is one queue of events. Nothing reads a real clock or draws from a source that the seed does not give.
"""

from __future__ import annotations

import zlib
from collections import Counter
from functools import partial
from typing import Any, Final

from callsheet.actors.messages import Accepted, Submit, SubmitItem
from callsheet.actors.records import Job
from callsheet.transport.contract import Envelope
from callsheet.transport.simulated import SimulatedNetwork, SimulatedTransport
from simulation.client import OUTSIDE, Client
from simulation.constant import draw_constants, patched
from simulation.disk import Disk
from simulation.fault import FaultPlan
from simulation.final import Final as FinalJudgement
from simulation.node import Life, Node
from simulation.option import Options
from simulation.promise import Promises
from simulation.referee import Referee
from simulation.slots import Slots
from simulation.trace import Trace
from simulation.virtual import MILLION, Clocks, Timeline, stream
from simulation.workload import Nature, Work, Workload

BASE: Final = 1_774_656_000 * MILLION
"""2026-03-28 00:00 UTC, about."""

MOST_EVENTS: Final = 400_000
PROBE: Final = "probe"
QUIET_S: Final = 25


class _Network(SimulatedNetwork):
    """Tells the trace's digest what is carried; what was sent within a process dies with it."""

    def __init__(self, world: World) -> None:
        has_local = "local" in world.options.faults
        super().__init__(world.time, stream(world.seed, "network"), local_faults=has_local)
        self._world = world

    def carry(self, origin: SimulatedTransport, envelope: Envelope, frame: bytes) -> None:
        world = self._world
        world.digest = zlib.crc32(frame, zlib.crc32(b"%d" % world.time.now, world.digest))
        world.carried += 1
        if world.tell is not None:
            world.tell(envelope)
        super().carry(origin, envelope, frame)

    def _arrive(
        self, origin: SimulatedTransport, line: tuple[str, str], recipient: str, frame: bytes, *, is_full: bool
    ) -> None:
        if line[0] == line[1] and origin is not self._transports.get(line[0]):
            self._in_flight -= 1
            return
        super()._arrive(origin, line, recipient, frame, is_full=is_full)


class World:
    """One simulation."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.seed = options.seed
        self.time = Timeline()
        random = stream(self.seed, "world")
        drift = random.choice((-300, 0, 200)) if "clock" in options.faults else 0
        self.clocks = Clocks(self.time, BASE + random.randrange(86_400 * MILLION), drift_ppm=drift)
        self.hosts = stream(self.seed, "hosts")
        self.places = {"thread": random.choice((1, 2, 4, 8))}
        self.counts: Counter[str] = Counter()
        self.digest = 0
        self.carried = 0
        self.tell: Any = None
        self.boots: dict[str, tuple[int, int]] = {}
        self.settled_jobs: set[int] = set()
        self.maybe_removed: set[tuple[str, str]] = set()
        self.last_words: dict[tuple[str, str], int] = {}
        self.is_healing = False
        self.healed_at = 0
        self.restart_in: int | None = None
        self._constants = draw_constants(stream(self.seed, "constants")) if options.constants else {}
        self.disk = Disk(self.time, durable=options.durable)
        self.network = _Network(self)
        self.outside = self.network.transport(OUTSIDE)
        self.referee = Referee(self)
        self.promises = Promises(self)
        self.trace = Trace(self)
        self.slots = Slots(self)
        self.node = Node(self, "n1")
        self.faults = FaultPlan(self)
        self.workload = Workload(self)
        self.clients = [Client(self, number) for number in range(options.clients)]
        self._deaths = {name: stream(self.seed, "faults", name, "restart") for name in ("kill", "power", "commit")}
        self._cause = "commit"
        self.probes: list[tuple[int, int]] = []

    # ---- the way of a world ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Live through it.

        Raises:
            Violation: an invariant does not hold.
        """
        options = self.options
        heal_at = options.faulty_s * MILLION
        end_at = heal_at + options.healed_s * MILLION
        with patched(self._constants):
            self.start_node()
            self.clients[0].declare([self._probe(), *self.workload.works], self._declare_known)
            self.faults.begin(heal_at)
            for client in self.clients:
                client.begin(end_at - QUIET_S * MILLION)
            self.time.call_at(heal_at, self._heal)
            self.time.call_at(end_at - QUIET_S * MILLION, self._go_quiet)
            until = options.until_s * MILLION or end_at
            if not self.time.run(until, most_events=MOST_EVENTS):
                self.referee.fail("16", f"more than {MOST_EVENTS:,} events: something goes round in circles")
            if until >= end_at:
                FinalJudgement(self).judge()

    def _probe(self) -> Work:
        job = Job(tenant=PROBE, name=PROBE, target=PROBE, executor="command", priority=100, overlap="allow_all")
        work = Work(-1, job, Nature(10, 100, 0.0, 0.0, 0.0, 0.0))
        self.workload.add(work)
        return work

    def _declare_known(self) -> None:
        """What was refused as a whole, or not answered, is declared one by one."""
        for work in self.workload.all():
            if work.number not in self.settled_jobs:
                self.clients[0].declare([work])

    def start_node(self) -> None:
        """Begin a life."""
        self.node.start()
        if self.node.life is not None:
            self.boots[self.node.life.incarnation] = (self.disk.boot, 0)

    def _heal(self) -> None:
        self.is_healing = True
        self.healed_at = self.time.now
        self.faults.heal()
        if self.node.life is None:
            self.start_node()
        else:
            self.node.life.look_at_timers()
        self.time.call_in(4 * MILLION, self._declare_missing)
        self.time.call_in(5 * MILLION, partial(self._send_probe, 0))

    def _declare_missing(self) -> None:
        """Declare anew what became known late, and what the disk lost."""
        for work in self.workload.all():
            client = self.clients[max(0, work.number) % len(self.clients)]
            if (work.nature.known_at or work.key not in self.disk.tables.jobs) and client.is_free(work):
                client.declare([work])

    def healed_for(self) -> int:
        """How long the world is a good one already."""
        return self.time.now - self.healed_at if self.is_healing else 0

    def _go_quiet(self) -> None:
        for client in self.clients:
            client.is_quiet = True
        self._resume_all()
        self.time.call_in(5 * MILLION, self._resume_all)

    def _resume_all(self) -> None:
        for client in self.clients:
            client.resume_all()

    def _send_probe(self, number: int) -> None:
        asked_at = self.time.now

        def accepted(message: Accepted) -> None:
            self.probes.append((asked_at, message.run_ids[0]))
            self.clients[0].runs.pop(message.run_ids[0], None)  # nobody cancels it

        client = self.clients[0]
        client.ask_submit(Submit(client.key(), PROBE, (SubmitItem(PROBE),)), accepted)
        if not client.is_quiet:
            self.time.call_in(5 * MILLION, partial(self._send_probe, number + 1))

    # ---- deaths ---------------------------------------------------------------------------------------------------------

    def kill(self, cause: str) -> None:
        """End the node's life; it begins another, at once or later."""
        self._cause = cause
        self.node.kill(power=cause == "power")
        self._cause = "commit"

    def on_death(self, life: Life, *, power: bool) -> None:
        """A process has died: what its disk keeps, and when it comes again."""
        self.count("deaths")
        if power:
            lost = self.disk.lose_power(self.faults.luck)
            if lost:
                self.count("commits lost to power", len(lost))
                self.promises.forgive(lost)
        else:
            self.disk.die(self.faults.luck)
        self.referee.forget_saves()
        self.referee.forget_spans()
        self.promises.check()
        random = self._deaths[self._cause]
        wait_us = int(random.choice((0.0, 0.1, 3.0, 12.0)) * MILLION * random.random())
        if self.restart_in is not None:
            wait_us, self.restart_in = self.restart_in, None
        self.time.call_in(wait_us + 1, self.start_node)

    def held_until(self) -> int:
        """Until when the node stands still, 0 if it does not."""
        return self.node.life.held_until if self.node.life is not None else 0

    # ---- what all parts ask ---------------------------------------------------------------------------------------------

    def count(self, what: str, number: int = 1) -> None:
        """Note that something happened."""
        self.counts[what] += number

    def constant(self, name: str, usual: int) -> int:
        """A constant that is no module's: drawn from extremes in some worlds."""
        return self._constants.get(name, usual)

    def definition(self, run_id: int) -> Job | None:
        """The definition that a run was made by."""
        run = self.disk.tables.runs.get(run_id)
        return None if run is None else self.disk.tables.definitions.get((run.tenant, run.job, run.version))
