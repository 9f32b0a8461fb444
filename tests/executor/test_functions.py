from __future__ import annotations

import functools
import inspect
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.executor.functions import Function, Functions
from callsheet.errors import DefinitionError


def plain(a: Any, b: Any = 1, /, c: Any = 2, *, d: Any = 3) -> None: ...


async def coroutine() -> None: ...


class Machine:
    async def run(self) -> None: ...

    def stop(self, ctx: Any, hard: bool) -> None: ...

    @classmethod
    def build(cls) -> None: ...

    async def __call__(self) -> None: ...


def test_a_registered_function_is_found_and_stays_the_function_it_was() -> None:
    functions = Functions()
    made = functions.register("plain", plain)
    assert functions.find("plain") is made
    assert made.call is plain
    assert functions.find("os.system") is None
    assert functions.names() == ["plain"]


def test_a_name_that_is_registered_again_means_the_newer_function() -> None:
    functions = Functions()
    functions.register("job", plain)
    newer = functions.register("job", coroutine)
    assert functions.find("job") is newer


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (plain, "sync"),
        (coroutine, "async"),
        (functools.partial(coroutine), "async"),
        (functools.partial(functools.partial(plain, 1), 2), "sync"),
        (Machine().run, "async"),
        (Machine(), "async"),
        (Machine.build, "sync"),
        (lambda: None, "sync"),
        (print, "sync"),
    ],
    ids=["sync", "async", "partial", "partial of a partial", "method", "object", "class method", "lambda", "builtin"],
)
def test_the_kind_of_a_function_is_known_whatever_it_is_wrapped_in(call: Any, kind: str) -> None:
    assert Function("job", call).kind == kind


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (Machine().stop, True),
        (lambda ctx: None, True),
        (lambda rows, ctx: None, False),
        (lambda *ctx: None, False),
        (len, False),
    ],
    ids=["method", "first", "second", "variable", "builtin"],
)
def test_a_function_wants_the_context_if_its_first_parameter_is_named_ctx(call: Any, wanted: bool) -> None:
    assert Function("job", call).wants_context is wanted


@pytest.mark.parametrize(
    ("args", "kwargs", "handed"), [((1,), {}, 0), ((1, 2, 3), {}, 0), ((), {}, 3), ((1,), {"c": 1, "d": 2}, 1)]
)
def test_arguments_that_fit_pass(args: tuple[Any, ...], kwargs: dict[str, Any], handed: int) -> None:
    Function("job", plain).check_call(args, kwargs, handed)


def test_arguments_that_do_not_fit_are_refused_with_the_job_and_what_is_wrong() -> None:
    with pytest.raises(
        DefinitionError, match=r"job 'nightly': .*\(a, b=1, /.*missing a required argument: 'a'.*correct the call"
    ):
        Function("nightly", lambda a, b=1, /: None).check_call((), {})
    with pytest.raises(DefinitionError, match=r"too many positional arguments"):
        Function("nightly", plain).check_call((1, 2), {}, handed=2)


def test_the_context_is_not_among_the_arguments_of_a_call() -> None:
    function = Function("job", Machine().stop)
    function.check_call((True,), {})
    with pytest.raises(DefinitionError):
        function.check_call((), {})


SIGNATURES = [
    lambda: None,
    lambda a: None,
    lambda a, b=1: None,
    lambda a, /, b: None,
    lambda *a: None,
    lambda **a: None,
    lambda a, *, b: None,
    lambda a, /, **b: None,
    lambda a, b=1, *c, d, e=1, **f: None,
]


@given(st.sampled_from(SIGNATURES), st.integers(0, 4), st.integers(0, 2), st.sets(st.sampled_from("abcdef")))
def test_the_quick_check_answers_what_the_signature_answers(
    call: Any, count: int, handed: int, names: set[str]
) -> None:
    args, kwargs = (0,) * count, dict.fromkeys(names, 0)
    try:
        inspect.signature(call).bind(*(0,) * handed, *args, **kwargs)
        fits = True
    except TypeError:
        fits = False
    try:
        Function("job", call).check_call(args, kwargs, handed)
        passed = True
    except DefinitionError:
        passed = False
    assert passed is fits


def test_a_function_at_the_top_of_a_module_has_a_place() -> None:
    place = Function("job", plain).locate()
    assert (place.module, place.qualname) == (__name__, "plain")
    assert place.file == __file__
    assert Function("job", Machine.build).locate().qualname == "Machine.build"


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: None, "it is a lambda"),
        (functools.partial(plain, 1), "an object of type partial"),
        (Machine(), "an object of type Machine"),
        (Machine().run, "something else"),
    ],
    ids=["lambda", "partial", "object", "method"],
)
def test_a_function_without_a_place_says_why_and_what_to_do(call: Any, why: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(why)) as caught:
        Function("nightly", call).locate()
    assert "job 'nightly' cannot run in a worker process" in str(caught.value)
    assert "define the function at the top of a module" in str(caught.value)


def test_a_closure_has_no_place() -> None:
    def closure() -> None: ...

    with pytest.raises(DefinitionError, match="made inside another function"):
        Function("job", closure).locate()


def test_what_cannot_be_called_is_refused() -> None:
    async def numbers() -> Any:
        yield 1

    with pytest.raises(DefinitionError, match="expected a function, found int"):
        Functions().register("job", 3)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="async generator"):
        Functions().register("job", numbers)


def test_a_decorator_can_check_a_place_whose_name_is_not_bound_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    function = Function("job", plain)
    monkeypatch.delattr(sys.modules[plain.__module__], "plain")

    function.check_place()
    with pytest.raises(DefinitionError, match="has no plain"):
        function.locate()
    with pytest.raises(DefinitionError, match="it is a lambda"):
        Function("job", lambda: None).check_place()
