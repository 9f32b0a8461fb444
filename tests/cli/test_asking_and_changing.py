"""Each command with a scheduler that runs, and without one."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from callsheet import Context, Scheduler, at, fixed
from callsheet.cli.application import run
from support.waiting import eventually

STORE = {"CALLSHEET_STORE": "sqlite:///jobs.db"}


@pytest.fixture
def serving(shell: Any, program: Any, stop: Any) -> Iterator[Any]:
    shell.environment |= STORE
    process = shell.serve("app.py")
    yield process
    if process.poll() is None:
        stop(process)


@pytest.fixture
def stopped(shell: Any, serving: Any, stop: Callable[[Any], int]) -> None:
    assert stop(serving) == 0


def files(shell: Any) -> list[str]:
    """What lies in the folder, but for what SQLite puts beside its file while somebody reads it."""
    return sorted(path.name for path in shell.folder.iterdir() if not path.name.endswith(("-wal", "-shm")))


def run_id(shell: Any, job: str) -> int:
    ran = shell("trigger", job, "--json")
    assert ran.code == 0, ran.err
    found: int = ran.json[0]["run_id"]
    return found


def test_while_a_scheduler_runs_commands_reach_it(shell: Any, serving: Any) -> None:
    waited = shell("trigger", "greet", "fail", "--wait")
    runs = shell("runs", "--json").json

    assert waited.code == 1
    assert waited.out == "greet: run 1 SUCCEEDED\nfail: run 2 FAILED: ValueError: no good\n"
    assert [(run["run_id"], run["job"], run["state"], run["cause"]) for run in runs] == [
        (2, "fail", "FAILED", "trigger"),
        (1, "greet", "SUCCEEDED", "trigger"),
    ]
    assert all(run["created_at"].endswith("Z") for run in runs)
    assert shell("logs", "1").out == "good morning\n"
    assert shell("logs", "greet", "--json").json["logs"] == "good morning\n"
    assert shell("trigger", "greet").out == "greet: run 3\n"


def test_the_logs_of_a_run_that_raised_end_with_its_traceback(shell: Any, serving: Any) -> None:
    shell("trigger", "fail", "--wait")

    told = shell("logs", "fail")
    as_json = shell("logs", "fail", "--json").json

    assert told.code == 0
    assert told.out.startswith("Traceback (most recent call last):\n")
    assert told.out.endswith("ValueError: no good\n")
    assert 'app.py", line ' in told.out
    assert (as_json["logs"], as_json["error"]) == ("", "ValueError: no good")
    assert as_json["traceback"] == told.out


def test_the_logs_of_a_run_that_was_tried_again_have_the_traceback_of_each_attempt(shell: Any) -> None:
    def waver(ctx: Context) -> None:
        ctx.log("trying")
        if ctx.attempt == 1:
            raise ValueError("not yet")

    with Scheduler(f"sqlite:///{shell.folder / 'jobs.db'}", name="n1") as scheduler:
        scheduler.add(waver, name="waver", retry=fixed(0.001))
        scheduler.submit("waver").result(20)
    shell.environment |= STORE

    told = shell("logs", "waver").out.splitlines()
    first, second = shell("logs", "waver", "--json").json["attempts"]

    assert told[0] == f"--- attempt 1 on n1: failed, {first['ended_at']}"
    assert told[1:3] == ["trying", "Traceback (most recent call last):"]
    assert told[-3:] == ["ValueError: not yet", f"--- attempt 2 on n1: succeeded, {second['ended_at']}", "trying"]


def test_a_running_job_is_shown_as_such_and_can_be_cancelled(shell: Any, serving: Any) -> None:
    number = run_id(shell, "hang")
    eventually(lambda: shell("runs", "hang", "--state", "running", "--json").json)

    cancelled = shell("cancel", str(number), "--json")
    eventually(lambda: shell("runs", "hang").rows[0]["state"] == "CANCELLED")

    assert cancelled.json[0]["state"] in {"CANCELLING", "CANCELLED"}
    again = shell("cancel", str(number))
    assert (again.code, again.out) == (0, f"run {number}: CANCELLED\n")


def test_a_paused_job_is_held_until_it_is_resumed(shell: Any, serving: Any) -> None:
    assert shell("pause", "greet", "fail").out == "greet: paused\nfail: paused\n"
    assert {row["job"]: row["status"] for row in shell("jobs").rows} == {
        "double": "active",
        "fail": "paused",
        "greet": "paused",
        "hang": "active",
    }
    assert shell("resume", "greet", "--json").json == [{"job": "greet", "status": "active"}]
    told = shell("explain", "greet", "--json").json
    assert [event["kind"] for event in told["events"] if event["kind"] != "audit"] == ["job_resume", "job_pause"]


def test_explain_tells_what_became_of_slots_and_why(shell: Any, program: Any, stop: Any) -> None:
    shell.environment |= STORE
    program.write_text(program.read_text().replace('every("1h")', 'every("200ms")'))
    process = shell.serve("app.py")
    eventually(lambda: len(shell("runs", "greet").rows) >= 2)
    shell("pause", "greet")
    shell("resume", "greet")
    eventually(
        lambda: (
            {"FIRED", "SKIPPED_PAUSED"}
            <= {row["decision"] for row in shell("explain", "greet", "--json", "-n", "1000").json["decisions"]}
        )
    )
    stop(process)

    told = shell("explain", "greet", "--json").json

    assert told["job"]["name"] == "greet"
    whys = {row["decision"]: row["why"] for row in shell("explain", "greet", "--json", "-n", "1000").json["decisions"]}
    assert whys["SKIPPED_PAUSED"] == "the job was paused"
    assert whys["FIRED"].startswith("run ")
    shown = shell.on_terminal("explain", "greet", "-n", "2")
    assert "greet is active. Every 200 milliseconds." in shown.out


def test_explain_speaks_on_a_terminal_of_local_times_and_of_what_a_job_follows(shell: Any) -> None:
    shell.environment |= STORE | {"TZ": "America/New_York"}
    with Scheduler(f"sqlite:///{shell.folder / 'jobs.db'}", processes=0) as scheduler:
        scheduler.add(list, at("2090-05-01T12:00:00Z"), name="far")
        scheduler.add(len, name="then", after=["far"])

    assert "Next due 2090-05-01 08:00." in shell.on_terminal("explain", "far").out
    assert "then is active, after far.\n" in shell.on_terminal("explain", "then").out


def test_explain_tells_what_a_job_needs_of_its_node(shell: Any) -> None:
    shell.environment |= STORE
    with Scheduler(f"sqlite:///{shell.folder / 'jobs.db'}", processes=0) as scheduler:
        scheduler.add(len, name="train", labels=["gpu", "zone=eu-1"], resources={"memory_gb": 4})

    shown = shell.on_terminal("explain", "train")
    assert "It needs a node with gpu, zone=eu-1, 4 memory_gb." in shown.out
    told = shell("explain", "train", "--json").json["job"]
    assert (told["labels"], told["resources"]) == (["gpu", "zone=eu-1"], {"memory_gb": 4})


def test_without_a_scheduler_questions_are_answered_by_the_store(shell: Any, stopped: None) -> None:
    before = files(shell)

    assert [row["job"] for row in shell("jobs").rows] == ["double", "fail", "greet", "hang"]
    assert [row["job"] for row in shell("jobs", "--tag", "hourly").rows] == ["greet"]
    assert shell("runs").rows == []
    assert shell("explain", "greet").code == 0
    assert shell.on_terminal("runs").out == "There are no such runs.\n"
    assert files(shell) == before


def test_without_a_scheduler_changes_are_stored_and_wait(shell: Any, stopped: None, stop: Any) -> None:
    triggered = shell("trigger", "greet")
    paused = shell("pause", "fail")
    second = run_id(shell, "hang")
    cancelled = shell("cancel", str(second))

    assert triggered.out == "greet: run 1; no scheduler is running; it waits in the store until one does\n"
    assert paused.out == "fail: paused\n"
    assert cancelled.out == f"run {second}: CANCELLED\n"
    assert [row["state"] for row in shell("runs").rows] == ["CANCELLED", "READY"]
    assert shell("trigger", "greet", "--wait").code == 1
    assert shell("remove", "double").out == "double: removed\n"
    process = shell.serve("app.py")
    eventually(lambda: shell("runs", "greet").rows[0]["state"] == "SUCCEEDED")
    assert [job["status"] for job in shell("jobs", "--json").json if job["name"] == "fail"] == ["paused"]
    stop(process)


def test_several_commands_at_once_on_a_store_without_a_scheduler_all_succeed(shell: Any, stopped: None) -> None:
    started = [shell.start("trigger", "greet") for _ in range(4)]

    assert [process.wait(60) for process in started] == [0, 0, 0, 0]
    assert len(shell("runs").rows) == 4


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["trigger", "nobody"], 4, "no job 'nobody'"),
        (["trigger", "greet", "nobody"], 4, "no job 'nobody'"),
        (["pause", "nobody"], 4, "no job 'nobody'"),
        (["explain", "nobody"], 4, "no job 'nobody'"),
        (["runs", "nobody"], 4, "no job 'nobody'"),
        (["cancel", "99"], 4, "no run 99"),
        (["logs", "99"], 4, "no run 99"),
        (["logs", "greet"], 4, "has had no run"),
        (["jobs", "--tenant", "nobody", "--limit", "0"], 2, "--limit"),
        (["runs", "--state", "flying"], 2, "no state of a run"),
        (["cancel", "greet"], 2, "RUN"),
        (["trigger", "greet", "--wait", "--timeout", "x"], 2, "--timeout"),
    ],
)
def test_what_is_not_there_or_cannot_be_is_told_with_its_code(
    shell: Any, stopped: None, arguments: list[str], code: int, said: str
) -> None:
    ran = shell(*arguments)

    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert len(ran.err.splitlines()) == 1
    assert shell("runs").rows == []


def test_a_wait_that_is_too_long_is_no_answer_in_time(shell: Any, serving: Any) -> None:
    ran = shell("trigger", "hang", "--wait", "--timeout", "0.2")

    assert ran.code == 5
    assert "has not ended within 0.2 s" in ran.err


@pytest.mark.parametrize(
    ("store", "code", "said"),
    [
        ("sqlite:///none.db", 3, "is not there; name the store with --store"),
        ("sqlite:///other.txt", 3, "other.txt"),
        ("memory://", 2, "lives within the process"),
        ("nonsense", 2, "names no store"),
    ],
)
def test_a_store_that_cannot_be_used_is_told(shell: Any, store: str, code: int, said: str) -> None:
    shell.write("other.txt", "a letter to my aunt, and long enough to be looked at as if it were a database\n" * 20)

    for arguments in (["jobs"], ["trigger", "greet"]):
        ran = shell(*arguments, "--store", store)
        assert ran.code == code
        assert said in ran.err
        assert len(ran.err.splitlines()) == 1
    assert not (shell.folder / "none.db").exists()


def test_help_and_version_are_told_and_nothing_said_is_usage(shell: Any) -> None:
    assert shell("--version").out.startswith("callsheet 0.")
    told = shell("--help")
    assert (told.code, told.err) == (0, "")
    assert "Exit codes: 0 done" in told.out
    assert shell().code == 2
    assert shell("fly").code == 2


@pytest.mark.parametrize("command", ["run", "node", "submit", "runs", "trigger", "cancel"])
def test_the_usage_brackets_an_argument_once(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert run([command, "--help"]) == 0

    usage = capsys.readouterr().out.splitlines()[0]
    assert usage.startswith(f"Usage: callsheet {command} [OPTIONS] ")
    assert "[[" not in usage
    assert usage.count("...") <= 1


@pytest.mark.parametrize("arguments", [["preview", "* * * * *", "-n", "10000"], [], ["keys"]])
def test_a_reader_that_goes_away_is_no_failure(shell: Any, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "callsheet.cli", *arguments],
            check=False,
            cwd=shell.folder,
            env=shell.environment,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writer)

    assert (ran.stderr, ran.returncode) == ("", 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
@pytest.mark.parametrize("arguments", [["preview", "@daily"], []])
def test_an_output_without_room_is_told_in_a_line(shell: Any, arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "callsheet.cli", *arguments],
            check=False,
            cwd=shell.folder,
            env=shell.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )

    assert ran.stderr.startswith("callsheet: there is no room for what is to be written")
    assert ran.stderr.count("\n") == 1
    assert ran.returncode == 1


def test_an_output_that_is_closed_is_no_failure_and_gets_nothing(shell: Any) -> None:
    for arguments in (["preview", "@daily"], ["--version"]):
        command = " ".join(f"'{word}'" for word in [sys.executable, "-m", "callsheet.cli", *arguments])
        ran = subprocess.run(
            ["bash", "-c", f"{command} >&-"], check=False, cwd=shell.folder, env=shell.environment, capture_output=True
        )
        assert (ran.returncode, ran.stderr) == (0, b"")


def test_a_terminal_without_utf_8_is_shown_escapes(shell: Any) -> None:
    preview = ("preview", "0 2 * * *", "--zone", "Europe/Berlin", "-n", "1", "--from", "2026-03-28T12:00Z")

    ran = shell(*preview, PYTHONIOENCODING="ascii")
    assert (ran.code, ran.err) == (0, "")
    assert "gap\\u219203:00" in ran.out
    assert shell(*preview, "--json", PYTHONIOENCODING="latin-1").json[0]["note"] == "gap→03:00"


def test_without_its_libraries_the_command_says_what_to_install(shell: Any) -> None:
    (shell.folder / "typer").mkdir()
    shell.write("typer/__init__.py", "raise ModuleNotFoundError(\"No module named 'typer'\", name='typer')")

    ran = shell("jobs", PYTHONPATH=str(shell.folder))

    assert ran.code == 1
    assert (
        ran.err
        == "callsheet: the command needs typer, which is not installed; install it: pip install 'callsheet[cli]'\n"
    )
