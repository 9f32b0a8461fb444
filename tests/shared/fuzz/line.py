"""Mutated frames over real lines to a real node, beside which two nodes go on speaking."""

import threading
import time
from collections import Counter
from random import Random

from callsheet.actors.messages import Envelope
from callsheet.transport.zeromq import ZeroMQ, wire
from callsheet.transport.zeromq.offence import MAX_OFFENCES
from fuzz import mutation, sample
from fuzz.decoding import Result
from support.carrying import Network, Stranger, join, noted, strangers

BY_ONE_STRANGER = MAX_OFFENCES - 1  # whoever sends more is kept out
ANSWER_S = 10.0
FLUSH_MS = 5_000


class Conversation:
    """A node that asks another, which answers."""

    def __init__(self, asks: ZeroMQ, answers: ZeroMQ) -> None:
        self._asks = asks
        self._to = f"registry@{answers.name}"
        self._heard = threading.Semaphore(0)
        answers.attach("registry", lambda envelope: self._answer(answers, envelope))
        asks.attach("coordinator", self._hear)

    def goes_on(self) -> bool:
        """Ask, and say whether an answer has come."""
        self._asks.send(noted("?", self._to, "coordinator"))
        return self._heard.acquire(timeout=ANSWER_S)

    def _answer(self, answers: ZeroMQ, envelope: Envelope) -> bool:
        answers.send(Envelope("registry", envelope.sender, 0, envelope.messages))
        return True

    def _hear(self, _: Envelope) -> bool:
        self._heard.release()
        return True


def run(seed: int, count: int) -> Result:
    """Send `count` frames to a node, by many strangers; after each of them the node answers another one."""
    random, result, began = Random(seed), Result(), time.perf_counter()
    frames, greetings = sample.frames(random), sample.greetings(random)
    with Network() as network, strangers() as others:
        node, peer = network.node("n1"), network.node("n2")
        join(peer, node)
        talk = Conversation(peer, node)
        for number in range(0, count, BY_ONE_STRANGER):
            stranger = others.guest(node, f"stranger{number}")
            stranger.socket.linger = FLUSH_MS
            for _ in range(min(BY_ONE_STRANGER, count - number)):
                _send(stranger, frames, greetings, random)
                result.outcomes["sent"] += 1
            stranger.socket.close()
            if not talk.goes_on():
                result.faults.append(f"after {result.outcomes['sent']} frames the node answers no more")
                break
        counted = Counter(node.dropped())
        result.outcomes.update({f"counted as {reason}": number for reason, number in counted.items()})
        if not counted["undecodable"]:
            result.faults.append("no frame was counted as undecodable; were they read at all?")
    result.took_s = time.perf_counter() - began
    return result


def _send(stranger: Stranger, frames: list[bytes], greetings: list[bytes], random: Random) -> None:
    mutated = mutation.mutate(frames, random)
    match random.randrange(10):
        case 0:
            stranger.say(mutation.mutate([wire.pack_batch([mutated])], random, mutation.BLIND))
        case 1:
            stranger.say(mutation.mutate(greetings, random, mutation.BLIND))
        case 2:
            stranger.say(b"E", mutated)
        case _:
            stranger.say(wire.pack_batch([mutated]))
