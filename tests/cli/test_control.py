"""The control socket: two real processes, and everything that is no client."""

import os
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callsheet import DefinitionError, NotRunning, Scheduler, UnknownJob, UnknownRun, every
from callsheet.actors.messages import ChangeJob, Envelope, Query, Stop, Submit, SubmitItem
from callsheet.actors.persistence.store import GetCounters
from callsheet.client.control import Control
from callsheet.client.control_path import MAX_PATH_BYTES, beside, check_folder, own_folder
from callsheet.client.control_server import MAX_CONNECTIONS, ControlServer
from callsheet.client.frame import FrameReader, write_frames
from callsheet.node import marks_folder
from callsheet.transport.in_process import InProcess
from support.waiting import eventually

HOUR = timedelta(hours=1)


def echo(text: str) -> str:
    sys.stdout.write(f"{text}\n")
    return text * 2


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Scheduler]:
    made = Scheduler(f"sqlite:///{tmp_path / 'jobs.db'}", threads=2, processes=0)
    made.add(echo, name="echo", args=["ab"], tags=["loud"])
    with made:
        yield made


@pytest.fixture
def path(scheduler: Scheduler) -> Path:
    found = getattr(scheduler.store, "path", None)
    assert isinstance(found, Path)
    return beside(found)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ControlServer]:
    made = ControlServer(tmp_path / "x.control", InProcess("n"), "n1")
    made.open()
    yield made
    made.close()


def connect(path: Path) -> socket.socket:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(10)
    link.connect(str(path))
    return link


def is_ended(link: socket.socket) -> bool:
    try:
        return link.recv(1) == b""
    except ConnectionResetError:
        return True


def test_the_same_words_reach_a_scheduler_from_outside(scheduler: Scheduler) -> None:
    with Control.of(scheduler.store) as control:
        handle = control.submit("echo", "xy")

        assert handle.result(10) == "xyxy"
        assert control.trigger("echo").result(10) == "abab"
        assert handle.status().state == "SUCCEEDED"
        assert handle.logs() == "xy\n"
        assert [job.name for job in control.jobs(tag="loud")] == ["echo"]
        assert [run.job for run in control.runs("echo", state="succeeded")] == ["echo", "echo"]
        assert control.handle(handle.run_id).result(10) == "xyxy"
        control.pause("echo")
        assert scheduler.job_view("echo").status == "paused"
        control.resume("echo")
        assert [event.kind for event in control.events("echo")] == ["job_resume", "job_pause"]
        assert "callsheet_runs_created_total" in control.metrics()


def test_refusals_come_back_as_the_same_errors(scheduler: Scheduler) -> None:
    with Control.of(scheduler.store) as control:
        with pytest.raises(UnknownJob):
            control.trigger("nobody")
        with pytest.raises(UnknownRun):
            control.cancel(99)


def test_the_preview_of_a_job_counts_from_when_it_was_added(scheduler: Scheduler) -> None:
    scheduler.add(echo, every("1h").but(limit=3), name="hourly", args=["tick"])

    with Control.of(scheduler.store) as control:
        due = control.job_view("hourly").next_due
        assert due is not None
        assert [row.instant for row in control.preview("hourly", 5)] == [due, due + HOUR, due + 2 * HOUR]
        assert control.preview("echo") == []
        with pytest.raises(DefinitionError, match="0 to 10,000"):
            control.preview("hourly", -1)


def test_more_runs_than_one_page_holds_are_listed(scheduler: Scheduler) -> None:
    with Control.of(scheduler.store) as control:
        handles = control.submit_many([("echo", str(number)) for number in range(40)])
        assert [handle.result(10) for handle in handles] == [str(number) * 2 for number in range(40)]

        assert [run.run_id for run in control.runs(limit=30)] == [handle.run_id for handle in handles[:9:-1]]
        assert len(control.runs(limit=1_000, state="succeeded")) == 40


def test_results_too_large_for_one_frame_come_page_by_page(scheduler: Scheduler) -> None:
    handles = scheduler.submit_many([("echo", "x" * 250_000) for _ in range(40)])
    for handle in handles:
        handle.wait(20)

    with Control.of(scheduler.store) as control:
        assert len(control.runs(limit=40)) == 40


def test_whoever_waits_is_told_when_the_scheduler_goes(scheduler: Scheduler) -> None:
    with Control.of(scheduler.store) as control:
        assert [job.name for job in control.jobs()] == ["echo"]
        scheduler.stop()

        def refused() -> bool:
            try:
                control.jobs()
            except NotRunning as error:
                return "closed the connection" in str(error)
            return False

        eventually(refused)


def test_nobody_listens_on_a_store_without_a_scheduler(scheduler: Scheduler, path: Path) -> None:
    assert path.exists()
    scheduler.stop()

    assert not path.exists()
    with pytest.raises(NotRunning, match="no scheduler listens"):
        Control.of(scheduler.store)


def test_a_store_in_memory_has_no_socket() -> None:
    with Scheduler("memory://", threads=1, processes=0) as made, pytest.raises(NotRunning, match="in memory"):
        Control.of(made.store)


def test_only_the_owner_may_open_the_socket(path: Path) -> None:
    mode = path.lstat().st_mode

    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


