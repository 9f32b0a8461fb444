"""What only worker processes promise: deaths, stops, groups, the place of a function, recycling."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callsheet.actors.executor.processes.foreman import WorkerLimits
from callsheet.data import unpack
from support.waiting import eventually

SECOND = 1_000_000


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def begun(stage: Any, name: str, times: int = 1) -> Callable[[], bool]:
    path = stage.path(f"{name}.begun")
    return lambda: path.exists() and path.read_text().count("\n") >= times


def test_a_job_runs_in_another_process(stage: Any) -> None:
    assert unpack(stage.run("my_process", kind="process").result) != os.getpid()


def test_a_worker_starts_whatever_the_current_folder_and_the_environment_say(
    stage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "msgspec.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert stage.run("add", 1, kind="process").outcome == "succeeded"


@pytest.mark.parametrize(
    ("how", "said"), [("exit", "ended with exit status 7"), ("kill", r"was ended by signal 9 (SIGKILL)")]
)
def test_a_worker_that_dies_costs_only_the_job_that_killed_it(stage: Any, how: str, said: str) -> None:
    stage.run("noop", kind="process")  # now it is known to be brisk, and travels in batches
    before = [stage.order("noop", kind="process") for _ in range(200)]
    killer = stage.order("die", how, kind="process")
    after = [stage.order("noop", kind="process") for _ in range(200)]
    stage.runner.start([*before, killer, *after])
    outcomes = stage.seen.wait_all([order.fence for order in (*before, *after)])
    assert {outcome.outcome for outcome in outcomes} == {"succeeded"}
    crashed = stage.seen.wait(killer.fence)
    assert crashed.outcome == "crashed"
    assert said in crashed.error.text
    assert len(stage.seen.items) == 402


def test_a_brisk_job_that_dies_in_a_batch_leaves_what_ended_before_it_succeeded(stage: Any, tmp_path: Path) -> None:
    for _ in range(5):
        stage.run("die_if_there", str(tmp_path / "no"), kind="process")
    (tmp_path / "yes").touch()
    orders = [stage.order("die_if_there", str(tmp_path / "no"), kind="process") for _ in range(60)]
    killers = [stage.order("die_if_there", str(tmp_path / "yes"), kind="process") for _ in range(2)]
    batch = [*orders[:20], killers[0], *orders[20:40], killers[1], *orders[40:]]
    stage.runner.start(batch)
    assert {outcome.outcome for outcome in stage.seen.wait_all([order.fence for order in orders])} == {"succeeded"}
    assert {outcome.outcome for outcome in stage.seen.wait_all([order.fence for order in killers])} == {"crashed"}


def test_a_stop_of_what_waits_behind_a_job_that_lets_nobody_run_does_not_end_that_job(make_stage: Any) -> None:
    stage = make_stage(processes=1)
    path = stage.path("hold")
    for _ in range(30):  # now it is known to be brisk, and travels in batches
        stage.run("hold_interpreter_if_there", str(path), kind="process")
    path.touch()
    first, second = (stage.order("hold_interpreter_if_there", str(path), kind="process") for _ in range(2))
    stage.runner.start([first, second])
    eventually(begun(stage, "hold"))
    stage.runner.stop(second.fence, "cancelled", 0)
    assert stage.seen.wait(first.fence).outcome == "succeeded"
    assert stage.seen.wait(second.fence).outcome in {"not_started", "cancelled", "succeeded"}


def test_a_worker_that_is_killed_from_outside_yields_crashed_and_is_replaced(stage: Any) -> None:
    process = unpack(stage.run("my_process", kind="process").result)
    order = stage.order("wait_for", str(stage.path("go")), kind="process")
    stage.runner.start([order])
    eventually(begun(stage, "go"))
    for worker in workers_of(os.getpid()):
        os.kill(worker, signal.SIGKILL)
    outcome = stage.seen.wait(order.fence)
    assert outcome.outcome == "crashed"
    assert stage.seen.of(order.fence) == [outcome]
    later = unpack(stage.run("my_process", kind="process").result)
    assert later != process


def workers_of(parent: int) -> list[int]:
    """The worker processes of a process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            of = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if of == parent and b"executor.processes.worker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_a_job_that_ignores_term_is_killed_when_its_grace_is_over(stage: Any) -> None:
    order = stage.order("ignore_stop", str(stage.path("never")), kind="process")
    stage.runner.start([order])
    eventually(begun(stage, "never"))
    stage.runner.stop(order.fence, "timed_out", 200_000)
    outcome = stage.seen.wait(order.fence)
    assert outcome.outcome == "timed_out"
    assert not outcome.stuck
    assert stage.path("never.asked").exists()
    assert stage.run("noop", kind="process").outcome == "succeeded"


def test_a_stop_ends_the_whole_process_group(stage: Any) -> None:
    order = stage.order("spawn", str(stage.path("it")), kind="process")
    stage.runner.start([order])
    eventually(begun(stage, "it"))
    child = int(stage.path("it.pid").read_text())
    assert alive(child)
    stage.runner.stop(order.fence, "cancelled", 5 * SECOND)
    assert stage.seen.wait(order.fence).outcome == "cancelled"
    eventually(lambda: not alive(child))


