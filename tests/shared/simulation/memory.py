"""What a new leader would know: a coordinator made anew from a copy of the store, led through its rebuild by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callsheet.actors.actor import COORDINATOR, EXECUTOR, PERSISTENCE, Send, Turn
from callsheet.actors.coordinator.coordinator import Coordinator
from callsheet.actors.messages import MarksRead, StockTaken, TakeStock, TimerFired
from callsheet.actors.persistence.memory import MemoryStore
from callsheet.actors.persistence.persistence import Persistence
from callsheet.actors.records import RunState

if TYPE_CHECKING:
    from simulation.node import Life
    from simulation.world import World

MOST_STEPS = 10_000


def rebuilt(world: World, life: Life) -> Any:
    """The reign of a coordinator that has just rebuilt its memory."""
    store = MemoryStore()
    store.restore(world.disk.cache.snapshot())
    coordinator, persistence = Coordinator(durable=True), Persistence(store)
    persistence.receive(life.started, Turn(life.time.now(), life.time.elapsed()))
    turn = Turn(life.time.now(), life.time.elapsed())
    coordinator.receive(life.started, turn)
    turn.sender = EXECUTOR
    coordinator.receive(life.actors[COORDINATOR]._offer, turn)
    for _ in range(MOST_STEPS):
        messages = [(it.to, it.message) for it in turn.effects if isinstance(it, Send)]
        turn.effects = []
        for to, message in messages:
            _pass_on(to, message, coordinator, persistence, life, turn)
        if not messages:
            coordinator.receive(TimerFired("rebuild"), turn)  # very many runs are entered in several turns
        lead: Any = coordinator._lead
        if lead is not None and lead.is_ready:
            return lead.reign
    raise AssertionError("a new leader never ends its rebuild")


def _pass_on(to: str, message: Any, coordinator: Coordinator, persistence: Persistence, life: Life, turn: Turn) -> None:
    if to == PERSISTENCE:
        its_turn = Turn(turn.now, turn.elapsed, COORDINATOR)
        persistence.receive(message, its_turn)
        persistence.settle(its_turn)
        turn.sender = PERSISTENCE
        for effect in its_turn.effects:
            if isinstance(effect, Send):
                coordinator.receive(effect.message, turn)
    elif isinstance(message, TakeStock):
        executor = life.actors[EXECUTOR]
        turn.sender = EXECUTOR
        book = life.actors[COORDINATOR]._lead.reign.book
        ordered = (live.fence for live in book.live.values() if live.state is RunState.CLAIMED)  # some are on their way
        held = (*executor._held, *executor._ended, *ordered)
        read = [life.runner.begun(incarnation) for incarnation in message.incarnations]
        marks = tuple(MarksRead(it.incarnation, it.readable, tuple(sorted(it.fences)), it.dead) for it in read)
        coordinator.receive(StockTaken(message.epoch, life.started.node, life.incarnation, held, marks), turn)
