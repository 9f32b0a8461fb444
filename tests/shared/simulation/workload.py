"""What the simulated jobs are, and what their functions do.

Each job is drawn from a stream of its own, so a job that is taken away moves no other. Job 0 is always a plain one, jobs beyond
may wait for earlier ones (chains and diamonds), be hooks, live in another tenant, or name a function that is not there at first.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from callsheet.actors.executor.runner import Order
from callsheet.actors.records import Hook, Job, Retry
from callsheet.triggers import CatchUp, Manual, Trigger
from simulation.runner import Draw
from simulation.trigger import draw_trigger
from simulation.virtual import MILLION, stream

if TYPE_CHECKING:
    from simulation.world import World

TENANTS: Final = ("acme", "acme", "acme", "umbrella")
MOMENTS: Final = ("before", "after", "on_success", "on_failure", "on_retry", "on_skip")


class Nature(Struct):
    """How the function of a job behaves; `known_at` is since when a node has it (true µs)."""

    shortest_us: int
    longest_us: int
    fails: float
    asks: float
    hangs: float
    crashes: float
    known_at: int = 0


class Work(Struct):
    """A job of the workload: what it is declared as now, and the nature of its function."""

    number: int
    job: Job
    nature: Nature

    @property
    def key(self) -> tuple[str, str]:
        """Tenant and name."""
        return self.job.key


class Workload:
    """All jobs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.works: list[Work] = []
        for number in world.options.jobs:
            self.works.append(self._draw_work(number, stream(world.seed, "workload", "job", number)))
        self._by_key = {work.key: work for work in self.works}

    def add(self, work: Work) -> None:
        """Add a job that is not drawn."""
        self._by_key[work.key] = work

    def all(self) -> list[Work]:
        """All jobs, those that are not drawn too."""
        return list(self._by_key.values())

    def find(self, tenant: str, job: str) -> Work | None:
        """The work behind a job's name."""
        return self._by_key.get((tenant, job))

    def is_known(self, tenant: str, job: str, at: int) -> bool:
        """Whether a node has the function of a job at an instant (true µs)."""
        work = self.find(tenant, job)
        return work is not None and work.nature.known_at <= at

    def draw(self, order: Order, nth: int, random: Random) -> Draw:
        """What the function does when it is called for the `nth` time for this run."""
        work = self.find(order.tenant, order.job)
        assert work is not None
        nature = work.nature
        length, fate, ear, part = (random.random() for _ in range(4))
        takes_us = nature.shortest_us + int(length**3 * (nature.longest_us - nature.shortest_us))
        if self._world.is_healing:
            takes_us = min(takes_us, 2 * MILLION)
            return Draw(takes_us, "failed" if fate < nature.fails / 2 else "succeeded")
        hangs = "worker" in self._world.options.faults and ear < nature.hangs
        if hangs:
            return Draw(takes_us + 8 * MILLION, "succeeded", listens=False)
        if fate < nature.fails:
            wait = int(part * 2 * MILLION) if part < 0.3 else None
            return Draw(takes_us, "failed", retry_after_us=wait)
        if fate < nature.fails + nature.asks and nth <= 2:
            return Draw(takes_us, "snoozed", retry_after_us=int(part * 3 * MILLION))
        if order.kind == "process" and "worker" in self._world.options.faults and fate > 1 - nature.crashes:
            return Draw(takes_us, "crashed")
        return Draw(takes_us, "succeeded", listens=ear > 0.1)

    def edited(self, work: Work, random: Random) -> Job:
        """Another definition of a job: of its function's terms, or of its trigger."""
        job = work.job
        changes: dict[str, object] = {"priority": random.randint(-5, 5), "description": f"edited {random.random()}"}
        if random.random() < 0.4 and not isinstance(job.trigger, Manual):
            changes["trigger"] = self.another_trigger(random)
        if random.random() < 0.3:
            changes["overlap"] = "allow_all" if job.overlap == "skip" else "skip"
        return structs.replace(job, **changes)

    def relinked(self, work: Work, random: Random) -> Job:
        """The same job with other upstreams, or none; now and then it would wait for itself by that."""
        others = [it for it in self.works if it.key[0] == work.key[0] and it.job.hook is None and it is not work]
        picks, is_careful = random.sample(range(64), random.choice((0, 1, 1, 2, 2))), random.random() < 0.85
        others = [it for it in others if not (is_careful and work.job.name in self._upstreams(it))]
        names = dict.fromkeys(others[pick % len(others)].job.name for pick in picks) if others else ()
        return structs.replace(work.job, after=tuple(names))

    def _upstreams(self, work: Work) -> set[str]:
        """What a job waits for, directly or not, by what was last said."""
        found: set[str] = set()
        frontier = list(work.job.after)
        while frontier:
            name = frontier.pop()
            upstream = self.find(work.key[0], name)
            if name not in found and upstream is not None:
                found.add(name)
                frontier.extend(upstream.job.after)
        return found

    def another_trigger(self, random: Random) -> Trigger:
        """A trigger drawn for now."""
        return draw_trigger(random, self._world.wall())

    # ---- drawing --------------------------------------------------------------------------------------------------------

    def _draw_work(self, number: int, random: Random) -> Work:
        tenant = random.choice(TENANTS)
        name = f"job-{number}"
        nature = self._draw_nature(number, random)
        job = Job(
            tenant=tenant,
            name=name,
            target=name,
            trigger=draw_trigger(random, self._world.wall()) if random.random() < 0.75 else Manual(),
            executor=random.choice(("thread", "thread", "async", "process")),
            delivery=random.choice(("at_most_once", "at_least_once")),
            priority=random.randint(-3, 3),
            retry=self._draw_retry(random),
            attempt_timeout_us=random.choice((None, None, MILLION, 4 * MILLION)),
            run_deadline_us=random.choice((None, None, None, 10 * MILLION)),
            start_deadline_us=random.choice((None, None, None, 3 * MILLION)),
            overlap=random.choice(("skip", "skip", "allow_all")),
            catchup=self._draw_catchup(random),
            tags=random.choice(((), ("nightly",), ("nightly", "slow"))),
            wait_deadline_us=random.choice((20 * MILLION, 3600 * MILLION)),
            max_crashes=random.randint(1, 3),
        )
        kind = random.random()
        upstreams = [work for work in self.works if work.key[0] == tenant and work.job.hook is None]
        picks = random.sample(range(64), 2)
        if kind < 0.35 and upstreams:
            names = tuple(dict.fromkeys(upstreams[pick % len(upstreams)].job.name for pick in picks))
            trigger = job.trigger if random.random() < 0.2 else Manual()
            job = structs.replace(job, after=names, trigger=trigger)
        elif kind < 0.45 and number:
            match = upstreams[picks[0] % len(upstreams)].job.name if upstreams else ""
            hook = Hook(moment=random.choice(MOMENTS), job=match)
            job = structs.replace(job, hook=hook, trigger=Manual(), attempt_timeout_us=2 * MILLION)
        return Work(number, job, nature)

    def _draw_nature(self, number: int, random: Random) -> Nature:
        longest = random.choice((1_000, 50_000, 500_000, 3 * MILLION, 8 * MILLION))
        return Nature(
            shortest_us=random.choice((10, 1_000)),
            longest_us=longest,
            fails=random.choice((0.0, 0.1, 0.5)),
            asks=random.choice((0.0, 0.0, 0.1)),
            hangs=random.choice((0.0, 0.05)),
            crashes=random.choice((0.0, 0.1, 0.4)),
            known_at=random.choice((0, 0, 0, 0, 0, 15 * MILLION)) if number else 0,
        )

    @staticmethod
    def _draw_retry(random: Random) -> Retry | None:
        retry = Retry(
            kind=random.choice(("fixed", "linear", "exponential")),
            attempts=random.randint(1, 4),
            delay_us=random.choice((10_000, 500_000, 2 * MILLION)),
            cap_us=5 * MILLION,
            jitter=random.choice(("full", "equal", "none")),
            give_up_on=random.choice(((), (), ("KeyError",))),
        )
        return retry if random.random() < 0.6 else None

    @staticmethod
    def _draw_catchup(random: Random) -> CatchUp:
        return CatchUp(
            policy=random.choice(("latest", "earliest", "all", "none")),
            window_us=random.choice((None, None, 5 * MILLION, 60 * MILLION)),
            max_catchup=random.choice((1, 3, 100)),
        )
