"""How long nothing has gone wrong: what is promised "at once" is judged only when nothing has held it up.

A *disturbance* is a fault, or what follows from one: a process that dies or stands still, another reign, a clock that jumps, a
store that does not take what it is given. A *loss* is a message that did not come: most are said again within a second, but
some are missed only by the slowest audit, after half a minute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simulation.virtual import MILLION

if TYPE_CHECKING:
    from simulation.world import World

SLACK_US: Final = 5 * MILLION
"""How late "at once" may be when all is well: a function that has a place may begin three seconds late."""
LOST_MESSAGE_US: Final = 40 * MILLION
"""Where messages are lost, the slowest audit finds out after half a minute."""


class Calm:
    """When something last went wrong (true µs)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._disturbed_until = self._moving_until = 0
        self._lost_at = -LOST_MESSAGE_US

    def disturb(self, length_us: int = 0, *, is_orderly: bool = False) -> None:
        """Something goes wrong, for so long; or nodes come and go in order."""
        until = self._world.time.now + length_us
        if is_orderly:
            self._moving_until = max(self._moving_until, until)
        else:
            self._disturbed_until = max(self._disturbed_until, until)

    def lose(self) -> None:
        """A message is lost."""
        self._lost_at = self._world.time.now

    def is_late(self, late_us: int, slack_us: int = SLACK_US, *, is_led: bool = False) -> bool:
        """Whether what should have been done so long ago has no excuse; `is_led`: that nodes come and go is none."""
        if late_us <= slack_us:
            return False
        world = self._world
        now = world.time.now
        calm_since = max(self._disturbed_until, world.referee.leadership.taken_at)
        if not is_led:
            calm_since = max(calm_since, self._moving_until, world.stirred_at)
        if now - calm_since <= slack_us or now - self._lost_at <= LOST_MESSAGE_US:
            return False
        return not world.network.is_cut_somewhere()
