"""How the command reaches a scheduler: by its store, whose lease says where it listens; and what is left when it is gone."""

import os
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callsheet import Client, Scheduler
from callsheet.cli import reach
from callsheet.cli.reach import is_served
from callsheet.client.desk import Desk
from callsheet.node import marks_folder
from callsheet.transport.local_endpoint import living_endpoints, private_folder
from support.reached import echo
from support.waiting import eventually

STORE = ("--store", "sqlite:///jobs.db")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder of a short name, as a socket's path has 107 bytes at most; those of pytest may be longer."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Scheduler]:
    made = Scheduler(f"sqlite:///{tmp_path / 'jobs.db'}", threads=2, processes=0)
    made.add(echo, name="echo", args=["ab"], tags=["loud"])
    with made:
        yield made


def path_of(endpoint: str) -> Path:
    return Path(endpoint.removeprefix("ipc://"))


def test_only_the_owner_may_come_to_the_socket(scheduler: Scheduler) -> None:
    path = path_of(scheduler.endpoints[0])

    assert stat.S_ISSOCK(path.lstat().st_mode)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_scheduler_that_has_stopped_leaves_no_socket_and_is_not_served(scheduler: Scheduler) -> None:
    path = path_of(scheduler.endpoints[0])
    assert path.exists()
    assert is_served(scheduler.store)
    scheduler.stop()

    assert not path.exists()
    assert not is_served(scheduler.store)


def test_what_belongs_to_a_store_is_beside_it(scheduler: Scheduler, tmp_path: Path) -> None:
    assert marks_folder(scheduler.store) == tmp_path / "jobs.db.marks"
    assert path_of(scheduler.endpoints[0]).parent == tmp_path / "jobs.db.nodes"


def test_a_desk_is_not_taken_for_a_scheduler(tmp_path: Path) -> None:
    with Desk(f"sqlite:///{tmp_path / 'jobs.db'}") as desk:
        assert desk.endpoints == ()
        assert living_endpoints(tmp_path / "jobs.db") == []
        assert not is_served(desk.store)


def test_a_scheduler_that_starts_while_a_command_looks_is_reached(
    scheduler: Scheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([False])  # it is not there yet at the first look, and leads before the command can
    monkeypatch.setattr(reach, "is_served", lambda store: next(looks, None) is None and is_served(store))
    with reach.changing(f"sqlite:///{tmp_path / 'jobs.db'}", "default") as reached:
        assert reach.is_running(reached)
        assert reached.trigger("echo").result(10) == "abab"


def test_a_running_scheduler_survives_rubbish(scheduler: Scheduler) -> None:
    path = path_of(scheduler.endpoints[0])
    for rubbish in (b"\xff" * 64, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", (2**63).to_bytes(8, "big") * 100):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(10)
            link.connect(str(path))
            link.sendall(rubbish)

    with Client(scheduler.endpoints[0]) as client:
        assert client.submit("echo", "still").result(10) == "stillstill"


def test_a_long_path_has_its_socket_in_a_folder_of_the_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        store = tmp_path / ("x" * 100) / "jobs.db"
        store.parent.mkdir()

        with Scheduler(f"sqlite:///{store}", threads=1, processes=0) as made:
            path = path_of(made.endpoints[0])
            assert path.parent == private_folder() == Path(short) / f"callsheet-{os.getuid()}"
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            with Client(f"sqlite:///{store}") as client:
                assert client.jobs() == []
            path.parent.chmod(0o755)
            with pytest.raises(PermissionError, match="not a folder of this user alone"):
                Client(f"sqlite:///{store}").open()
            path.parent.chmod(0o700)
        assert not path.exists()


def test_a_scheduler_that_was_killed_is_not_waited_for(shell: Any, program: Any, stop: Any) -> None:
    process = shell.serve("app.py")
    [left] = (shell.folder / "jobs.db.nodes").glob("*.ipc")
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert left.exists()

    asked = shell("jobs", *STORE)
    changed = shell("trigger", "greet", *STORE)
    again = shell.serve("app.py")
    reached = shell("trigger", "greet", "--wait", *STORE)

    assert (asked.code, changed.code, reached.code) == (0, 0, 0), (asked.err, changed.err, reached.err)
    assert "no scheduler is running" in changed.out
    assert stop(again) == 0


def test_a_job_is_submitted_with_arguments_and_waited_for(shell: Any, program: Any, stop: Any) -> None:
    process = shell.serve("app.py")

    assert shell("submit", "double", *STORE).out.endswith(": run 1\n")
    assert shell("submit", "double", "4", "--wait", *STORE).out == "double: run 2 SUCCEEDED 8\n"
    text = shell("submit", "double", "ab", "--wait", "--json", *STORE)
    assert (text.code, text.json) == (
        0,
        [{"run_id": 3, "job": "double", "state": "SUCCEEDED", "result": "abab", "error": ""}],
    )
    many = shell("submit", "greet", "--count", "300", "--wait", *STORE)
    assert many.out == "greet: 300 runs, 4 to 303; 300 SUCCEEDED\n"
    failed = shell("submit", "fail", "--wait", *STORE)
    assert (failed.code, failed.out.startswith("fail: run 304 FAILED: ")) == (1, True)
    unknown = shell("submit", "nobody", *STORE)
    assert (unknown.code, len(unknown.err.splitlines())) == (4, 1)
    assert stop(process) == 0
    stored = shell("submit", "double", *STORE)
    assert stored.out == "double: run 305; no scheduler is running; it waits in the store until one does\n"
    assert shell("submit", "double", "--wait", *STORE).code == 1


def test_a_scheduler_with_keys_is_reached_with_a_key(shell: Any) -> None:
    assert shell("keys", "new", "cluster", "--role", "node", "--folder", "keys").code == 0
    assert shell("keys", "new", "alice", "--role", "operator", "--folder", "keys").code == 0
    with Scheduler(
        f"sqlite:///{shell.folder / 'jobs.db'}", processes=0, listen="tcp://127.0.0.1:0", keys=shell.folder / "keys"
    ) as scheduler:
        scheduler.add(echo, name="echo", args=["ab"], overlap="allow_all")
        named = shell("trigger", "echo", "--wait", *STORE, CALLSHEET_KEY="keys/alice.secret")
        given = shell("submit", "echo", "--to", scheduler.endpoints[0], "--key", "keys/alice.secret", "--wait")
        without = shell("pause", "echo", *STORE)

    assert (named.code, given.code) == (0, 0), (named.err, given.err)
    assert (without.code, "have keys that fit" in without.err) == (5, True)


def test_a_job_is_submitted_to_a_cluster_by_an_endpoint(shell: Any, scheduler: Scheduler) -> None:
    endpoint = scheduler.endpoints[0]

    assert shell("submit", "echo", "x", "--to", endpoint, "--wait").out == 'echo: run 1 SUCCEEDED "xx"\n'
    both = shell("submit", "echo", "--to", endpoint, *STORE)
    assert (both.code, "not both" in both.err) == (2, True)
    eventually(lambda: scheduler.runs("echo"))
