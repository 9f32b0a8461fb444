from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.graph import downstream_closure, find_cycle, reachable, turned, upstream_closure

EDGES = {"b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["d", "x"]}
GRAPHS = st.dictionaries(
    st.integers(0, 7).map(str), st.lists(st.integers(0, 7).map(str), max_size=3, unique=True), max_size=8
)


def test_a_cycle_is_told_as_a_way_from_the_job_back_to_itself() -> None:
    cycle = find_cycle({"a": ["c"], "b": ["a"], "c": ["b"]}, "a")
    assert (cycle[0], cycle[-1], set(cycle)) == ("a", "a", {"a", "b", "c"})
    assert find_cycle({"a": ["a"]}, "a") == ["a", "a"]
    assert find_cycle(EDGES, "d") == []


def test_a_long_chain_is_no_recursion_error() -> None:
    chain = {str(number): [str(number + 1)] for number in range(50_000)}
    assert find_cycle(chain, "0") == []
    assert len(upstream_closure(chain, "0")) == 50_000


def test_closures_come_upstreams_first() -> None:
    assert upstream_closure(EDGES, "d") == ["a", "b", "c"]
    assert reachable(turned(EDGES), "a") == ["b", "c", "d", "e"]
    assert reachable(turned(EDGES), "b", "d", "b") == ["e"]
    assert sorted(reachable(EDGES, "e")) == ["a", "b", "c", "d", "x"]
    assert downstream_closure(turned(EDGES), EDGES, ["a"]) == ["b", "c", "d"], "e waits for x, which is not there"


@given(GRAPHS, st.integers(0, 7).map(str))
def test_a_cycle_is_found_exactly_when_a_job_reaches_itself(edges: dict[str, list[str]], start: str) -> None:
    seen: set[str] = set()
    frontier = set(edges.get(start, ()))
    while frontier - seen:
        seen |= frontier
        frontier = {upstream for job in frontier for upstream in edges.get(job, ())}
    cycle = find_cycle(edges, start)
    assert bool(cycle) == (start in seen)
    for job, upstream in pairwise(cycle):
        assert upstream in edges[job] or job in edges[upstream]
