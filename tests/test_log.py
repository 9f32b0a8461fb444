"""Log lines: one for each event, in both formats."""

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from callsheet.actors.messages import ContactChanged, Happened, LeaderChanged, RunsCreated
from callsheet.actors.records import Event
from callsheet.errors import DefinitionError
from callsheet.log import LOGGER, EventLog, JsonFormatter, TextFormatter, configure_logging, quoted

PARKED = Happened(Event(0, "run_parked", "shop", "nightly", 12, "the store is full"), "warning")


class Journal:
    """What was logged: the package's logger writes into it."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def use(self, style: Any, level: Any = "debug") -> None:
        configure_logging(style, level, stream=self.stream)

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    def texts(self) -> list[str]:
        """The lines without their times."""
        return [line.partition(" ")[2] for line in self.lines()]

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]


@pytest.fixture
def journal() -> Iterator[Journal]:
    before = (LOGGER.level, list(LOGGER.handlers), LOGGER.propagate)
    yield Journal()
    LOGGER.setLevel(before[0])
    LOGGER.handlers[:] = before[1]
    assert LOGGER.propagate is before[2]


def test_an_event_is_one_line_of_its_name_and_fields(journal: Journal) -> None:
    journal.use("text")

    EventLog("n1").write("coordinator", PARKED)

    assert journal.texts() == [
        'WARNING run_parked node=n1 epoch=0 actor=coordinator job=shop/nightly run=12 text="the store is full"'
    ]
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", journal.lines()[0])


def test_an_event_is_one_json_object(journal: Journal) -> None:
    journal.use("json")

    EventLog("n1").write("coordinator", PARKED)

    [found] = journal.objects()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {
        "level": "warning",
        "logger": "callsheet",
        "event": "run_parked",
        "node": "n1",
        "epoch": 0,
        "actor": "coordinator",
        "job": "shop/nightly",
        "run": 12,
        "text": "the store is full",
    }


def test_what_an_event_does_not_say_is_left_out(journal: Journal) -> None:
    journal.use("text")

    EventLog("n1").write("clock", Happened(Event(0, "clock_jumped")))

    assert journal.texts() == ["INFO clock_jumped node=n1 epoch=0 actor=clock"]


def test_who_leads_is_logged_and_every_line_after_bears_the_epoch(journal: Journal) -> None:
    journal.use("text")
    log = EventLog("n1")

    log.write("coordinator", LeaderChanged(7, "n2", own=False))
    log.write("clock", Happened(Event(0, "clock_jumped")))
    log.write("coordinator", LeaderChanged(0, "", own=False))
    log.write("coordinator", LeaderChanged(8, "n1", own=True))

    assert journal.texts() == [
        "INFO leader_changed node=n1 epoch=7 actor=coordinator leader=n2 own=false",
        "INFO clock_jumped node=n1 epoch=7 actor=clock",
        'INFO leader_changed node=n1 epoch=7 actor=coordinator leader="" own=false',
        "INFO leader_changed node=n1 epoch=8 actor=coordinator leader=n1 own=true",
    ]


def test_being_cut_off_is_a_warning_and_being_heard_again_is_not(journal: Journal) -> None:
    journal.use("text")
    log = EventLog("n1")

    log.write("coordinator", ContactChanged(is_cut_off=True))
    log.write("coordinator", ContactChanged(is_cut_off=False))

    assert journal.texts() == [
        "WARNING node_cut_off node=n1 epoch=0 actor=coordinator",
        "INFO node_heard_again node=n1 epoch=0 actor=coordinator",
    ]


def test_what_is_only_counted_is_not_logged(journal: Journal) -> None:
    journal.use("text")

    EventLog("n1").write("coordinator", RunsCreated(5))

    assert journal.lines() == []


def test_events_below_the_level_are_not_logged(journal: Journal) -> None:
    journal.use("text", "warning")
    log = EventLog("n1")

    log.write("clock", Happened(Event(0, "quiet"), "info"))
    log.write("clock", Happened(Event(0, "loud"), "error"))

    assert journal.texts() == ["ERROR loud node=n1 epoch=0 actor=clock"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("n1.example:80/x-y_z", "n1.example:80/x-y_z"),
        ("größe", "größe"),
        (12, "12"),
        (True, "true"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ("it's", '"it\'s"'),
        ('say "x"', r'"say \"x\""'),
        ("back\\slash", r'"back\\slash"'),
        ("two\nlines", r'"two\nlines"'),
        ("red \x1b[31m", r'"red \u001b[31m"'),
        ("other\u2028line\x85", r'"other\u2028line\u0085"'),
    ],
)
def test_a_value_is_quoted_where_it_could_be_misread(value: object, written: str) -> None:
    assert quoted(value) == written
    if isinstance(value, str) and written.startswith('"'):
        assert json.loads(written) == value


@pytest.mark.parametrize("style", ["text", "json"])
def test_nothing_that_a_job_says_makes_a_line_of_its_own(journal: Journal, style: str) -> None:
    journal.use(style)
    evil = "x\n2030-05-01T09:00:00.000Z INFO leader_changed node=n1 epoch=9\r\u2028\x85 end"

    EventLog("n1").write("executor", Happened(Event(0, "run_failed", "shop", "a b\nc", 1, evil), "error"))
    LOGGER.error("said %s", evil)

    assert len(journal.lines()) == 2


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_record_that_is_no_event_is_one_line_with_its_traceback(journal: Journal, style: str) -> None:
    journal.use(style)

    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("callsheet.somewhere").exception("could not do %s", "it")

    [line] = journal.lines()
    if style == "json":
        found = json.loads(line)
        assert (found["event"], found["logger"], found["level"]) == ("could not do it", "callsheet.somewhere", "error")
        trace = found["traceback"]
    else:
        assert ' ERROR could not do it traceback="' in line
        trace = json.loads(line.partition("traceback=")[2])
    assert trace.startswith("Traceback")
    assert trace.endswith("ValueError: broken")


def test_a_handler_of_the_program_gets_the_fields_as_data(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "callsheet")

    EventLog("n1").write("coordinator", PARKED)

    [record] = caplog.records
    assert record.name == "callsheet"
    assert record.getMessage().startswith("run_parked node=n1 ")
    fields = vars(record)["callsheet"]
    assert list(fields) == ["event", "node", "epoch", "actor", "job", "run", "text"]
    assert fields["run"] == 12


def test_the_package_adds_no_handler_that_writes() -> None:
    assert [type(each) for each in LOGGER.handlers] == [logging.NullHandler]
    assert LOGGER.level == logging.NOTSET
    assert LOGGER.propagate


def test_configuring_again_replaces_what_was_configured_and_nothing_else(journal: Journal) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    own = logging.NullHandler()
    LOGGER.addHandler(own)

    journal.use("json")
    journal.use("text")
    EventLog("n1").write("clock", Happened(Event(0, "clock_jumped")))

    assert journal.texts() == ["INFO clock_jumped node=n1 epoch=0 actor=clock"]
    assert own in LOGGER.handlers
    assert (list(root.handlers), root.level) == before


def test_without_a_stream_it_writes_to_standard_error(journal: Journal, capsys: pytest.CaptureFixture[str]) -> None:
    handler = configure_logging()

    EventLog("n1").write("clock", Happened(Event(0, "clock_jumped")))

    assert isinstance(handler.formatter, TextFormatter)
    assert "clock_jumped node=n1" in capsys.readouterr().err
    assert journal.lines() == []


def test_an_unknown_format_or_level_is_refused_and_changes_nothing(journal: Journal) -> None:
    before = list(LOGGER.handlers)

    with pytest.raises(DefinitionError, match=r"'xml' is no format of the log; there are text, json"):
        journal.use("xml")
    with pytest.raises(DefinitionError, match=r"'loud' is no level of the log; there are debug, info"):
        journal.use("text", "loud")
    assert LOGGER.handlers == before


def test_the_formatters_serve_any_record() -> None:
    record = logging.LogRecord("other", logging.INFO, "file.py", 1, "hello %s", ("you",), None)

    assert TextFormatter().format(record).endswith(" INFO hello you")
    assert json.loads(JsonFormatter().format(record))["event"] == "hello you"