RUBBISH = [
    b"\xff" * 64,
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    (5).to_bytes(4, "big") + b"hello",
    (0).to_bytes(4, "big"),
    (16 * 1024 * 1024 + 1).to_bytes(4, "big"),
]


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_rubbish_is_counted_and_ends_its_connection_only(
    server: ControlServer, rubbish: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    other = connect(server.path)
    link = connect(server.path)

    link.sendall(rubbish)

    assert is_ended(link)
    assert server.refused() == {"undecodable": 1}
    assert "control_refused" in caplog.text
    other.setblocking(False)
    with pytest.raises(BlockingIOError):
        other.recv(1)
    link.close()
    other.close()


@pytest.mark.parametrize(
    "message", [Stop(0), ChangeJob("k", "default", "echo", "reschedule")], ids=["of an actor", "impossible"]
)
def test_what_no_client_asks_is_counted_and_ends_its_connection(server: ControlServer, message: Any) -> None:
    link = connect(server.path)

    link.sendall(write_frames(Envelope("client-x", "coordinator", 0, (message,))))

    assert is_ended(link)
    assert server.refused() == {"no_request": 1}
    link.close()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=200))
def test_no_bytes_whatever_harm_the_server(server: ControlServer, noise: bytes) -> None:
    with connect(server.path) as link:
        link.sendall(noise)
        link.shutdown(socket.SHUT_WR)
        assert is_ended(link)


def test_a_running_scheduler_survives_rubbish(scheduler: Scheduler, path: Path) -> None:
    for rubbish in RUBBISH:
        with connect(path) as link:
            link.sendall(rubbish)
            assert is_ended(link)

    with Control.of(scheduler.store) as control:
        assert control.submit("echo", "still").result(10) == "stillstill"


def test_sender_and_recipient_of_a_frame_are_not_believed() -> None:
    transport = InProcess("n")
    taken: list[Envelope] = []

    def take(envelope: Envelope) -> bool:
        taken.append(envelope)
        return True

    transport.attach("registry", take)
    with tempfile.TemporaryDirectory() as folder:
        server = ControlServer(Path(folder) / "x.control", transport, "n1")
        server.open()
        with connect(server.path) as link:
            request = Query("k", GetCounters())
            link.sendall(write_frames(Envelope("coordinator", "persistence", 7, (request,))))
            eventually(lambda: taken)
        server.close()

    assert taken == [Envelope("client-n1-1", "registry", 0, (request,))]


def test_connections_have_a_limit(server: ControlServer) -> None:
    links = [connect(server.path) for _ in range(MAX_CONNECTIONS)]
    eventually(lambda: len(server._connections) == MAX_CONNECTIONS)

    with connect(server.path) as late:
        assert is_ended(late)

    assert server.refused() == {"too_many": 1}
    for link in links:
        link.close()


def test_frames_are_put_together_from_any_pieces() -> None:
    first = Envelope("a", "b", 0, (Submit("k", "default", (SubmitItem("echo"),)),))
    second = Envelope("a", "b", 3, (Query("q", GetCounters()),))
    stream = write_frames(first) + write_frames(second)

    for size in (1, 3, 7, len(stream)):
        reader = FrameReader()
        found = [
            envelope for start in range(0, len(stream), size) for envelope in reader.feed(stream[start : start + size])
        ]
        assert found == [first, second]


def test_a_socket_that_a_killed_scheduler_left_is_replaced(shell: Any, program: Any, stop: Any) -> None:
    process = shell.serve("app.py")
    left = shell.folder / "jobs.db.control"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert left.exists()

    asked = shell("jobs", "--store", "sqlite:///jobs.db")
    changed = shell("trigger", "greet", "--store", "sqlite:///jobs.db")
    again = shell.serve("app.py")
    reached = shell("trigger", "greet", "--wait", "--store", "sqlite:///jobs.db")

    assert (asked.code, changed.code, reached.code) == (0, 0, 0)
    assert "no scheduler is running" in changed.out
    assert stop(again) == 0
    assert not left.exists()


def test_something_else_in_the_place_of_the_socket_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    precious = tmp_path / "jobs.db.control"
    precious.write_text("a letter")

    with Scheduler(f"sqlite:///{tmp_path / 'jobs.db'}", threads=1, processes=0):
        pass

    assert precious.read_text() == "a letter"
    assert "control_closed" in caplog.text


def test_a_long_path_has_its_socket_in_a_folder_of_the_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        store = tmp_path / ("x" * 100) / "jobs.db"
        store.parent.mkdir()
        path = beside(store)
        assert path.parent == own_folder() == Path(short) / f"callsheet-{os.getuid()}"
        assert path != beside(store.with_name("other.db"))

        with Scheduler(f"sqlite:///{store}", threads=1, processes=0) as made, Control.of(made.store) as control:
            assert control.jobs() == []
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not path.exists()

        path.parent.chmod(0o755)
        with pytest.raises(PermissionError):
            check_folder(path)
        with pytest.raises(NotRunning, match="not a folder of this user alone"):
            Control(path)


def test_a_path_is_beside_the_store_as_long_as_it_fits() -> None:
    name = "/" + "x" * (MAX_PATH_BYTES - len(".control") - 1)

    assert beside(Path(name)) == Path(f"{name}.control")
    assert beside(Path(name + "x")).parent == own_folder()


def test_what_belongs_to_a_store_is_beside_it(scheduler: Scheduler, tmp_path: Path) -> None:
    assert marks_folder(scheduler.store) == tmp_path / "jobs.db.marks"
