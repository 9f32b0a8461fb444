"""docs/protocol.md says what is true: its frames are read and written as they stand there, and a client made of it alone works."""

from __future__ import annotations

import re
from typing import Any, Final, get_args

import pytest

from callsheet import data
from callsheet.actors.messages import (
    Accepted,
    Answer,
    Envelope,
    Follow,
    LeaderIs,
    MemberStatus,
    Query,
    RefusalCode,
    RequestRejected,
    RunsEnded,
    Submit,
    SubmitItem,
)
from callsheet.actors.persistence.store import GetRuns
from callsheet.actors.records import (
    Attempt,
    Command,
    Decision,
    End,
    ErrorInfo,
    Event,
    Hook,
    Job,
    JobRecord,
    JobState,
    Retry,
    Run,
    RunRecord,
    RunState,
)
from callsheet.transport.codec import decode, encode
from callsheet.transport.security.roles import QUESTIONS, RULES
from callsheet.transport.zeromq.wire import (
    HELLO,
    WELCOME,
    Hello,
    pack_batch,
    pack_greeting,
    read_hello,
    unpack_batch,
)
from callsheet.triggers import CatchUp, Trigger
from support.source import ROOT

CLIENT: Final = "client-71-a1b2"
SECOND: Final = 1_000_000
AT: Final = 1_767_225_600 * SECOND
RUN: Final = Run(17, "default", "ingest", 1, "submit", None, "", AT - 2 * SECOND, AT - 2 * SECOND, 0, b"")
END: Final = End(17, RunState.SUCCEEDED, AT, 1, 9, "n1", AT - SECOND, data.pack(42))
ARGUMENTS: Final = data.pack([["2026-03-01"], {"retry": True}])

HELLOS: Final = {
    "hello": (HELLO, Hello(1, 0, CLIENT, "71-a1b2", "client")),
    "welcome": (WELCOME, Hello(1, 0, "n1", "9-5f0c", "node", "tcp://10.0.0.1:7070")),
}


def asked(to: str, message: Any) -> Envelope:
    return Envelope(CLIENT, f"{to}@n1", 0, (message,))


def told(by: str, message: Any) -> Envelope:
    return Envelope(f"{by}@n1", CLIENT, 4, (message,))


ENVELOPES: Final = {
    "follow": asked("coordinator", Follow("71-a1b2/follow")),
    "leader_is": told("coordinator", LeaderIs("71-a1b2/follow", 4, "n1", "tcp://10.0.0.1:7070")),
    "submit": asked("registry", Submit("71-a1b2/1", "default", (SubmitItem("ingest", ARGUMENTS),), epoch=4)),
    "accepted": told("coordinator", Accepted("71-a1b2/1", (17,), durable=True)),
    "runs_ended": told("coordinator", RunsEnded((END,))),
    "query": asked("registry", Query("71-a1b2/2", GetRuns("default", (17,)))),
    "answer": told("registry", Answer("71-a1b2/2", (RunRecord(RUN, RunState.SUCCEEDED, END),))),
    "request_rejected": told(
        "registry",
        RequestRejected("71-a1b2/3", "unknown_job", "no job 'x' in tenant 'default'; add it first", 0),
    ),
}


def page() -> str:
    return (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


def golden_frames() -> dict[str, bytes]:
    """The frames of the page by their names."""
    found = re.findall(r"^```golden (\w+)\n([0-9a-f \n]+)^```$", page(), re.MULTILINE)
    return {name: bytes.fromhex(text) for name, text in found}


RECORDS: Final = {
    "item": SubmitItem,
    "run": Run,
    "end": End,
    "error": ErrorInfo,
    "attempt": Attempt,
    "decision": Decision,
    "event": Event,
    "member": MemberStatus,
}
MAPS: Final = {
    "job_record": JobRecord,
    "job": Job,
    "state": JobState,
    "run_record": RunRecord,
    "retry": Retry,
    "command": Command,
    "catchup": CatchUp,
    "hook": Hook,
}
TRIGGERS: Final = {str(kind.__struct_config__.tag): kind for kind in get_args(Trigger)}


@pytest.mark.parametrize("name", [*RECORDS, *MAPS, *TRIGGERS])
def test_the_fields_of_a_record_or_map_stand_on_the_page(name: str) -> None:
    kind = (RECORDS | MAPS | TRIGGERS)[name]
    rows = re.findall(rf"^\| `{name}` \| (.*) \|$", page(), re.MULTILINE)
    fields = ", ".join(f"`{field}`" for field in kind.__struct_fields__)
    assert fields in rows
    assert kind.__struct_config__.array_like is (name in RECORDS)
    typed = name in ("retry", "command", "hook", *TRIGGERS)
    assert kind.__struct_config__.tag == (name if typed else None)


@pytest.mark.parametrize("code", get_args(RefusalCode))
def test_every_code_of_a_refusal_stands_on_the_page(code: str) -> None:
    assert re.search(rf"^\|.*`{code}`.*\|", page(), re.MULTILINE)


@pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.__name__)
def test_every_message_that_a_client_may_send_stands_on_the_page_with_its_fields(kind: Any) -> None:
    [line] = re.findall(rf"^\| `{kind.__struct_config__.tag}` \|.*", page(), re.MULTILINE)
    fields = page()[page().index(line) :][:400] if kind is Follow else line
    assert [field for field in kind.__struct_fields__ if f"`{field}`" not in fields] == []


@pytest.mark.parametrize("tag", QUESTIONS)
def test_every_question_that_a_client_may_ask_stands_on_the_page(tag: str) -> None:
    assert f"`{tag}`" in page()


def test_the_page_has_all_golden_frames_and_no_others() -> None:
    assert set(golden_frames()) == {*HELLOS, *ENVELOPES}


@pytest.mark.parametrize("name", HELLOS)
def test_a_golden_greeting_is_read_and_written_as_it_stands(name: str) -> None:
    frame = golden_frames()[name]
    kind, hello = HELLOS[name]
    assert frame[0] == kind
    assert read_hello(frame) == hello
    assert pack_greeting(kind, hello) == frame


@pytest.mark.parametrize("name", ENVELOPES)
def test_a_golden_envelope_is_read_and_written_as_it_stands(name: str) -> None:
    frame = golden_frames()[name]
    [envelope] = unpack_batch(frame)
    assert decode(envelope) == ENVELOPES[name]
    assert pack_batch([encode(ENVELOPES[name])]) == frame