def test_what_waits_in_the_batch_of_a_stopped_job_is_not_spent(stage: Any, tmp_path: Path) -> None:
    for _ in range(5):
        stage.run("hang_if_there", str(tmp_path / "no"), kind="process")
    (tmp_path / "yes").touch()
    orders = [stage.order("hang_if_there", str(tmp_path / "no"), kind="process") for _ in range(40)]
    hanging = stage.order("hang_if_there", str(tmp_path / "yes"), kind="process")
    stage.runner.start([*orders[:10], hanging, *orders[10:]])
    eventually(begun(stage, "yes"))
    stage.runner.stop(hanging.fence, "cancelled", 5 * SECOND)
    assert stage.seen.wait(hanging.fence).outcome == "cancelled"
    assert {outcome.outcome for outcome in stage.seen.wait_all([order.fence for order in orders])} == {"succeeded"}
    assert len(stage.seen.of(hanging.fence)) == 1


def test_stops_at_random_moments_hit_nobody_else(stage: Any) -> None:
    orders = [stage.order("nap", 0.002, kind="process") for _ in range(120)]
    stage.runner.start(orders)
    for order in orders[::3]:
        stage.runner.stop(order.fence, "cancelled", 5 * SECOND)
    outcomes = stage.seen.wait_all([order.fence for order in orders])
    others = {outcome.outcome for at, outcome in enumerate(outcomes) if at % 3}
    assert others == {"succeeded"}
    assert {outcome.outcome for outcome in outcomes[::3]} <= {"succeeded", "cancelled", "not_started"}
    assert len(stage.seen.outcomes) == len(orders)


@pytest.mark.parametrize("forks", [False, True], ids=["alone", "with a forked child that lives on"])
@pytest.mark.parametrize("kind", ["process", "command"])
def test_nothing_that_a_node_has_started_outlives_kill_minus_9(tmp_path: Path, kind: str, forks: bool) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import os, pathlib, subprocess, sys, time
            from callsheet.actors.executor.functions import Functions
            from callsheet.actors.executor.local_runner import LocalRunner
            from callsheet.actors.executor.runner import Order
            from callsheet.actors.records import Command

            folder = pathlib.Path({str(tmp_path)!r})

            def job():
                child = subprocess.Popen(["sleep", "600"])
                (folder / "child").write_text(str(child.pid))
                (folder / "pid").write_text(str(os.getpid()))
                child.wait()

            line = f"sleep 600 & echo $! > {{folder}}/child; echo $$ > {{folder}}/new; mv {{folder}}/new {{folder}}/pid; wait"

            if __name__ == "__main__":
                functions = Functions()
                functions.register("job", job)
                runner = LocalRunner(functions, incarnation="it", processes=1, allow_commands=True)
                runner.open(print)
                command = Command(line=line) if {kind!r} == "command" else None
                runner.start([Order(1, 1, 1, "default", "job", {kind!r}, "job", b"", (), command)])
                while not (folder / "pid").exists():
                    time.sleep(0.01)
                if {forks} and not os.fork():
                    (folder / "forked").write_text(str(os.getpid()))
                time.sleep(600)
            """
        )
    )
    parent = subprocess.Popen([sys.executable, str(script)])
    pid = int(eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), within_s=30))
    child = int((tmp_path / "child").read_text())
    assert alive(pid)
    assert alive(child)
    forked = (
        int(eventually(lambda: (tmp_path / "forked").exists() and (tmp_path / "forked").read_text())) if forks else 0
    )
    parent.kill()
    parent.wait()
    try:
        eventually(lambda: not alive(pid) and not alive(child))
        assert alive(forked) is forks
    finally:
        if forks:
            os.kill(forked, signal.SIGKILL)


PROGRAM = """
import sys
from callsheet.actors.executor.functions import Functions
from callsheet.actors.executor.local_runner import LocalRunner
from callsheet.actors.executor.processes.worker import WorkerReachedRun, in_worker
from callsheet.actors.executor.runner import Order
import threading

def job():
    return [__name__, in_worker()]

class Kept:
    @staticmethod
    def job():
        return [__name__, in_worker()]

def run(target):
    if in_worker():
        raise WorkerReachedRun
    functions = Functions()
    functions.register("job", target)
    runner = LocalRunner(functions, incarnation="it", processes=1)
    done = threading.Event()
    def report(items):
        for item in items:
            print(item.outcome, item.result.hex(), item.error.text if item.error else "")
        done.set()
    runner.open(report)
    runner.start([Order(1, 1, 1, "default", "job", "process", "job", b"")])
    assert done.wait(30)
    runner.close(5_000_000)
