"""A world: nodes on a disk, their clients, their faults, and a referee; all of it follows from the options.

    begin      clients declare their jobs, and then act; faults strike by their own calendars
    heal       all faults end, nodes that are down come up
    quiet      clients ask nothing new, paused jobs go on; what waits can come to its end
    end        the final judgement

There is one queue of events. Nothing reads a real clock or draws from a source that the seed does not give.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from random import Random
from typing import Any, Final

from callsheet.actors.messages import Accepted, Submit, SubmitItem
from callsheet.actors.records import Command, Job
from simulation.calm import Calm
from simulation.client import OUTSIDE, Client
from simulation.constant import draw_constants, patched
from simulation.deadline import Deadlines
from simulation.disk import Disk
from simulation.fault import FaultPlan
from simulation.final import Final as FinalJudgement
from simulation.machine import Born, Machine, draw_machines
from simulation.network import Network, Peers
from simulation.node import Life, Node
from simulation.option import Options
from simulation.parting import Partings
from simulation.promise import Promises
from simulation.referee import Referee
from simulation.slots import Slots
from simulation.trace import Trace
from simulation.virtual import MILLION, Timeline, stream
from simulation.word import Words
from simulation.workload import Nature, Work, Workload

BASE: Final = 1_774_656_000 * MILLION
"""2026-03-28 00:00 UTC."""
CHANGES: Final = (1_774_746_000 * MILLION, 1_792_890_000 * MILLION)
"""2026-03-29 and 2026-10-25, 01:00 UTC: in Berlin the clock skips an hour, and has one twice."""

CAUSES: Final = ("kill", "power", "commit", "stop", "leave", "roll")
"""Why processes die."""
MOST_EVENTS: Final = 400_000
PROBE: Final = "probe"
QUIET_S: Final = 25


class World:
    """One simulation."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.seed = options.seed
        self.time = Timeline()
        random = stream(self.seed, "world")
        self.machines = draw_machines(self, random, self._draw_base(random))
        self.hosts = stream(self.seed, "hosts")
        places = random.choice((1, 2, 4, 8))
        self.counts: Counter[str] = Counter()
        self.digest = 0
        self.carried = 0
        self.tell: Any = None
        self.born: dict[str, Born] = {}
        self.settled_jobs: set[int] = set()
        self.maybe_removed: set[tuple[str, str]] = set()
        self.last_words: dict[tuple[str, str], int] = {}
        self.is_healing = False
        self.stirred_at = 0
        self.healed_at = 0
        self._constants = draw_constants(stream(self.seed, "constants")) if options.constants else {}
        self.disk = Disk(self.time, durable=options.durable)
        self.calm = Calm(self)
        self.network = Network(self)
        self.peers = Peers(self)
        self.outside = self.network.transport(OUTSIDE)
        self.referee = Referee(self)
        self.promises = Promises(self)
        self.words = Words(self)
        self.deadlines = Deadlines(self)
        self.partings = Partings(self)
        self.trace = Trace(self)
        self.slots = Slots(self)
        self.nodes = self._draw_nodes(places)
        self.faults = FaultPlan(self)
        self.workload = Workload(self)
        self.clients = [Client(self, number) for number in range(options.clients)]
        self._deaths = {name: stream(self.seed, "faults", name, "restart") for name in CAUSES}
        self.probes: list[tuple[int, int]] = []

    def _draw_base(self, random: Random) -> int:
        """When the world begins: on some day in spring, or a moment before the clocks change."""
        somewhen = BASE + random.randrange(86_400 * MILLION)
        season = stream(self.seed, "season")
        change, part = season.choice(CHANGES), season.random()
        is_near = season.random() < 0.2
        return change - int(part * self.options.faulty_s * MILLION) if is_near else somewhen

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
            for node in self.nodes:
                node.start()
            self.clients[0].declare([self._probe(), *self.workload.works], self._declare_known)
            self.faults.begin(heal_at)
            for client in self.clients:
                client.begin(end_at - QUIET_S * MILLION)
            self.time.call_at(heal_at, self._heal)
            self.time.call_at(end_at - QUIET_S * MILLION, self._go_quiet)
            until = options.until_s * MILLION or end_at
            if not self.time.run(until, most_events=MOST_EVENTS * options.nodes):
                self.referee.fail(
                    "16", f"more than {MOST_EVENTS * options.nodes:,} events: something goes round in circles"
                )
            if until >= end_at:
                FinalJudgement(self).judge()

    def _probe(self) -> Work:
        command = Command(line=PROBE)
        job = Job(tenant=PROBE, name=PROBE, command=command, executor="command", priority=100, overlap="allow_all")
        work = Work(-1, job, Nature(10, 100, 0.0, 0.0, 0.0, 0.0))
        self.workload.add(work)
        return work

    def _declare_known(self) -> None:
        """What was refused as a whole, or not answered, is declared one by one."""
        for work in self.workload.all():
            if work.number not in self.settled_jobs:
                self.clients[0].declare([work])

    def _heal(self) -> None:
        self.is_healing = True
        self.healed_at = self.stirred_at = self.time.now
        self.faults.heal()
        for node in self.nodes:
            node.start()
        for life in self.lives():
            life.look_at_timers()
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

    # ---- nodes ----------------------------------------------------------------------------------------------------------

    def _draw_nodes(self, places: int) -> list[Node]:
        """The nodes that have a store, and those that only work."""
        options, nodes = self.options, []
        names = [
            *(f"n{number + 1}" for number in range(options.nodes)),
            *(f"w{it + 1}" for it in range(options.workers)),
        ]
        for number, name in enumerate(names):
            own = stream(self.seed, "places", name).choice((1, 2, 4, 8)) if number else places
            nodes.append(Node(self, name, self.machines[number % len(self.machines)], {"thread": own}))
        return nodes

    def lives(self) -> list[Life]:
        """The processes that live, by their nodes."""
        return [node.life for node in self.nodes if node.life is not None]

    def leader(self) -> Life | None:
        """The process that holds the lease, None when it is dead or nobody has ever held it."""
        lease = self.disk.tables.lease
        return next((life for life in self.lives() if lease is not None and life.holder == lease.holder), None)

    def find_life(self, born: Born) -> Life | None:
        """The process that was born so, if it lives."""
        return next((life for life in self.lives() if self.born[life.incarnation] is born), None)

    def is_surely_dead(self, holder: str) -> bool:
        """Whether a process of this machine is no more; of another machine's nobody can tell."""
        return not self.options.apart and all(life.holder != holder for life in self.lives())

    def on_birth(self, life: Life) -> None:
        """A process begins."""
        machine = life.node.machine
        self.born[life.incarnation] = Born(life.node.name, machine.name, machine.boot, self.time.now)
        self.stirred_at = self.time.now
        self.peers.on_begun(life)

    def cut_power(self, machine: Machine) -> None:
        """A machine loses power: its nodes die, and its marks are another boot's; the disk, too, if it is the machine's."""
        dying = [node for node in self.nodes if node.machine is machine and node.life is not None]
        machine.boot += 1
        if not self.options.apart:
            for node in dying:
                life, node.life = node.life, None
                assert life is not None
                life.die()
                self.referee.forget_saves(life)
                self.peers.on_died(life, power=True)
            lost = self.disk.lose_power(self.faults.luck)
            if lost:
                self.count("commits lost to power", len(lost))
                self.promises.forgive(lost)
                self.partings.forget()
                self.network.forget_words()
            self.referee.forget_spans()
            self.promises.check()
        for node in dying:
            if node.life is None:
                self._mourn(node, "power")
            else:
                node.kill("power")

    def on_death(self, life: Life, cause: str, rest_us: int | None = None) -> None:
        """A process has died, and its disk lives on."""
        self.disk.die(self.faults.luck, life)
        self.referee.forget_saves(life)
        self.peers.on_died(life, power=cause == "power")
        self._mourn(life.node, cause, rest_us)

    def _mourn(self, node: Node, cause: str, rest_us: int | None = None) -> None:
        self.count("deaths")
        self.stirred_at = self.time.now
        self.referee.forget_spans()
        self.promises.check()
        random = self._deaths[cause]
        wait_us = int(random.choice((0.0, 0.1, 3.0, 12.0)) * MILLION * random.random())
        wait_us = wait_us if rest_us is None else rest_us
        self.time.call_in(1 + (min(wait_us, MILLION) if self.is_healing else wait_us), node.start)

    # ---- what all parts ask ---------------------------------------------------------------------------------------------

    def count(self, what: str, number: int = 1) -> None:
        """Note that something happened."""
        self.counts[what] += number

    def constant(self, name: str, usual: int) -> int:
        """A constant that is no module's: drawn from extremes in some worlds."""
        return self._constants.get(name, usual)

    def wall(self) -> int:
        """The wall clock of who leads, or would."""
        leader = self.leader()
        return (self.machines[0] if leader is None else leader.node.machine).clocks.now()

    def highest_wall(self) -> int:
        """The latest that any wall clock has shown."""
        return max(machine.clocks.highest for machine in self.machines)

    def definition(self, run_id: int) -> Job | None:
        """The definition that a run was made by."""
        run = self.disk.tables.runs.get(run_id)
        return None if run is None else self.disk.tables.definitions.get((run.tenant, run.job, run.version))
