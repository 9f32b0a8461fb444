import http.client
import json
import re
import signal
from typing import Any

import pytest

from support.waiting import eventually


def run_of(shell: Any, job: str) -> Any:
    rows = shell("runs", job, "--json", "--store", "sqlite:///jobs.db").json
    return rows[0] if rows else None


def test_a_file_runs_until_it_is_told_to_stop_and_its_guard_holds(shell: Any, program: Any, stop: Any) -> None:
    process = shell.serve("app.py")

    assert stop(process) == 0
    assert shell.text("out0") == "callsheet app.py: running 4 jobs; Ctrl-C stops\ncallsheet app.py: stopped\n"
    assert shell.text("err0") == ""


def test_jobs_have_the_names_they_have_when_the_file_is_run_by_itself(shell: Any, program: Any, stop: Any) -> None:
    process = shell.serve("app.py:scheduler")
    names = [job["name"] for job in shell("jobs", "--json", "--store", "sqlite:///jobs.db").json]
    stop(process)

    assert names == ["double", "fail", "greet", "hang"]


def test_functions_of_a_loaded_file_run_in_worker_processes(shell: Any, program: Any, stop: Any) -> None:
    process = shell.serve("app.py")
    ran = shell("trigger", "double", "--wait", "--timeout", "30", "--store", "sqlite:///jobs.db")
    stop(process)

    assert (ran.code, ran.out) == (0, "double: run 1 SUCCEEDED\n")


def test_a_module_of_the_working_folder_runs_too(shell: Any, program: Any, stop: Any) -> None:
    process = shell.serve("app", "--json")
    names = [job["name"] for job in shell("jobs", "--json", "--store", "sqlite:///jobs.db").json]
    stop(process)

    assert names == ["app.double", "app.fail", "app.greet", "app.hang"]
    told = [json.loads(line) for line in shell.text("out0").splitlines()]
    assert [each["event"] for each in told] == ["started", "stopped"]
    assert told[0]["jobs"] == 4


def test_a_program_without_a_guard_is_loaded_up_to_its_run(shell: Any, stop: Any) -> None:
    shell.write(
        "app.py",
        "from callsheet import Scheduler\n"
        "other, scheduler = Scheduler('sqlite:///other.db'), Scheduler('sqlite:///jobs.db')\n"
        "@scheduler.job()\ndef work(): pass\n"
        "try:\n    scheduler.run()\nexcept Exception:\n    pass\n"
        "raise SystemExit('what stands behind run() is not reached')\n",
    )
    process = shell.serve("app.py")

    assert [job["name"] for job in shell("jobs", "--json", "--store", "sqlite:///jobs.db").json] == ["work"]
    assert stop(process) == 0


@pytest.mark.parametrize(
    ("target", "text", "code", "said"),
    [
        ("nowhere.py", None, 4, "no such file"),
        ("nowhere", None, 4, "no such module"),
        ("app.py", "x = 1", 4, "no scheduler"),
        ("app.py", "from callsheet import Scheduler\na, b = Scheduler(), Scheduler()", 4, "its schedulers are a, b"),
        ("app.py:c", "from callsheet import Scheduler\na, b = Scheduler(), Scheduler()", 4, "has no c"),
        ("app.py:x", "from callsheet import Scheduler\na = Scheduler()\nx = 3", 4, "of type int"),
        ("app.py", "\n\n1 / 0", 1, "ZeroDivisionError: division by zero (line 3)"),
        ("app.py", "import not_installed_at_all", 1, "not_installed_at_all"),
        ("app.py", "def f(:", 1, "SyntaxError"),
        ("app.py", "raise SystemExit(3)", 1, "exited"),
        ("app.py", "from callsheet import Scheduler\nwith Scheduler('memory://'): pass", 1, "starts its scheduler"),
    ],
)
def test_what_cannot_be_run_is_told_in_one_line(
    shell: Any, target: str, text: str | None, code: int, said: str
) -> None:
    if text is not None:
        shell.write("app.py", text)

    ran = shell("run", target)

    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert len(ran.err.splitlines()) == 1


def test_debug_shows_the_traceback(shell: Any) -> None:
    shell.write("app.py", "1 / 0")

    ran = shell("run", "app.py", "--debug")

    assert ran.code == 1
    assert "Traceback" in ran.err
    assert "1 / 0" in ran.err


def test_a_second_scheduler_on_a_store_joins_the_first(shell: Any, program: Any, stop: Any) -> None:
    first, second = shell.serve("app.py"), shell.serve("app.py")

    eventually(lambda: len(shell("cluster", "--store", "sqlite:///jobs.db").rows) == 2)
    assert shell("trigger", "greet", "--wait", "--store", "sqlite:///jobs.db").code == 0

    assert [stop(first), stop(second)] == [0, 0]


def test_health_and_the_log_are_served_as_the_options_say(shell: Any, program: Any, stop: Any) -> None:
    process = shell.serve("app.py", "--http", "127.0.0.1:0", "--log-format", "json", "--log-level", "info")

    [address] = re.findall(r"http://(\S+);", shell.text("out0"))
    line = http.client.HTTPConnection(address, timeout=20)
    line.request("GET", "/health/ready")
    assert line.getresponse().status == 200
    line.close()
    assert stop(process) == 0
    assert '"event": "leader_changed"' in shell.text("err0")


def test_a_second_signal_hurries_the_stop(shell: Any, program: Any) -> None:
    process = shell.serve("app.py")
    shell("trigger", "hang", "--store", "sqlite:///jobs.db")
    eventually(lambda: run_of(shell, "hang")["state"] == "RUNNING")

    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)

    assert process.wait(9) == 0  # by itself the job would be given ten seconds
    assert run_of(shell, "hang")["state"] in {"READY", "LOST", "CANCELLED", "CLAIMED"}


def test_the_options_of_a_store_belong_to_a_run_without_a_program(shell: Any, program: Any) -> None:
    ran = shell("run", "app.py", "--store", "sqlite:///other.db")

    assert ran.code == 2
    assert "--store" in ran.err


def test_live_lines_are_told_in_a_pipe(shell: Any, program: Any, stop: Any) -> None:
    process = shell.serve("app.py", "--live")
    eventually(lambda: "running 0  waiting 0" in shell.text("out0"))
    objects = shell.serve("app.py", "--live", "--json") if stop(process) == 0 else None
    eventually(lambda: '"state"' in shell.text("out1"))

    assert objects is not None
    assert stop(objects) == 0
    assert "next greet in" in shell.text("out0")
    states = [json.loads(line) for line in shell.text("out1").splitlines()]
    assert {"running": 0, "waiting": 0}.items() <= states[1].items()