"""


def program_says(path: Path, text: str, *arguments: str) -> str:
    path.write_text(PROGRAM + text)
    ended = subprocess.run(
        [sys.executable, *(arguments or [str(path)])], capture_output=True, text=True, cwd=path.parent, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize(
    "text",
    [
        'if __name__ == "__main__":\n    run(job)\n',
        "run(job)\n",
        "run(Kept.job)\n",
        'run(job)\nraise RuntimeError("a worker must not come here") if in_worker() else SystemExit(0)\n',
    ],
    ids=["guarded", "unguarded", "static method", "ends at run"],
)
def test_a_function_of_the_script_that_is_run_is_found_by_its_file(tmp_path: Path, text: str) -> None:
    said = program_says(tmp_path / "program.py", text).split()
    assert said[0] == "succeeded"
    assert unpack(bytes.fromhex(said[1])) == ["__callsheet_main__", True]


def test_a_function_of_a_program_that_is_run_as_a_module_is_found_by_its_name(tmp_path: Path) -> None:
    said = program_says(tmp_path / "program.py", 'if __name__ == "__main__":\n    run(job)\n', "-m", "program").split()
    assert unpack(bytes.fromhex(said[1])) == ["program", True]


def test_a_module_that_cannot_be_imported_again_fails_with_what_it_raised(tmp_path: Path) -> None:
    said = program_says(tmp_path / "program.py", 'if in_worker():\n    raise OSError("no disk")\nrun(job)\n')
    assert said.startswith("failed ")
    assert "job 'job': a worker process cannot load 'job': no disk" in said


def test_a_module_that_ends_each_worker_that_imports_it_fails_and_is_not_tried_for_ever(tmp_path: Path) -> None:
    text = "if in_worker():\n    open('imports', 'a').write('x')\n    __import__('os')._exit(3)\nrun(job)\n"
    said = program_says(tmp_path / "program.py", text)
    assert said.startswith("failed ")
    assert "before it called the function" in said
    assert "ended with exit status 3" in said
    assert (tmp_path / "imports").read_text() == "xxx"


def test_a_function_that_is_not_there_in_the_worker_is_an_unknown_target(tmp_path: Path) -> None:
    said = program_says(tmp_path / "program.py", "if in_worker():\n    del job\nrun(globals().get('job'))\n")
    assert said.startswith("unknown_target ")
    assert "has no job" in said


def test_a_function_without_a_place_fails_with_the_reason(stage: Any) -> None:
    stage.functions.register("closure", lambda: None)
    outcome = stage.run("closure", kind="process")
    assert outcome.outcome == "failed"
    assert "cannot run in a worker process: it is a lambda" in outcome.error.text


def test_workers_that_do_not_start_fail_what_waits_and_are_not_made_for_ever(
    make_stage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = make_stage()
    monkeypatch.setattr(sys, "path", ["/nowhere"])
    outcome = stage.run("noop", kind="process")
    assert outcome.outcome == "failed"
    assert "worker processes do not start on this node" in outcome.error.text
    assert "No module named" in outcome.error.text
    monkeypatch.undo()
    assert stage.run("noop", kind="process").outcome == "succeeded"


def test_an_interpreter_that_is_not_there_fails_what_waits(
    make_stage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = make_stage()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    outcome = stage.run("noop", kind="process")
    assert outcome.outcome == "failed"
    assert "/nowhere/python" in outcome.error.text


def test_a_worker_is_replaced_after_its_number_of_jobs(make_stage: Callable[..., Any]) -> None:
    stage = make_stage(processes=1, worker_limits=WorkerLimits(max_jobs=3))
    processes = [unpack(stage.run("my_process", kind="process").result) for _ in range(9)]
    assert len(set(processes)) >= 3
    assert max(processes.count(process) for process in processes) <= 3


def test_a_worker_has_the_limits_it_was_given(make_stage: Callable[..., Any]) -> None:
    stage = make_stage(processes=1, worker_limits=WorkerLimits(memory_bytes=1 << 30, open_files=64))
    outcome = stage.run("allocate", 1 << 31, kind="process")
    assert outcome.outcome == "failed"
    assert outcome.error.type == "MemoryError"


def test_a_long_job_that_was_brisk_before_gives_back_what_waits_behind_it(stage: Any, tmp_path: Path) -> None:
    for _ in range(5):
        stage.run("hang_if_there", str(tmp_path / "no"), kind="process")
    (tmp_path / "yes").touch()
    long = stage.order("hang_if_there", str(tmp_path / "yes"), kind="process")
    others = [stage.order("hang_if_there", str(tmp_path / "no"), kind="process") for _ in range(60)]
    stage.runner.start([long, *others])
    stage.seen.wait_all([order.fence for order in others])
    assert not stage.seen.of(long.fence)
    (tmp_path / "yes").unlink()
    assert stage.seen.wait(long.fence).outcome == "succeeded"


def test_a_job_s_own_backoff_is_asked_for_crashes_and_failures(stage: Any) -> None:
    stage.functions.register("die", stage.workload.die, backoff=lambda attempt: attempt * 1.5)
    stage.functions.register("fail", stage.workload.fail, backoff=lambda attempt: attempt * 0.5)
    assert stage.run("die", "exit", kind="process", attempt=2).retry_after_us == 3 * SECOND
    assert stage.run("fail", "x", kind="process", attempt=3).retry_after_us == 1_500_000


def test_no_worker_is_left_after_close(stage: Any) -> None:
    stage.run("noop", kind="process")
    assert workers_of(os.getpid())
    stage.close()
    eventually(lambda: not workers_of(os.getpid()))
