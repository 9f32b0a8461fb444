"""What a new life takes over from the last: runs that waited, keys, parked runs, two schedulers, the store of another."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from callsheet import CallsheetError, RunError, Scheduler, StoreError, every, fixed
from callsheet.errors import StoreForeign, StoreTooNew
from support.reached import Make
from support.waiting import eventually

HOLDER = """
import sys
from callsheet import Scheduler
with Scheduler(sys.argv[1]):
    print("running", flush=True)
    sys.stdin.read()
"""


def named(name: str) -> Callable[[], str]:
    return lambda: name


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# ---- nodes that come and go -----------------------------------------------------------------------------------------------


def test_nodes_that_came_and_went_are_dialed_no_more(make: Make, file_url: str) -> None:
    leader, follower = make(file_url).start(), make(file_url).start()

    def come_and_go() -> None:
        with make(file_url):
            eventually(lambda: len(leader.members()) == 3)
        eventually(lambda: len(leader.members()) == 2)

    come_and_go()
    before = descriptors()
    for _ in range(4):
        come_and_go()

    eventually(lambda: descriptors() <= before)
    assert follower.running


# ---- going on -----------------------------------------------------------------------------------------------------------


def test_what_waited_goes_on_after_a_restart(make: Make, file_url: str, gate: Any) -> None:
    first = make(file_url, threads=1)
    first.add(gate, name="gate", idempotent=True)
    first.add(named("done"), name="job")
    first.start().submit("gate")
    gate.wait_reached()
    handles = [first.submit("job") for _ in range(20)]
    delayed = first.options(delay=0.2).submit("job")
    first.stop(drain_timeout=0)
    gate.open()

    second = make(file_url)
    second.add(named("done"), name="job")
    second.add(named("gate"), name="gate", idempotent=True)
    second.start()

    assert [second.handle(handle.run_id).result(20) for handle in (*handles, delayed)] == ["done"] * 21
    assert second.handle(1).result(20) in {"gate", 1}


def test_results_and_logs_are_there_after_a_restart(make: Make, file_url: str) -> None:
    first = make(file_url)
    first.add(lambda ctx: ctx.log("said") or [1, 2], name="job")
    run_id = first.start().submit("job").run_id
    first.handle(run_id).result(20)
    first.stop()

    again = make(file_url).start().handle(run_id)

    assert again.result(5) == [1, 2]
    assert again.logs() == "said\n"
    assert again.status().state == "SUCCEEDED"


def test_a_retry_waits_on_through_a_restart(make: Make, file_url: str) -> None:
    attempts: list[int] = []

    def flaky(ctx: Any) -> int:
        attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            raise ValueError("no")
        attempt: int = ctx.attempt
        return attempt

    run_id = 0
    for life in range(3):
        scheduler = make(file_url)
        scheduler.add(flaky, name="flaky", retry=fixed(0.3, jitter="none"))
        scheduler.start()
        run_id = run_id or scheduler.submit("flaky").run_id
        handle = scheduler.handle(run_id)
        if life < 2:
            eventually(lambda handle=handle, life=life: handle.status().attempts == life + 1)  # type: ignore[misc]
            scheduler.stop()
        else:
            assert handle.result(20) == 3
    assert attempts == [1, 2, 3]


def test_an_idempotency_key_holds_over_a_restart(make: Make, file_url: str) -> None:
    calls: list[int] = []
    run_ids = []
    for _ in range(2):
        scheduler = make(file_url)
        scheduler.add(calls.append, name="note")
        scheduler.start()
        handle = scheduler.options(idempotency_key="order").submit("note", 1)
        run_ids.append(handle.run_id)
        assert handle.result(20) is None
        scheduler.stop()

    assert run_ids[0] == run_ids[1]
    assert calls == [1]


def test_a_workflow_goes_on_after_a_restart(make: Make, file_url: str, gate: Any) -> None:
    first = make(file_url)
    first.add(lambda: 1, name="top")
    first.add(gate, name="slow", after=["top"], idempotent=True)
    first.add(lambda top, slow: [top, slow], name="both", after=["top", "slow"])
    run_id = first.start().trigger("both").run_id
    gate.wait_reached()
    first.stop(drain_timeout=0)
    gate.open()

    second = make(file_url)
    second.add(lambda: 1, name="top")
    second.add(lambda top: top + 1, name="slow", after=["top"], idempotent=True)
    second.add(lambda top, slow: [top, slow], name="both", after=["top", "slow"])
    second.start()

    assert second.handle(run_id).result(20) == [1, 2]
    assert [len(second.runs(job)) for job in ("top", "slow", "both")] == [1, 1, 1]


def test_one_scheduler_can_be_started_again_and_again(make: Make, file_url: str) -> None:
    scheduler = make(file_url)
    scheduler.add(named("done"), name="job")
    for life in range(4):
        with scheduler:
            assert scheduler.submit("job").result(20) == "done"
            assert scheduler.submit(named("other")).result(20) == "other"
            assert len(scheduler.runs("job")) == life + 1


def test_a_handle_outlives_a_restart_of_its_scheduler(make: Make, file_url: str, gate: Any) -> None:
    scheduler = make(file_url)
    scheduler.add(named("done"), name="job")
    scheduler.start()
    handle = scheduler.options(delay=0.3).submit("job")
    scheduler.stop()
    scheduler.start()

    assert handle.result(20) == "done"


def test_a_store_in_memory_is_empty_after_a_restart(make: Make) -> None:
    scheduler = make("memory://")
    scheduler.add(named("done"), name="job")
    with scheduler:
        scheduler.submit("job").result(20)
    with scheduler:
        assert scheduler.submit("job").result(20) == "done"


# ---- functions that are not there ---------------------------------------------------------------------------------------


def test_runs_of_a_function_that_is_not_there_are_parked_and_run_when_it_is_declared(make: Make, file_url: str) -> None:
    first = make(file_url)
    first.add(named("done"), name="job")
    handles = [first.start().options(delay=3).submit("job"), first.options(delay=3).submit("job")]
    first.stop()

    second = make(file_url).start()
    runs = [second.handle(handle.run_id) for handle in handles]
    eventually(lambda: [run.status().state for run in runs] == ["PARKED"] * 2)
    status = runs[0].status()
    assert "job 'job': no function is registered as 'job'" in status.reason
    assert "declare" in status.reason
    assert status.look_at is not None
    assert len(second.runs("job", state="PARKED")) == 2

    second.add(named("done"), name="job")
    assert [run.result(20) for run in runs] == ["done", "done"]


def test_parked_runs_stay_parked_over_restarts_and_can_be_cancelled(make: Make, file_url: str) -> None:
    first = make(file_url)
    first.add(named("done"), name="job")
    run_id = first.start().options(delay=0.05).submit("job").run_id
    first.stop()

    for _ in range(2):
        other = make(file_url).start()
        handle = other.handle(run_id)
        eventually(lambda handle=handle: handle.status().state == "PARKED")  # type: ignore[misc]
        other.stop()

    last = make(file_url).start()
    handle = last.handle(run_id)
    eventually(lambda: handle.status().state == "PARKED")
    assert handle.cancel() == "CANCELLED"
    with pytest.raises(RunError, match="CANCELLED"):
        handle.result(5)


def test_slots_of_a_function_that_is_not_there_are_decided_all_the_same(make: Make, file_url: str) -> None:
    first = make(file_url)
    first.add(named("done"), every(0.1), name="tick")
    with first:
        eventually(lambda: first.decisions("tick"))

    second = make(file_url).start()
    run = eventually(lambda: second.runs("tick", state="PARKED"))[0]
    eventually(lambda: any(it.decision == "SKIPPED_OVERLAP" for it in second.decisions("tick")))
    second.add(named("done"), every(0.1), name="tick")
    assert second.handle(run.run_id).result(20) == "done"


# ---- several schedulers -------------------------------------------------------------------------------------------------


def test_two_schedulers_live_side_by_side(make: Make, store_url: str, tmp_path: Path) -> None:
    one, two = make(store_url).start(), make(f"sqlite:///{tmp_path / 'other.db'}").start()

    handles = [scheduler.submit(named(name)) for scheduler, name in ((one, "one"), (two, "two")) for _ in range(20)]

    assert [handle.result(20) for handle in handles] == ["one"] * 20 + ["two"] * 20
    one.stop()
    assert two.submit(named("two")).result(20) == "two"


def test_two_schedulers_of_one_process_share_a_store_and_one_goes_on_without_the_other(
    make: Make, file_url: str
) -> None:
    first, second = make(file_url, name="one"), make(file_url, name="two")
    for scheduler in (first, second):
        scheduler.add(named("done"), name="job")
        scheduler.start()

    assert [scheduler.submit("job").result(20) for scheduler in (first, second)] == ["done", "done"]
    first.stop()
    assert second.submit("job").result(20) == "done"


def test_a_scheduler_takes_over_the_store_of_a_process_that_is_killed(make: Make, file_url: str) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, file_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "running\n"
        scheduler = make(file_url).start()
        holder.kill()
    assert scheduler.submit(named("now")).result(20) == "now"


def test_a_scheduler_that_runs_already_says_so(scheduler: Scheduler) -> None:
    with pytest.raises(CallsheetError, match="running already"):
        scheduler.start()
    assert scheduler.submit(named("fine")).result(20) == "fine"


# ---- files that are no store --------------------------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_left_as_it_is(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("shopping: milk, eggs\n" * 100)

    with pytest.raises(
        StoreForeign, match=r"notes.txt is not an SQLite database; it was left as it is. Choose another"
    ):
        make(f"sqlite:///{path}").start()
    assert path.read_text() == "shopping: milk, eggs\n" * 100
    assert [it.name for it in tmp_path.iterdir()] == ["notes.txt"]


def test_a_database_of_another_program_is_left_as_it_is(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.commit()
    before = path.read_bytes()

    with pytest.raises(StoreForeign, match=r"theirs.db is an SQLite database of another program .*Choose another file"):
        make(f"sqlite:///{path}").start()
    assert path.read_bytes() == before


def test_a_store_of_a_newer_version_is_left_as_it_is(make: Make, file_url: str, tmp_path: Path) -> None:
    make(file_url).start().stop()
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.commit()

    with pytest.raises(StoreTooNew, match=r"jobs.db was written by a newer Callsheet .*99.*upgrade this installation"):
        make(file_url).start()


def test_a_folder_is_no_store(make: Make, tmp_path: Path) -> None:
    with pytest.raises(StoreForeign, match="is a folder; the store is a file"):
        make(f"sqlite:///{tmp_path}").start()


def test_a_folder_that_is_not_there_is_named(make: Make, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere.*is the folder there and writable"):
        make(f"sqlite:///{tmp_path / 'nowhere' / 'jobs.db'}").start()


@pytest.mark.skipif(not Path("/proc").exists(), reason="there is no folder in which nobody may write")
def test_a_place_where_nobody_may_write_is_named(make: Make) -> None:
    with pytest.raises(StoreError, match=r"/proc/jobs.db.*cannot be made.*is the folder there and writable"):
        make("sqlite:////proc/jobs.db").start()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_may_not_be_written_is_named(make: Make, file_url: str, tmp_path: Path) -> None:
    make(file_url).start().stop()
    (tmp_path / "jobs.db").chmod(0o400)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match=r"jobs.db.*writable"):
            make(file_url).start()
    finally:
        tmp_path.chmod(0o700)


def test_a_damaged_file_is_named_with_what_to_do(make: Make, file_url: str, tmp_path: Path) -> None:
    make(file_url).start().stop()
    path = tmp_path / "jobs.db"
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)

    with pytest.raises(StoreError, match=r"jobs.db is damaged .*keep a copy of it"):
        make(file_url).start()


def test_a_failed_start_leaves_nothing_behind(make: Make, tmp_path: Path) -> None:
    before = {thread.name for thread in threading.enumerate()}
    scheduler = make(f"sqlite:///{tmp_path}")
    for _ in range(3):
        with pytest.raises(StoreForeign):
            scheduler.start()
    assert not scheduler.running
    scheduler.stop()
    assert {thread.name for thread in threading.enumerate()} == before
