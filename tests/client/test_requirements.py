"""What a job says it needs of the node it runs on."""

from __future__ import annotations

from typing import Any

import pytest

from callsheet.actors.executor.functions import Functions
from callsheet.actors.records import Job
from callsheet.actors.registry.comparison import compare
from callsheet.client.option import JobOptions, define
from callsheet.client.view import view_job
from callsheet.errors import DefinitionError


def work() -> None:
    pass


def declare(**options: Any) -> Job:
    function = Functions().make("work", work)
    return define("work", "t", function, None, (), JobOptions(**options))  # type: ignore[typeddict-item]


def test_a_job_needs_nothing_unless_it_says_so() -> None:
    job = declare()
    assert (job.labels, job.resources) == ((), {})


def test_labels_and_resources_are_kept_in_one_order_however_they_were_said() -> None:
    job = declare(labels=["zone=eu-1", "gpu", "gpu"], resources={"memory_gb": 4, "licence/x": 1})
    assert job == declare(labels=("gpu", "zone=eu-1"), resources={"licence/x": 1, "memory_gb": 4})
    assert job.labels == ("gpu", "zone=eu-1")
    assert list(job.resources) == ["licence/x", "memory_gb"]


def test_they_are_shown_with_the_job() -> None:
    view = view_job(compare(declare(labels=["gpu"], resources={"memory_gb": 4}), None, now=1).record)
    assert (view.labels, view.resources) == (("gpu",), {"memory_gb": 4})


@pytest.mark.parametrize("changed", [{"labels": ["cpu"]}, {"labels": []}, {"resources": {"memory_gb": 5}}], ids=str)
def test_a_job_that_needs_something_else_is_a_changed_job(changed: dict[str, Any]) -> None:
    needs: dict[str, Any] = {"labels": ["gpu"], "resources": {"memory_gb": 4}}
    stored = compare(declare(**needs), None, now=1).record
    assert compare(declare(**needs), stored, now=2).kind == "same"
    change = compare(declare(**{**needs, **changed}), stored, now=2)
    assert (change.kind, change.record.job.version) == ("changed", 2)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"labels": "gpu"}, "labels is a list of words, such as .*; 'gpu' was given"),
    ({"labels": 5}, "labels is a list of words"),
    ({"labels": [""]}, "a label is a word .*'' was given"),
    ({"labels": [5]}, "a label is a word .*5 was given"),
    ({"labels": ["two words"]}, "a label is a word"),
    ({"labels": ["zone="]}, "a label is a word"),
    ({"labels": ["=eu"]}, "a label is a word"),
    ({"labels": ["a=b=c"]}, "a label is a word"),
    ({"labels": ["gpu\n"]}, "a label is a word"),
    ({"labels": ["x" * 101]}, "a label is a word .* up to 100 characters"),
    ({"labels": [f"l{number}" for number in range(33)]}, "at most 32 labels; 33 were given"),
    ({"resources": ["memory_gb"]}, "resources is a map of units"),
    ({"resources": {"": 1}}, "a resource is called by a word"),
    ({"resources": {5: 1}}, "a resource is called by a word"),
    ({"resources": {"memory": 0}}, "resources: 'memory' is a whole number of units, 1 or more; 0 was given"),
    ({"resources": {"memory": 0.5}}, "choose a smaller unit"),
    ({"resources": {"memory": True}}, "'memory' is a whole number"),
    ({"resources": {"memory": 2**53 + 1}}, "'memory' is a whole number"),
    ({"resources": {f"r{number}": 1 for number in range(33)}}, "at most 32 resources; 33 were given"),
]


@pytest.mark.parametrize(("options", "text"), WRONG, ids=range(len(WRONG)))
def test_what_cannot_be_is_refused_with_the_name_of_the_job(options: dict[str, Any], text: str) -> None:
    with pytest.raises(DefinitionError, match=f"job 'work': .*{text}|job 'work': {text}"):
        declare(**options)
