"""The graph of jobs that wait for one another, as pure functions over (job → the jobs it waits for)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

Edges = Mapping[str, Sequence[str]]


def find_cycle(edges: Edges, start: str) -> list[str]:
    """Return a way from `start` back to itself, `[start, …, start]`; empty when there is none.

    Iterative, so that a long chain is no recursion error; each job is looked at once.
    """
    came_from: dict[str, str] = {}
    waiting = [start]
    while waiting:
        job = waiting.pop()
        for upstream in edges.get(job, ()):
            if upstream == start:
                way = [start, job]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                return [start, *way[1:-1][::-1], start] if len(way) > 2 else [start, start]
            if upstream not in came_from:
                came_from[upstream] = job
                waiting.append(upstream)
    return []


def turned(edges: Edges) -> dict[str, list[str]]:
    """Return the graph with its arrows turned: job → the jobs that wait for it, in a stable order."""
    downstream: dict[str, list[str]] = {}
    for job in sorted(edges):
        for upstream in edges[job]:
            downstream.setdefault(upstream, []).append(job)
    return downstream


def upstream_closure(edges: Edges, start: str) -> list[str]:
    """Return all that `start` waits for, directly or not, without itself; upstreams first."""
    return _closure(edges, start)


def downstream_closure(downstream: Edges, edges: Edges, members: Iterable[str]) -> list[str]:
    """Return the jobs that can follow when all of `members` run, upstreams first.

    A job follows when every upstream of it is a member or follows itself.
    """
    present = dict.fromkeys(members)
    added: list[str] = []
    frontier = list(present)
    while frontier:
        for job in downstream.get(frontier.pop(0), ()):
            if job not in present and all(upstream in present for upstream in edges[job]):
                present[job] = None
                added.append(job)
                frontier.append(job)
    return added


def reachable(arrows: Edges, *starts: str) -> list[str]:
    """Return all jobs that arrows lead to from `starts`, directly or not, without these, nearest first.

    With downstream arrows that is all that waits for them, with the edges all that they wait for.
    """
    seen = dict.fromkeys(starts)
    frontier = deque(starts)
    while frontier:
        for job in arrows.get(frontier.popleft(), ()):
            if job not in seen:
                seen[job] = None
                frontier.append(job)
    return list(seen)[len(set(starts)) :]


def _closure(edges: Edges, start: str) -> list[str]:
    ordered: dict[str, None] = {}
    entered: set[str] = set()
    stack: list[tuple[str, bool]] = [(start, False)]
    while stack:
        job, left = stack.pop()
        if left:
            ordered[job] = None
        elif job not in entered:
            entered.add(job)
            stack.append((job, True))
            stack.extend((upstream, False) for upstream in reversed(edges.get(job, ())))
    ordered.pop(start, None)
    return list(ordered)
