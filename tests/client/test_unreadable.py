"""A scheduler whose store has jobs of which it cannot read all: it leads, runs the others, and these can be mended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from callsheet import Scheduler, cron, every, shell
from callsheet.errors import Refused
from support.reached import Make
from support.spoiled import spoil
from support.waiting import eventually


def work(*_: Any) -> str:
    return "done"


@pytest.fixture
def begun(make: Make, file_url: str, tmp_path: Path) -> Scheduler:
    """The second life on a store, of whose jobs those with a zone cannot be read whole any more."""
    zoned: dict[str, Any] = {"trigger": cron("*/1 * * * * *", zone="Europe/Berlin", dialect="seconds")}
    before = make(file_url, allow_shell=True)
    before.add(shell("echo done"), name="zoned", **zoned)
    before.add(work, name="paused", **zoned)
    before.add(work, name="linked", after=["zoned"])
    before.add(work, name="lost", executor="process")
    with before:
        before.pause("paused")
    spoil(tmp_path / "jobs.db", b"Europe/Berlin", b"Europe/Nowhre")
    spoil(tmp_path / "jobs.db", b"process", b"unknown")
    after = make(file_url, allow_shell=True)
    after.add(work, every("0.2s"), name="tick")
    return after.start()


def test_a_scheduler_leads_though_it_cannot_read_all_of_its_jobs_and_runs_the_others(begun: Scheduler) -> None:
    eventually(lambda: begun.job_view("tick").fires > 1)
    assert "cannot be read here" in begun.job_view("zoned").trigger
    assert "no time zone 'Europe/Nowhre'" in begun.job_view("zoned").trigger
    assert [job.name for job in begun.jobs()] == ["linked", "lost", "paused", "tick", "zoned"]


def test_a_job_whose_trigger_cannot_be_read_runs_by_hand(begun: Scheduler) -> None:
    run = begun.trigger("zoned")
    run.result(timeout=10)
    assert begun.logs(run.run_id) == "done\n"


def test_a_job_whose_trigger_cannot_be_read_gets_another_one(begun: Scheduler) -> None:
    begun.reschedule("zoned", every("0.2s"))
    eventually(lambda: begun.job_view("zoned").fires > 0)


def test_a_job_that_cannot_be_read_is_removed(begun: Scheduler) -> None:
    for name in ("linked", "paused", "lost", "zoned"):
        begun.remove(name)
    assert [job.name for job in begun.jobs()] == ["tick"]


def test_a_job_whose_trigger_cannot_be_read_is_not_resumed_as_nobody_knows_what_it_missed(begun: Scheduler) -> None:
    with pytest.raises(Refused, match="no time zone 'Europe/Nowhre'"):
        begun.resume("paused")
    assert begun.job_view("paused").status == "paused"


def test_a_job_of_which_nothing_can_be_read_is_not_run_and_goes_on_when_it_is_declared_anew(begun: Scheduler) -> None:
    with pytest.raises(Refused, match="nothing of job 'lost' can be read here but its name"):
        begun.trigger("lost")
    with pytest.raises(Refused, match="declare it anew"):
        begun.reschedule("lost", every("1h"))
    begun.add(work, name="lost")
    assert begun.trigger("lost").result(timeout=10) == "done"
