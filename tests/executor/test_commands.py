from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callsheet.actors.records import MAX_LOG_BYTES, Command
from callsheet.data import unpack
from support.waiting import eventually

SECOND = 1_000_000


@pytest.fixture
def start(stage: Any) -> Callable[..., Any]:
    def start(line: str = "", **fields: Any) -> Any:
        timeout_us = fields.pop("timeout_us", None)
        order = stage.order(
            "", kind="command", command=Command(line=line, **fields), job="backup", timeout_us=timeout_us
        )
        stage.runner.start([order])
        return order

    return start


@pytest.fixture
def run(stage: Any, start: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **fields: stage.seen.wait(start(*args, **fields).fence)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_line_runs_in_the_shell_and_its_output_is_kept(run: Callable[..., Any]) -> None:
    outcome = run("echo out; echo err >&2")
    assert outcome.outcome == "succeeded"
    assert unpack(outcome.result) == {"exit_status": 0}
    assert outcome.logs == b"out\nerr\n"


def test_arguments_run_as_they_are_without_a_shell(run: Callable[..., Any]) -> None:
    assert run(argv=("printf", "%s|", "a b", "$HOME", ";")).logs == b"a b|$HOME|;|"


def test_a_command_has_its_input_its_environment_and_its_folder(run: Callable[..., Any], tmp_path: Path) -> None:
    outcome = run(
        'cat; echo "$COLOUR $CALLSHEET_JOB"; pwd',
        stdin="one\ntwo\n",
        environment={"COLOUR": "red"},
        folder=str(tmp_path),
    )
    assert outcome.logs.decode() == f"one\ntwo\nred backup\n{tmp_path}\n"


@pytest.mark.parametrize(("slot", "told"), [(1_795_298_400_000_001, "2026-11-21T22:00:00.000001+00:00"), (None, "")])
def test_a_command_is_told_the_slot_it_stands_for(stage: Any, slot: int | None, told: str) -> None:
    line = Command(line='echo "<$CALLSHEET_SLOT>"')
    order = stage.order("", kind="command", command=line, job="backup", slot=slot)
    stage.runner.start([order])

    assert stage.seen.wait(order.fence).logs.decode() == f"<{told}>\n"


def test_more_input_than_a_pipe_holds_reaches_the_command(run: Callable[..., Any]) -> None:
    assert run("wc -c", stdin="x" * 1_000_000).logs.strip() == b"1000000"


def test_a_command_whose_output_goes_elsewhere_still_gets_all_of_its_input(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = run(
        "exec >/dev/null 2>&1; cat >count", stdin="x" * 1_000_000, folder=str(tmp_path), timeout_us=20 * SECOND
    )
    assert outcome.outcome == "succeeded"
    assert (tmp_path / "count").stat().st_size == 1_000_000


def test_input_that_is_not_read_is_no_failure_when_the_output_has_ended_either(run: Callable[..., Any]) -> None:
    line = "exec >/dev/null 2>&1; sleep 0.1"
    assert run(line, stdin="x" * 1_000_000, timeout_us=20 * SECOND).outcome == "succeeded"


def test_input_that_is_not_read_is_no_failure(run: Callable[..., Any]) -> None:
    assert run("exec true", stdin="x" * 1_000_000).outcome == "succeeded"


def test_another_exit_status_is_a_failure_that_says_so(run: Callable[..., Any]) -> None:
    outcome = run("echo no space left; exit 3")
    assert outcome.outcome == "failed"
    assert outcome.error.type.endswith("CommandFailed")
    assert outcome.error.text == "job 'backup': the command ended with exit status 3; its last line: no space left"
    assert outcome.logs == b"no space left\n"


def test_an_end_by_a_signal_is_a_failure_that_names_it(run: Callable[..., Any]) -> None:
    assert "was ended by signal 9 (SIGKILL); it printed nothing" in run("kill -9 $$").error.text


def test_a_program_that_is_not_there_is_a_failure(run: Callable[..., Any]) -> None:
    outcome = run(argv=("/nowhere/at/all",))
    assert outcome.outcome == "failed"
    assert "/nowhere/at/all" in outcome.error.text


def test_a_folder_that_is_not_there_is_a_failure(run: Callable[..., Any]) -> None:
    assert "/nowhere" in run("true", folder="/nowhere").error.text


def test_output_that_is_too_long_keeps_its_beginning_and_its_end(run: Callable[..., Any]) -> None:
    logs = run("echo first; seq 1 1000000; echo last").logs
    assert len(logs) <= MAX_LOG_BYTES
    assert logs.startswith(b"first\n1\n")
    assert logs.endswith(b"1000000\nlast\n")


def test_a_node_that_does_not_allow_commands_refuses_them(make_stage: Callable[..., Any], tmp_path: Path) -> None:
    stage = make_stage(allow_commands=False)
    order = stage.order("", kind="command", command=Command(line=f"touch {tmp_path}/there"), job="backup")
    stage.runner.start([order])
    outcome = stage.seen.wait(order.fence)
    assert outcome.outcome == "failed"
    assert "job 'backup': this node does not run commands" in outcome.error.text
    assert not (tmp_path / "there").exists()


def test_a_command_that_ends_at_term_is_cancelled(stage: Any, start: Callable[..., Any]) -> None:
    order = start(f"trap 'echo tidy; exit 0' TERM; touch {stage.path('begun')}; while true; do sleep 0.01; done")
    eventually(stage.path("begun").exists)
    stage.runner.stop(order.fence, "cancelled", 20 * SECOND)
    outcome = stage.seen.wait(order.fence)
    assert (outcome.outcome, outcome.stuck) == ("cancelled", False)
    assert outcome.logs.endswith(b"tidy\n")


def test_a_command_that_ignores_term_is_killed_with_its_group(stage: Any, start: Callable[..., Any]) -> None:
    order = start(
        f"trap '' TERM; sleep 600 & echo $! > {stage.path('pid')}; touch {stage.path('begun')}; wait; wait; sleep 600"
    )
    eventually(stage.path("begun").exists)
    child = int(stage.path("pid").read_text())
    assert alive(child)
    stage.runner.stop(order.fence, "timed_out", 100_000)
    outcome = stage.seen.wait(order.fence)
    assert (outcome.outcome, outcome.stuck) == ("timed_out", False)
    eventually(lambda: not alive(child))


def test_a_command_whose_own_time_is_over_is_stopped(stage: Any, start: Callable[..., Any]) -> None:
    assert stage.seen.wait(start("sleep 600", timeout_us=50_000).fence).outcome == "timed_out"


def test_what_a_command_leaves_in_the_background_does_not_hold_its_outcome(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    began = time.monotonic()
    outcome = run(f"sleep 600 & echo $! > {tmp_path}/pid; echo done")
    assert outcome.outcome == "succeeded"
    assert outcome.logs == b"done\n"
    assert time.monotonic() - began < 60
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_each_of_many_commands_yields_exactly_one_outcome(stage: Any) -> None:
    orders = [stage.order("", kind="command", command=Command(line=f"exit {number % 2}")) for number in range(40)]
    stage.runner.start(orders)
    outcomes = stage.seen.wait_all([order.fence for order in orders])
    assert [outcome.outcome for outcome in outcomes] == ["succeeded", "failed"] * 20
    assert len(stage.seen.items) == 40


def test_close_ends_running_commands(stage: Any, start: Callable[..., Any]) -> None:
    order = start(f"touch {stage.path('begun')}; sleep 600")
    eventually(stage.path("begun").exists)
    stage.close()
    assert stage.seen.wait(order.fence).outcome == "cancelled"
