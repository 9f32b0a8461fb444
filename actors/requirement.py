"""What a job needs of the node it runs on: labels that the node bears, and whole units of what its runs share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..errors import DefinitionError

MAX_LABELS: Final = 32
MAX_RESOURCES: Final = 32
MAX_WORD_LENGTH: Final = 100
MAX_UNITS: Final = 2**53
"""Units of one resource at most: what every language reads exactly."""

_WORD: Final = r"[A-Za-z0-9_][A-Za-z0-9_./-]*"
_LABEL: Final = re.compile(rf"{_WORD}(={_WORD})?")
_RESOURCE: Final = re.compile(_WORD)


def check_labels(given: Any) -> tuple[str, ...]:
    """Return labels in alphabetical order, each once: they are a set, however they were written.

    Raises:
        DefinitionError: it is no list of words such as "gpu" or "zone=eu-1".
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise DefinitionError(f'labels is a list of words, such as ["gpu", "zone=eu-1"]; {given!r} was given')
    labels = sorted({_check(label, _LABEL, 'a label is a word such as "gpu", or "zone=eu-1"') for label in given})
    if len(labels) > MAX_LABELS:
        raise DefinitionError(f"there are at most {MAX_LABELS} labels; {len(labels)} were given")
    return tuple(labels)


def check_resources(given: Any) -> dict[str, int]:
    """Return resources in alphabetical order, with their units.

    Raises:
        DefinitionError: it is no map of words to whole numbers of 1 and more.
    """
    if not isinstance(given, Mapping):
        raise DefinitionError(f'resources is a map of units, such as {{"memory_gb": 4}}; {given!r} was given')
    if len(given) > MAX_RESOURCES:
        raise DefinitionError(f"there are at most {MAX_RESOURCES} resources; {len(given)} were given")
    names = [_check(name, _RESOURCE, 'a resource is called by a word such as "memory_gb"') for name in given]
    for name, units in given.items():
        if isinstance(units, bool) or not isinstance(units, int) or not 1 <= units <= MAX_UNITS:
            raise DefinitionError(
                f"resources: {name!r} is a whole number of units, 1 or more; {units!r} was given. "
                "For halves choose a smaller unit, such as memory_mb"
            )
    return {name: given[name] for name in sorted(names)}


def _check(given: Any, pattern: re.Pattern[str], what: str) -> str:
    if not isinstance(given, str) or len(given) > MAX_WORD_LENGTH or not pattern.fullmatch(given):
        raise DefinitionError(
            f"{what}: letters, digits and _ . / -, up to {MAX_WORD_LENGTH} characters; {given!r} was given"
        )
    return given
