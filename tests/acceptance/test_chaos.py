"""A cluster of real processes loses nothing and doubles nothing while its leaders are killed, frozen and cut off.

`scripts/chaos` is the same at its full length. The verdict is counted from what the jobs left and what the client was told; and
it finds what is lost or doubled, which is shown with evidence that was spoiled.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from msgspec.structs import replace

from callsheet.actors.records import Decision
from chaos.act import Outcome, Plan, play
from chaos.blow import Blow
from chaos.cluster import ChaosFailed
from chaos.failover import Moved, measure, percentile
from chaos.picture import Panel, draw
from chaos.report import as_json, as_text
from chaos.trace import Line
from chaos.verdict import Evidence, Row, Verdict, judge
from chaos.workload import PERIOD_US, TICK_NAMES, first_slot_us

KILLS, FREEZES, CUTS = 10, 2, 1
PLAN = Plan(name="ci", seed=0, kills=KILLS, freezes=FREEZES, cuts=CUTS, rate=200, longest_freeze_s=1.5)
PATIENT_US = 10_000_000
"""Times are for `scripts/chaos` on a quiet machine; here the lead must only have moved at all."""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    seed = int(os.environ.get("CALLSHEET_CHAOS_SEED") or "0") or random.SystemRandom().randrange(1, 1_000_000)
    print(f"chaos: repeat with CALLSHEET_CHAOS_SEED={seed}")  # noqa: T201 - shown when a test fails
    folder = tmp_path_factory.mktemp("chaos") / "act"
    try:
        return play(replace(PLAN, seed=seed), folder, print)
    except ChaosFailed as error:
        pytest.fail(f"{error}\n{_logs(folder)}")


def _logs(folder: Path) -> str:
    return "\n".join(f"---- {file.name}\n{file.read_text()[-3_000:]}" for file in sorted((folder / "logs").iterdir()))


def test_there_was_enough_to_judge(outcome: Outcome) -> None:
    kinds = [blow.kind for blow in outcome.blows]
    verdict = outcome.verdict

    assert (kinds.count("kill"), kinds.count("freeze"), kinds.count("cut")) == (KILLS, FREEZES, CUTS)
    assert all(blow.moved for blow in outcome.blows if blow.kind != "freeze"), outcome.blows
    assert len({blow.process for blow in outcome.blows if blow.kind == "kill"}) == KILLS
    assert verdict.acknowledged > 1_000
    assert verdict.begun > verdict.acknowledged
    assert verdict.fired > 1_000
    assert verdict.in_flight > 0


def test_nothing_that_was_acknowledged_is_lost(outcome: Outcome) -> None:
    assert outcome.verdict.lost == []


def test_nothing_begins_or_fires_twice_that_may_not(outcome: Outcome) -> None:
    assert outcome.verdict.doubled == []
    assert outcome.verdict.repeated <= outcome.verdict.in_flight


def test_every_slot_has_one_decision(outcome: Outcome) -> None:
    assert outcome.verdict.undecided == []
    assert outcome.verdict.slots >= outcome.verdict.fired


def test_who_is_cut_off_starts_nothing_and_says_so(outcome: Outcome) -> None:
    assert outcome.verdict.disobeyed == []


def test_after_each_blow_that_moved_the_lead_something_fired_again(outcome: Outcome) -> None:
    assert len(outcome.moved) >= KILLS + CUTS
    assert all(moved.took_us is not None and moved.took_us < PATIENT_US for moved in outcome.moved), outcome.moved


def test_the_outcome_can_be_told(outcome: Outcome) -> None:
    text = as_text("scripts/chaos", 1, [outcome])

    assert re.search(r"leaders killed +10\n", text)
    assert re.search(r"lost +0\n", text)
    assert '"failover_us"' in as_json("scripts/chaos", 1, [outcome])


# ---- the verdict --------------------------------------------------------------------------------------------------------

START_US = 1_800_000_000_000_000
SECOND_US = 1_000_000
STRUCK, WELL, OTHER = 100, 200, 300
"""Processes: the first leader, who is killed at 2 s; the second, who is cut off from 3 to 7 s; and one that nothing happens to."""
ONCE, CUT_SHORT, OFTEN, REPEATED, SLOT = 1, 2, 3, 4, 5


def line(run_id: int, at_s: float, word: str = "begin", process: int = WELL, fence: int = 0, **more: object) -> Line:
    job, key = {ONCE: ("once", "k1"), CUT_SHORT: ("once", "k2"), OFTEN: ("often", "k3"), REPEATED: ("often", "k4")}.get(
        run_id, (TICK_NAMES[0], "")
    )
    slot = START_US if run_id == SLOT else 0
    at_us = round(at_s * SECOND_US)
    made = Line(word, run_id, fence or run_id, job, slot, key, process, at_us, START_US + at_us)  # type: ignore[arg-type]
    return made._replace(**more)  # type: ignore[arg-type] # a few fields by name


def decided(job: str, number: int) -> list[Decision]:
    """Twenty seconds of slots: the first, a gap of a coalesced row, and the rest."""
    first = first_slot_us(number, START_US)

    def decision(slot: int, count: int, kind: str) -> Decision:
        last = slot + (count - 1) * PERIOD_US
        return Decision("default", job, slot, last, count, kind, last)  # type: ignore[arg-type]

    rows = [(first, 1, "FIRED"), (first + PERIOD_US, 9, "COALESCED_INTO"), (first + 10 * PERIOD_US, 400, "FIRED")]
    return [decision(*row) for row in rows]


def story() -> Evidence:
    """Runs of each kind, a kill that cut two of them, one of which is repeated, and a cut."""
    lines = [
        *(line(ONCE, 1.0, word) for word in ("begin", "end")),
        line(CUT_SHORT, 1.99, process=STRUCK),
        *(line(OFTEN, 1.2, word) for word in ("begin", "end")),
        line(REPEATED, 1.99, process=STRUCK),
        *(line(REPEATED, 2.1, word, fence=40) for word in ("begin", "end")),
        *(line(SLOT, 0.01, word) for word in ("begin", "end")),
    ]
    rows = {
        ONCE: Row("once", "SUCCEEDED", None),
        CUT_SHORT: Row("once", "LOST", None),
        OFTEN: Row("often", "SUCCEEDED", None),
        REPEATED: Row("often", "SUCCEEDED", None),
        SLOT: Row(TICK_NAMES[0], "SUCCEEDED", START_US),
    }
    blows = [
        Blow("kill", "node-1", STRUCK, 2 * SECOND_US, START_US + 2 * SECOND_US, before=1, after=2),
        Blow(
            "cut", "node-2", WELL, 3 * SECOND_US, START_US + 3 * SECOND_US, mended_us=7 * SECOND_US, before=2, after=3
        ),
    ]
    return Evidence(
        lines=lines,
        acknowledged=[("k1", ONCE), ("k2", CUT_SHORT), ("k3", OFTEN), ("k4", REPEATED)],
        rows=rows,
        decisions={job: decided(job, number) for number, job in enumerate(TICK_NAMES)},
        blows=blows,
        start_us=START_US,
        ready_us=START_US - SECOND_US,
        ended_us=START_US + 20 * SECOND_US,
        said={"node-2": "12:00 node_cut_off node=node-2"},
    )


def test_the_story_is_good_and_its_numbers_are_honest() -> None:
    verdict = judge(story())

    assert verdict.good, verdict
    assert (verdict.acknowledged, verdict.begun, verdict.fired, verdict.slots) == (4, 5, 1, 410 * len(TICK_NAMES))
    assert (verdict.cut_short, verdict.silent, verdict.repeated, verdict.in_flight) == (1, 0, 1, 1)


def without(found: Evidence, run_id: int, word: str = "") -> Evidence:
    return replace(found, lines=[it for it in found.lines if it.run_id != run_id or (word and it.word != word)])


def plus(found: Evidence, *lines: Line) -> Evidence:
    return replace(found, lines=[*found.lines, *lines])


def with_row(found: Evidence, run_id: int, state: str = "SUCCEEDED", **more: object) -> Evidence:
    row = replace(found.rows.get(run_id, Row("once", state, None)), state=state, **more)
    return replace(found, rows={**found.rows, run_id: row})


def without_row(found: Evidence, run_id: int) -> Evidence:
    return replace(found, rows={key: row for key, row in found.rows.items() if key != run_id})


def without_decision(found: Evidence, index: int) -> Evidence:
    job = TICK_NAMES[3]
    kept = [it for number, it in enumerate(found.decisions[job]) if number != index]
    return replace(found, decisions={**found.decisions, job: kept})


def silent(found: Evidence, count: int) -> Evidence:
    for run_id in range(100, 100 + count):
        found = with_row(found, run_id, "LOST", slot=START_US + run_id, job=TICK_NAMES[0])
    return found


LOST: dict[str, Callable[[Evidence], Evidence]] = {
    "run 1, acknowledged for k1: the store does not know it": lambda it: without_row(it, ONCE),
    "run 1, .*once never began": lambda it: without(it, ONCE),
    "run 3, .*often began and never ended": lambda it: without(it, OFTEN, "end"),
    "run 3, .*often is READY": lambda it: with_row(it, OFTEN, "READY"),
    "run 4, .*often is LOST": lambda it: with_row(it, REPEATED, "LOST"),
    "run 1, .*once is LOST": lambda it: with_row(it, ONCE, "LOST"),
    "run 5 of a slot of tick-0.*never began": lambda it: without(it, SLOT),
    "did the work of another key": lambda it: replace(it, acknowledged=[*it.acknowledged, ("k9", ONCE)]),
    "4 runs are LOST that left no line": lambda it: silent(it, 4),
}
DOUBLED: dict[str, Callable[[Evidence], Evidence]] = {
    "run 1 of once may begin once and began 2 times": lambda it: plus(it, line(ONCE, 2.5, fence=90)),
    "run 2 of once may begin once": lambda it: plus(it, line(CUT_SHORT, 2.5, fence=90)),
    "run 3 of often was repeated, and not for a blow": lambda it: plus(
        without(it, OFTEN), line(OFTEN, 1.2, process=OTHER), line(OFTEN, 2.5, process=OTHER, fence=90)
    ),
    "run 3 of often: an attempt began twice": lambda it: plus(it, line(OFTEN, 1.3)),
    r"key k3 became the runs \[3, 9\]": lambda it: plus(it, line(9, 2.5, key="k3", job="often")),
    r"slot .* of tick-0 became the runs": lambda it: with_row(it, 9, slot=START_US, job=TICK_NAMES[0]),
    "slot .* of tick-0 began, and the store does not know it": lambda it: plus(it, line(9, 2.5, slot=START_US + 1)),
}
UNDECIDED: dict[str, Callable[[Evidence], Evidence]] = {
    "tick-3: .* is followed by": lambda it: without_decision(it, 1),
    "tick-3: the first decision is about": lambda it: without_decision(it, 0),
    "tick-3: nothing was decided after": lambda it: without_decision(it, 2),
    "tick-3: no slot was decided": lambda it: replace(it, decisions={**it.decisions, TICK_NAMES[3]: []}),
}
DISOBEYED: dict[str, Callable[[Evidence], Evidence]] = {
    "node-2 was cut off, and started 1 more, 3.0 s later": lambda it: plus(it, line(OFTEN, 6.0, fence=90)),
    "cut off 1 times, and said so 0 times": lambda it: replace(it, said={"node-2": ""}),
}
SPOILED = [
    (kind, told, spoil)
    for kind, faults in (("lost", LOST), ("doubled", DOUBLED), ("undecided", UNDECIDED), ("disobeyed", DISOBEYED))
    for told, spoil in faults.items()
]


@pytest.mark.parametrize(("kind", "told", "spoil"), SPOILED)
def test_a_fault_is_found(kind: str, told: str, spoil: Callable[[Evidence], Evidence]) -> None:
    verdict: Verdict = judge(spoil(story()))

    assert not verdict.good
    assert [fault for fault in getattr(verdict, kind) if re.search(told, fault)], verdict


# ---- times --------------------------------------------------------------------------------------------------------------


def test_the_next_firing_is_of_a_slot_that_was_due_after_the_blow() -> None:
    kill, cut = story().blows
    due = START_US + 2_100_000
    before = line(SLOT, 2.05, slot=START_US + 1_950_000)
    after = line(SLOT, 2.2, slot=due)
    own = line(SLOT, 3.1, slot=START_US + 3_050_000)
    others = line(SLOT, 3.5, slot=START_US + 3_400_000, process=OTHER)

    found = measure([kill, cut], [others, own, after, before])

    assert found == [Moved("kill", 200_000), Moved("cut", 500_000)]
    assert measure([kill], [before]) == [Moved("kill", None)]
    assert measure([replace(kill, after=kill.before)], [after]) == []


def test_percentiles_of_few_values() -> None:
    assert percentile([], 0.5) == 0
    assert percentile([3], 0.99) == 3
    assert [percentile([4, 1, 3, 2], share) for share in (0.0, 0.5, 0.99)] == [1, 2, 4]


def test_the_picture_is_well_formed_and_shows_every_kind() -> None:
    drawn = draw([Panel("kill −9", [70_000, 75_000, 120_000]), Panel("SIGSTOP", [510_000])])

    root = fromstring(drawn)
    texts = " ".join("".join(it.itertext()) for it in root.iter("{http://www.w3.org/2000/svg}text"))
    assert "kill −9   n 3, p50 75 ms, p99 120 ms" in texts
    assert "SIGSTOP" in texts
