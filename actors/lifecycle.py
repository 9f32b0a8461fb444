"""The legal moves of a run, as one table. A move that is not in it is a bug of ours, and stops the actor that tried it."""

from __future__ import annotations

from typing import Final

from .actor import Bug
from .records import End
from .records import RunState as S

FINAL: Final = frozenset(
    {
        S.SUCCEEDED,
        S.FAILED,
        S.TIMED_OUT,
        S.CANCELLED,
        S.SKIPPED,
        S.UPSTREAM_FAILED,
        S.EXPIRED,
        S.LOST,
        S.QUARANTINED,
    }
)
"""States that never change. A correction is a new run that names the old one."""

BAD: Final = frozenset({S.FAILED, S.TIMED_OUT, S.LOST, S.QUARANTINED, S.EXPIRED, S.UPSTREAM_FAILED})
"""Final states that make what depends on the run fail."""

REMOVED: Final = "its job was removed"
"""Why a run ends CANCELLED of whose job nothing may begin any more. It stands in its end, and makes what depends on it fail."""

MOVES: Final[dict[S, frozenset[S]]] = {
    # waits for its upstreams, or for its arguments after a restart; it fails when what they hand on is too large together
    S.BLOCKED: frozenset(
        {S.READY, S.DELAYED, S.FAILED, S.TIMED_OUT, S.CANCELLED, S.SKIPPED, S.UPSTREAM_FAILED, S.EXPIRED, S.PARKED}
    ),
    # not before an instant: said at submit, or a retry's wait
    S.DELAYED: frozenset({S.READY, S.CANCELLED, S.TIMED_OUT, S.PARKED, S.BLOCKED}),
    # waits for a place; a run is born here, and goes on at once to where it must wait
    S.READY: frozenset({S.CLAIMED, S.DELAYED, S.CANCELLED, S.EXPIRED, S.TIMED_OUT, S.PARKED, S.BLOCKED, S.SKIPPED}),
    # durable: this attempt belongs to this node; its function may not have been called yet
    S.CLAIMED: frozenset(
        {
            S.RUNNING,
            S.READY,
            S.BLOCKED,
            S.DELAYED,
            S.CANCELLING,
            S.PARKED,
            S.SUCCEEDED,
            S.FAILED,
            S.TIMED_OUT,
            S.CANCELLED,
            S.LOST,
            S.QUARANTINED,
        }
    ),
    # its function was called; or a worker process had it when that was asked, and has given it back
    S.RUNNING: frozenset(
        {
            S.READY,
            S.BLOCKED,
            S.DELAYED,
            S.PARKED,
            S.CANCELLING,
            S.SUCCEEDED,
            S.FAILED,
            S.TIMED_OUT,
            S.CANCELLED,
            S.LOST,
            S.QUARANTINED,
        }
    ),
    # a cancel was asked for and stored; the attempt may still win by ending first
    S.CANCELLING: frozenset({S.SUCCEEDED, S.FAILED, S.TIMED_OUT, S.CANCELLED, S.LOST, S.QUARANTINED}),
    # no node knows its target; never deleted
    S.PARKED: frozenset({S.READY, S.BLOCKED, S.DELAYED, S.CANCELLED, S.TIMED_OUT}),
    **{state: frozenset() for state in FINAL},
}


def was_removed(end: End) -> bool:
    """Tell whether a run was cancelled because its job was removed."""
    return end.state is S.CANCELLED and end.reason == REMOVED


def check_move(run_id: int, old: S, new: S) -> None:
    """Assert that a run may go from `old` to `new`.

    Raises:
        Bug: the table has no such move.
    """
    if new not in MOVES[old]:
        raise Bug(f"run {run_id}: no move from {old} to {new}; legal: {', '.join(sorted(MOVES[old])) or 'none'}")
