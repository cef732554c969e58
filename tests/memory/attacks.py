"""The attacks, by name. An attack is a function that starts crowds in an arena; a new attack needs no more than such a
function."""

import importlib
import itertools
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import packets
from crowd import Await
from packets import CONNACK, PUBACK, PUBCOMP, PUBREC, PUBREL, SUBACK

SEED = 15
NOISE = random.Random(SEED).randbytes(1 << 21)
"""Payloads that can't be compressed."""
KIB, MIB = 1 << 10, 1 << 20
DISK, MEMORY = "disk", "memory"
WINDOW = 200
"""The unacknowledged messages of a publisher; the broker's Receive Maximum is 256."""
FILES = sorted(path.stem for path in Path(__file__).parent.glob("attacks_*.py"))


@dataclass
class Attack:
    name: str
    line: str
    run: Callable
    short: bool = False
    """Whether the attack is part of the short version."""
    stores: tuple = (DISK,)
    shards: tuple = (1, 2)
    seconds: int = 20
    """How long the attack may go on, in the full version."""
    transports: tuple = ()
    """Listeners besides the one for MQTT over TCP: `tls`, `ws` or `wss`."""
    pair_first: bool = True
    """Whether the honest pair starts before the attack; if not, the attack starts the pair."""


ALL = {}


def attack(name, line, **how):
    def register(function):
        ALL[name] = Attack(name, line, function, **how)
        return function

    return register


def load():
    for name in FILES:
        importlib.import_module(name)
    return ALL


@attack("nobody", "no attack: what the broker takes, and how long the pair waits for this machine", short=True)
def nobody(arena):
    arena.hold()


# Steps of clients.


def joined(client_id, **how):
    yield packets.connect(client_id, **how)
    yield Await(CONNACK)


def subscribed(client_id, filters, qos=1, **how):
    yield from joined(client_id, **how)
    yield packets.subscribe(filters, qos)
    yield Await(SUBACK)


def published(topics, payload, qos, retain=False, props=b"\0"):
    """Publishes a message to each of the topics, with a bounded number of them not acknowledged."""
    topics = iter(topics)
    while some := list(itertools.islice(topics, WINDOW)):
        yield b"".join(
            packets.publish(topic, payload, qos, identifier, retain, props) for identifier, topic in enumerate(some, 1)
        )
        if qos == 1:
            yield Await(PUBACK, len(some))
        elif qos == 2:
            yield Await(PUBREC, len(some))
            yield b"".join(packets.acknowledge(PUBREL, identifier) for identifier in range(1, len(some) + 1))
            yield Await(PUBCOMP, len(some))


def random_id(number):
    """The same identifier for the same number, and one that an outsider can't predict."""
    return random.Random(f"{SEED} {number}").randbytes(10).hex()
