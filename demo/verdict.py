"""The verdict: what was lost and what was doubled, counted from what the jobs themselves left behind.

*Owed* is every slot of the plan from when the scheduler was first ready until closing, every submission that was
acknowledged, and every order in the files. A thing that is owed is *lost* if

- a slot or an acknowledged submission has no footprint, and the store shows no reason for that: a decision other than FIRED
  (such as COALESCED_INTO, for slots that passed while nobody led), or a final state other than SUCCEEDED;
- a run of which the store says SUCCEEDED never began, or an attempt that ended has no beginning: a trace is missing;
- a run has ended, and the store does not say so though all nodes stopped in order;
- a run began and never reached its end, and the store shows no reason for that: an at-most-once run that the kill cut must
  stand there as LOST, visibly; an at-least-once run must have been repeated, so only FAILED and the like would do;
- an order of the files is not in the warehouse.

A thing is *doubled* if

- an at-most-once run began more than once;
- an attempt of any run (run and fence) began more than once;
- a slot of a job, or a submission's key, became two runs;
- an order is in the warehouse more than once.

An at-most-once run can be LOST in two more ways that nobody could tell from a cut: it had just ended, which was not recorded
yet; or it was marked as begun, and killed before its first line. Both are counted and shown; the second takes so short a
time that more than a few are no chance: then they are lost.

A repeated attempt of an at-least-once run is neither: it is counted, and shown as what it is. So are runs that ended LOST.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from callsheet.actors.lifecycle import FINAL
from callsheet.actors.records import RunState
from evidence import Evidence
from footprint import Footprint, to_datetime

ROOTS: Final = ("tick", "pulse", "print_label", "deliver", "fetch_rates")
"""Jobs whose slots come from a trigger of their own, at the microsecond: their lateness is measured."""

FEW: Final = 3
"""Runs that may have been killed between their start mark and their first line."""


@dataclass
class Verdict:
    """The outcome, with a line for each thing that was lost or doubled. Lateness and fail-over times are in microseconds."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    lateness: list[int] = field(default_factory=list)
    missed: Counter[str] = field(default_factory=Counter)
    missed_lateness: list[int] = field(default_factory=list)
    excused: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    slots: int = 0
    submissions: int = 0
    cut: int = 0
    ended_unrecorded: int = 0
    never_reached: int = 0
    repeated_after_error: int = 0
    repeated_after_kill: int = 0
    failovers: list[int] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing was lost and nothing doubled."""
        return not self.lost and not self.doubled


def judge(evidence: Evidence) -> Verdict:
    """Hold what was left behind against what was owed."""
    verdict = Verdict(states=Counter(str(book.state) for book in evidence.books.values()))
    trail = Trail(evidence.footprints)
    _judge_slots(evidence, trail, verdict)
    _judge_submissions(evidence, trail, verdict)
    _judge_ends(evidence, trail, verdict)
    _judge_missing(evidence, trail, verdict)
    _judge_doubles(evidence, trail, verdict)
    _judge_orders(evidence, verdict)
    _measure(evidence, trail, verdict)
    return verdict


class Trail:
    """The footprints, by what they are about."""

    def __init__(self, footprints: Iterable[Footprint]) -> None:
        self.begins: dict[int, list[Footprint]] = defaultdict(list)
        self.ends: dict[int, list[Footprint]] = defaultdict(list)
        self.failures: dict[int, list[Footprint]] = defaultdict(list)
        self.runs_of_slot: dict[tuple[str, int], set[int]] = defaultdict(set)
        self.runs_of_key: dict[str, set[int]] = defaultdict(set)
        kinds = {"begin": self.begins, "end": self.ends, "failed": self.failures}
        for each in footprints:
            kinds[each.kind][each.run_id].append(each)
            if each.kind != "begin":
                continue
            if each.slot is not None:
                self.runs_of_slot[each.job, each.slot].add(each.run_id)
            if each.key:
                self.runs_of_key[each.key].add(each.run_id)


# ---- lost ---------------------------------------------------------------------------------------------------------------


def _judge_slots(evidence: Evidence, trail: Trail, verdict: Verdict) -> None:
    """Each owed slot has left a footprint, or the store says why not."""
    ready = evidence.ready
    runs = {(book.job, book.slot): book.state for book in evidence.books.values() if book.slot is not None}
    for rhythm in evidence.owed:
        for slot in (slot for slot in rhythm.slots() if slot > ready):
            verdict.slots += 1
            if (rhythm.job, slot) in trail.runs_of_slot:
                continue
            reason = evidence.reasons.get((rhythm.job, slot)) or _reason(runs.get((rhythm.job, slot)))
            if reason:
                verdict.excused[reason] += 1
            else:
                verdict.lost.append(f"slot {_clock(slot)} of {rhythm.job} never began")


def _judge_submissions(evidence: Evidence, trail: Trail, verdict: Verdict) -> None:
    """Each acknowledged submission has left a footprint, under the number that was acknowledged."""
    for it in evidence.acknowledged:
        verdict.submissions += 1
        if it.run_id in trail.begins:
            if it.run_id not in trail.runs_of_key[it.key]:
                verdict.lost.append(f"submission {it.key}, acknowledged as run {it.run_id}: that run was another's")
            continue
        book = evidence.books.get(it.run_id)
        reason = _reason(None if book is None else book.state)
        if reason:
            verdict.excused[reason] += 1
        else:
            verdict.lost.append(f"submission {it.key} (run {it.run_id}), acknowledged at {_clock(it.at)}, never began")


def _judge_ends(evidence: Evidence, trail: Trail, verdict: Verdict) -> None:
    """Each run that began has reached its end, or the store says why not."""
    for run_id, begins in sorted(trail.begins.items()):
        if run_id in trail.ends:
            continue
        book = evidence.books.get(run_id)
        reason = _reason(None if book is None else book.state)
        fragile = book is not None and book.at_most_once
        if reason == "LOST" and fragile and _was_killed(begins[0], evidence):
            verdict.cut += 1
        elif not reason or reason == "LOST":
            said = "the store does not know it" if book is None else f"the store says {book.state}"
            verdict.lost.append(f"run {run_id} of {begins[0].job} began at {_clock(begins[0].at)}, no end; {said}")


def _was_killed(begin: Footprint, evidence: Evidence) -> bool:
    """Whether the node where this began was killed afterwards; of a command it is not known on which node it ran."""
    return any(begin.process in (life.process, 0) and begin.at <= life.ended for life in evidence.killed)


def _judge_missing(evidence: Evidence, trail: Trail, verdict: Verdict) -> None:
    """What succeeded, and what ended, has begun; and what ended is recorded."""
    for run_id, book in sorted(evidence.books.items()):
        if book.state is RunState.LOST:
            verdict.ended_unrecorded += run_id in trail.ends
            verdict.never_reached += run_id not in trail.begins
        if book.state not in FINAL and run_id in trail.ends:
            verdict.lost.append(f"run {run_id} of {book.job}: its end; the store says {book.state}")
        if book.state is RunState.SUCCEEDED and run_id not in trail.begins:
            verdict.lost.append(f"run {run_id} of {book.job}: the store says SUCCEEDED, and no function began")
    if verdict.never_reached > FEW:
        verdict.lost.append(f"{verdict.never_reached} runs are LOST that never began")
    for ended in (trail.ends, trail.failures):
        for each in (each for footprints in ended.values() for each in footprints):
            if all(begun.fence != each.fence for begun in trail.begins.get(each.run_id, ())):
                verdict.lost.append(
                    f"run {each.run_id} of {each.job}: the beginning of the attempt with fence {each.fence}"
                )


def _reason(state: RunState | None) -> str:
    """A state that explains why a run did not begin or did not end; empty for one that explains nothing."""
    return str(state) if state in FINAL and state is not RunState.SUCCEEDED else ""


# ---- doubled ------------------------------------------------------------------------------------------------------------


def _judge_doubles(evidence: Evidence, trail: Trail, verdict: Verdict) -> None:
    for run_id, begins in sorted(trail.begins.items()):
        job = begins[0].job
        book = evidence.books.get(run_id)
        if len(begins) > 1 and (book is None or book.at_most_once):
            verdict.doubled.append(f"run {run_id} of {job} may run once and began {len(begins)} times")
        for fence, count in Counter(each.fence for each in begins).items():
            if count > 1:
                verdict.doubled.append(f"run {run_id} of {job}: the attempt with fence {fence} began {count} times")
        failed = len(trail.failures.get(run_id, ()))
        repeated = len(begins) - 1
        verdict.repeated_after_error += min(failed, repeated)
        verdict.repeated_after_kill += repeated - min(failed, repeated)
    for (job, slot), runs in sorted(trail.runs_of_slot.items()):
        if len(runs) > 1:
            verdict.doubled.append(f"slot {_clock(slot)} of {job} became runs {sorted(runs)}")
    for key, runs in sorted(trail.runs_of_key.items()):
        if len(runs) > 1:
            verdict.doubled.append(f"submission {key} became runs {sorted(runs)}")


def _judge_orders(evidence: Evidence, verdict: Verdict) -> None:
    """The warehouse holds each order of the files once."""
    there = Counter(evidence.warehouse)
    verdict.lost += [f"order {order} is not in the warehouse" for order in sorted(evidence.orders - there.keys())]
    verdict.doubled += [
        f"order {order} is in the warehouse {count} times" for order, count in sorted(there.items()) if count > 1
    ]


# ---- lateness -----------------------------------------------------------------------------------------------------------


def _measure(evidence: Evidence, trail: Trail, verdict: Verdict) -> None:
    """How late functions began after their slots; apart, those whose slot passed while nobody led."""
    gaps = outages(evidence)
    verdict.failovers = [back - gone for gone, back in gaps]
    for begins in trail.begins.values():
        first = begins[0]
        if first.slot is None or first.job not in ROOTS or first.slot <= evidence.ready:
            continue
        late = first.at - first.slot
        if any(gone <= first.slot <= back for gone, back in gaps):
            verdict.missed["begun under the next leader"] += 1
            verdict.missed_lateness.append(late)
        else:
            verdict.lateness.append(late)
    for rhythm in evidence.owed:
        for slot in rhythm.slots():
            reason = evidence.reasons.get((rhythm.job, slot), "")
            if reason and any(gone <= slot <= back for gone, back in gaps):
                verdict.missed[reason] += 1


def outages(evidence: Evidence) -> list[tuple[int, int]]:
    """From each kill to the next firing: the first line of a function whose slot was due after the kill."""
    fired = sorted(
        (it.at, it.slot) for it in evidence.footprints if it.kind == "begin" and it.slot is not None and it.job in ROOTS
    )
    last = max((at for at, _ in fired), default=0)
    return [
        (life.ended, next((at for at, slot in fired if slot > life.ended), max(last, life.ended)))
        for life in evidence.killed
    ]


def percentile(values: list[int], share: float) -> int:
    """The value below which a share (0 to 1) of the values lies; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0


def _clock(instant: int) -> str:
    return f"{to_datetime(instant):%H:%M:%S.%f}"[:-3]
