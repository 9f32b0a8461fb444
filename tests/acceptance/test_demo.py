"""The demo plays to its end with nothing lost and nothing doubled; and its verdict finds what was lost or doubled."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import crontab_lines
import footprint
import show
from callsheet.actors.records import RunState
from evidence import Acknowledged, Book, Evidence, Life, read_orders
from footprint import MICROSECONDS, Footprint
from plan import Plan, Rhythm
from support.source import ROOT
from verdict import judge, percentile

OPENING = 1_800_000_000 * MICROSECONDS
TICK, LABEL, PULSE, CONFIRM = 1, 2, 3, 9
"""Runs of the story: the first one's slot, those that the kill cut (once, at least once), and one that was submitted."""


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    folder = tmp_path_factory.mktemp("demo")
    ran = subprocess.run(
        [sys.executable, ROOT / "demo" / "show.py", "--seconds", "6"],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    return ran, folder


def test_the_demo_loses_nothing_and_doubles_nothing(
    played: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    ran, folder = played
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "lost 0   doubled 0" in ran.stdout
    assert "SIGKILL to the leader" in ran.stdout
    assert list(folder.iterdir()) == [], "a demo that went well leaves nothing"


def test_the_demo_did_something(played: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    text = played[0].stdout
    orders = len(read_orders())
    assert orders > 300
    assert f"{orders} of {orders}" in text
    assert "1 @reboot line at the start" in text
    assert len(set(re.findall(r"(node-\d) leads", text))) == 2
    assert re.search(r"fail-over +[\d.]+ m?s, from SIGKILL", text)
    assert "follows" in text
    assert int(_number(r"SUCCEEDED (\d+)", text[text.index("runs by outcome") :])) > 60
    assert int(_number(r"slots owed +(\d+):", text)) > 60
    assert int(_number(r"submissions acknowledged +(\d+)", text)) > 10
    assert int(_number(r"attempts repeated +(\d+) after an error", text)) > 0


def _number(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None, f"no {pattern} in\n{text}"
    return found[1]


def test_a_demo_that_went_wrong_exits_1_and_keeps_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(show.Demo, "play", lambda _: False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    assert show.main([]) == 1

    [kept] = tmp_path.iterdir()
    assert f"what it left is in {kept}" in capsys.readouterr().out


# ---- the verdict --------------------------------------------------------------------------------------------------------


def begin(run_id: int, job: str, at_s: float, slot_s: float | None = None, **more: object) -> Footprint:
    slot = None if slot_s is None else instant(slot_s)
    made = Footprint("begin", instant(at_s), job, run_id, attempt=1, fence=run_id * 10, slot=slot, process=7)
    return replace(made, **more)  # type: ignore[arg-type] # a few fields by name


def end(begun: Footprint, kind: footprint.Kind = "end") -> Footprint:
    return replace(begun, kind=kind, at=begun.at + 1_000)


def instant(seconds: float) -> int:
    return OPENING + round(seconds * MICROSECONDS)


def story() -> Evidence:
    """Four ticks, the third missed while nobody led; a label and a pulse that the kill at 2.5 s cut; a submission; two orders."""
    ticks = [begin(run_id, "tick", slot + 0.01, slot) for run_id, slot in ((TICK, 1), (4, 2), (5, 4))]
    label, pulse = begin(LABEL, "print_label", 2.3), begin(PULSE, "pulse", 2.31)
    again = replace(pulse, at=instant(3.6), attempt=2, fence=35)
    confirm = begin(CONFIRM, "confirm", 1.5, key="confirm-1")
    whole = [step for each in (*ticks, confirm, again) for step in (each, end(each))]
    done = RunState.SUCCEEDED
    books = {
        LABEL: Book("print_label", RunState.LOST, at_most_once=True, slot=None),
        PULSE: Book("pulse", done, at_most_once=False, slot=None),
        CONFIRM: Book("confirm", done, at_most_once=False, slot=None),
    }
    slots = {TICK: 1, 4: 2, 5: 4}
    books |= {run_id: Book("tick", done, at_most_once=True, slot=instant(slot)) for run_id, slot in slots.items()}
    return Evidence(
        lives=[Life(7, OPENING, instant(2.5), killed=True), Life(8, OPENING, instant(6))],
        owed=[Rhythm("tick", instant(1), MICROSECONDS, instant(4))],
        footprints=sorted([*whole, label, pulse], key=lambda each: each.at),
        acknowledged=[Acknowledged("confirm-1", CONFIRM, instant(1.49))],
        reasons={("tick", instant(3)): "COALESCED_INTO"},
        books=books,
        orders={"B-1", "L-2"},
        warehouse=["B-1", "L-2"],
    )


def test_the_story_is_good_and_its_numbers_are_honest() -> None:
    verdict = judge(story())

    assert verdict.good, verdict
    assert (verdict.slots, dict(verdict.excused)) == (4, {"COALESCED_INTO": 1})
    assert (verdict.cut, verdict.repeated_after_kill, verdict.repeated_after_error) == (1, 1, 0)
    assert verdict.lateness == [10_000, 10_000]
    assert verdict.failovers == [1_510_000]  # its slots are a second apart
    assert dict(verdict.missed) == {"COALESCED_INTO": 1, "begun under the next leader": 1}


def test_a_slot_that_began_late_because_of_the_outage_is_shown_apart() -> None:
    found = story()
    late = begin(6, "tick", 3.61, 3)
    found.reasons.clear()
    found.footprints += [late, end(late)]
    found.books[6] = Book("tick", RunState.SUCCEEDED, at_most_once=True, slot=instant(3))

    verdict = judge(found)

    assert verdict.good, verdict
    assert verdict.missed_lateness == [610_000]
    assert len(verdict.lateness) == 3


def test_a_retry_after_an_error_is_no_doubling() -> None:
    found = story()
    first = begin(11, "load", 4.5)
    second = replace(first, at=instant(4.8), attempt=2, fence=111)
    found.footprints += [first, end(first, "failed"), second, end(second)]
    found.books[11] = Book("load", RunState.SUCCEEDED, at_most_once=False, slot=None)

    verdict = judge(found)

    assert verdict.good, verdict
    assert verdict.repeated_after_error == 1


def test_a_lost_run_that_had_just_ended_is_counted_as_such() -> None:
    found = story()
    found.footprints.append(end(next(each for each in found.footprints if each.run_id == LABEL)))

    verdict = judge(found)

    assert verdict.good, verdict
    assert (verdict.cut, verdict.ended_unrecorded, verdict.never_reached) == (0, 1, 0)


def drop(found: Evidence, run_id: int, kind: str) -> None:
    """Take a line out of the footprints."""
    before = len(found.footprints)
    found.footprints = [each for each in found.footprints if (each.run_id, each.kind) != (run_id, kind)]
    assert len(found.footprints) < before


def repeat(found: Evidence, of: int, **more: object) -> None:
    """Put a run's first line in twice, with something changed or nothing."""
    begun = next(each for each in found.footprints if each.run_id == of)
    found.footprints.append(replace(begun, **more))  # type: ignore[arg-type] # a few fields by name


def set_state(found: Evidence, run_id: int, state: RunState) -> None:
    found.books[run_id] = replace(found.books[run_id], state=state)


def lose_slot(found: Evidence) -> None:
    drop(found, TICK, "begin")
    drop(found, TICK, "end")


def lose_submission(found: Evidence) -> None:
    drop(found, CONFIRM, "begin")
    drop(found, CONFIRM, "end")


def lose_after_the_kill(found: Evidence) -> None:
    """A run that may be repeated is not, and the store calls it LOST."""
    drop(found, PULSE, "end")
    set_state(found, PULSE, RunState.LOST)


def lose_without_a_kill(found: Evidence) -> None:
    """A run that began on the other node is called LOST, though nobody killed that."""
    drop(found, LABEL, "begin")
    found.footprints.append(begin(LABEL, "print_label", 2.3, process=8))


def lose_an_end(found: Evidence) -> None:
    """What ended is not recorded, though all nodes stopped in order."""
    set_state(found, CONFIRM, RunState.CLAIMED)


def lose_a_batch(found: Evidence) -> None:
    """What was claimed and had not begun is called LOST."""
    found.books |= {100 + n: Book("tick", RunState.LOST, at_most_once=True, slot=None) for n in range(5)}


LOSSES: dict[str, Callable[[Evidence], object]] = {
    "slot .* of tick never began": lose_slot,
    "run 1 of tick: the store says SUCCEEDED, and no function began": lose_slot,
    "slot 08:00:03.000 of tick never": lambda found: found.reasons.clear(),
    "run 1 of tick: the beginning of the attempt with fence 10": lambda found: drop(found, TICK, "begin"),
    "submission confirm-1 .*never began": lose_submission,
    "that run was another's": lambda found: found.acknowledged.append(Acknowledged("confirm-2", CONFIRM, OPENING)),
    "run 9 of confirm began .*no end; the store says SUCCEEDED": lambda found: drop(found, CONFIRM, "end"),
    "run 3 of pulse .*the store says LOST": lose_after_the_kill,
    "run 2 of print_label .*the store says LOST": lose_without_a_kill,
    "run 2 of print_label .*the store says SUCCEEDED": lambda found: set_state(found, LABEL, RunState.SUCCEEDED),
    "run 2 of print_label .*does not know": lambda found: found.books.pop(LABEL),
    "run 9 of confirm: its end; the store says CLAIMED": lose_an_end,
    "5 runs are LOST that never began": lose_a_batch,
    "order L-2 is not in the warehouse": lambda found: found.warehouse.remove("L-2"),
}

DOUBLINGS: dict[str, Callable[[Evidence], object]] = {
    "run 1 of tick may run once and began 2 times": lambda found: repeat(found, TICK, attempt=2, fence=99),
    "run 2 of print_label may run once": lambda found: repeat(found, LABEL, at=instant(4), attempt=2, fence=99),
    "run 3 of pulse: the attempt with fence 30 began 2 times": lambda found: repeat(found, PULSE),
    r"slot .* of tick became runs \[1, 12\]": lambda found: repeat(found, TICK, run_id=12, fence=120),
    r"submission confirm-1 became runs \[9, 12\]": lambda found: repeat(found, CONFIRM, run_id=12, fence=120),
    "order B-1 is in the warehouse 2 times": lambda found: found.warehouse.append("B-1"),
}


@pytest.mark.parametrize("told", LOSSES)
def test_what_is_lost_is_found(told: str) -> None:
    found = story()
    LOSSES[told](found)

    verdict = judge(found)

    assert not verdict.good
    assert [fault for fault in verdict.lost if re.search(told, fault)], verdict.lost


@pytest.mark.parametrize("told", DOUBLINGS)
def test_what_is_doubled_is_found(told: str) -> None:
    found = story()
    DOUBLINGS[told](found)

    verdict = judge(found)

    assert not verdict.good
    assert [fault for fault in verdict.doubled if re.search(told, fault)], verdict.doubled


def test_a_tampered_file_of_footprints_is_found(tmp_path: Path) -> None:
    file = tmp_path / footprint.FILE
    for each in story().footprints:
        footprint.append(file, vars(each))
    lines = file.read_text().splitlines(keepends=True)

    def judged(text: list[str]) -> bool:
        file.write_text("".join(text))
        found = story()
        found.footprints = footprint.read(tmp_path)
        return judge(found).good

    assert judged(lines)
    without = [judged(lines[:index] + lines[index + 1 :]) for index in range(len(lines))]
    cut = [
        index
        for index, line in enumerate(lines)
        if '"print_label"' in line or ('"attempt": 1' in line and "pulse" in line)
    ]
    assert [index for index, good in enumerate(without) if good] == cut, (
        "only beginnings that came to nothing can be missed"
    )
    assert not any(judged([*lines, line]) for line in lines if '"begin"' in line)


# ---- its parts ----------------------------------------------------------------------------------------------------------


def test_the_crontab_owes_what_croniter_says() -> None:
    plan = Plan(OPENING + 30 * MICROSECONDS, 100)
    lines = [
        crontab_lines.Line("each", "* * * * *", "UTC"),
        crontab_lines.Line("boot", crontab_lines.REBOOT, "UTC"),
        crontab_lines.Line("never", "0 0 1 1 *", "Europe/Berlin"),
    ]

    slots = [slot for rhythm in crontab_lines.owed(lines, plan) for slot in rhythm.slots()]

    assert slots == [OPENING + 60 * MICROSECONDS, OPENING + 120 * MICROSECONDS]


def test_a_run_is_made_longer_for_a_full_minute_that_is_near() -> None:
    minute = -(-OPENING // show.MINUTE_US) * show.MINUTE_US
    near, far = minute - 25 * MICROSECONDS, minute + 5 * MICROSECONDS

    assert show.stretched(near, 20, most=12).seconds == 26
    assert show.stretched(far, 20, most=12).seconds == 20
    assert show.full_minute(show.stretched(far, 20, most=60)) == minute + show.MINUTE_US


def test_notes_of_commands_are_footprints_too(tmp_path: Path) -> None:
    (tmp_path / footprint.CRON_FILE).write_text(
        "begin 5 1 50 2027-01-15T08:00:00+00:00 1800000001 crontab:ls -l\nend 6 1 60 - 1800000002 boot\n"
    )

    first, second = footprint.read(tmp_path)

    assert (first.kind, first.job, first.slot, first.at) == ("begin", "crontab:ls -l", OPENING, instant(1))
    assert (second.kind, second.run_id, second.slot) == ("end", 6, None)


def test_percentiles_of_few_values() -> None:
    assert percentile([], 0.5) == 0
    assert percentile([3], 0.99) == 3
    assert [percentile([4, 1, 3, 2], share) for share in (0.0, 0.5, 0.99)] == [1, 3, 4]
