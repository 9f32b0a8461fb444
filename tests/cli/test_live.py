import io
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from callsheet import Client, Scheduler, every
from callsheet.cli.live import live, render, take
from callsheet.client.reading import StoreReading
from support.waiting import eventually


def nothing() -> None:
    pass


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Scheduler]:
    made = Scheduler(f"sqlite:///{tmp_path / 'jobs.db'}", threads=2, processes=0)
    made.add(nothing, every("1h"), name="hourly")
    made.add(nothing, name="by-hand")
    with made:
        made.trigger("by-hand").result(10)
        yield made


def drawn(source: object) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(render(take(source), "a title"))  # type: ignore[arg-type]
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_view_counts_runs_and_lists_jobs_by_what_is_due_next(scheduler: Scheduler) -> None:
    text = drawn(scheduler)

    assert "0 running   0 waiting   1 succeeded" in text
    assert text.index("hourly") < text.index("by-hand")
    assert re.search(r"in (59 min|1 h)", text)
    assert "SUCCEEDED" in text


def test_the_view_is_the_same_from_another_process_and_little_less_from_the_store(scheduler: Scheduler) -> None:
    path = getattr(scheduler.store, "path", None)
    assert isinstance(path, Path)

    with Client(f"sqlite:///{path}") as client:
        eventually(lambda: "1 succeeded" in drawn(client))  # a node counts a few times a second
    scheduler.stop()
    with StoreReading(path) as reading:
        assert "1 succeeded" in drawn(reading)


def test_the_view_ends_with_its_event_and_with_its_scheduler(scheduler: Scheduler) -> None:
    until = threading.Event()
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    viewer = threading.Thread(target=live, args=(scheduler,), kwargs={"until": until, "console": console})
    viewer.start()
    until.set()
    viewer.join(10)
    assert not viewer.is_alive()

    scheduler.stop()
    live(scheduler, until=threading.Event(), console=console)


class Faltering:
    """Has no answer to every other look, as a cluster while nobody leads it."""

    def __init__(self, source: Scheduler, until: threading.Event) -> None:
        self._source = source
        self._until = until
        self._looks = 0

    def jobs(self, limit: int) -> object:
        self._looks += 1
        if self._looks % 2:
            raise TimeoutError("no answer: nobody is known to lead")
        if self._looks == 4:
            self._until.set()
        return self._source.jobs(limit=limit)

    def runs(self, limit: int) -> object:
        return self._source.runs(limit=limit)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_view_goes_on_after_a_look_that_got_no_answer(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_terminal: bool
) -> None:
    monkeypatch.setattr("callsheet.cli.live.LINE_S", 0.01)
    until = threading.Event()
    console = Console(file=io.StringIO(), width=100, force_terminal=True) if is_terminal else None

    live(Faltering(scheduler, until), until=until, console=console)  # type: ignore[arg-type]

    shown = capsys.readouterr().out if console is None else console.file.getvalue()  # type: ignore[attr-defined]
    assert until.is_set()
    assert shown.count("next hourly" if console is None else "Newest runs") >= 2


class Gone(io.StringIO):
    """A stream that nobody reads any more."""

    def write(self, text: str) -> int:
        del text
        raise BrokenPipeError


def test_the_view_ends_without_a_word_when_nobody_reads_it_any_more(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Gone())
    live(scheduler, until=threading.Event())
