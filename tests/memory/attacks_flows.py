"""Attacks on the state of single connections: receipts, aliases, Properties."""

import packets
from attacks import KIB, NOISE, attack, joined, published, subscribed
from crowd import DEAF, Await
from packets import CONNACK, PUBACK, SUBACK


@attack("qos2-receipts", "50 publishers (3.1.1) use each Packet Identifier for QoS 2; none sends PUBREL, half never read")
def qos2_receipts(arena):
    def client(number):
        yield packets.connect(f"receipts-{number}", version=4)
        yield Await(CONNACK)
        if number % 2:
            yield DEAF
        for start in range(1, 65536, 256):
            some = range(start, min(start + 256, 65536))
            yield b"".join(packets.publish("receipts", b"r" * 100, 2, identifier, version=4) for identifier in some)

    arena.crowd(client, arena.scaled(50))


@attack("big-properties", "User Properties of 500 kB in retained messages, in CONNECT and in SUBSCRIBE")
def big_properties(arena):
    large = packets.user_properties(500_000)

    def publisher(number):
        yield from joined(f"properties-{number}")
        topics = (f"properties/{number}/{at}" for at in range(arena.scaled(400)))
        yield from published(topics, b"", 1, props=packets.properties(large), retain=True)

    def client(number):
        yield from joined(f"large-{number}", more=large, user=b"u" * 65_000)
        yield packets.subscribe(f"large/{number}", more=large)
        yield Await(SUBACK)

    arena.crowd(client, arena.scaled(1000))
    arena.crowd(publisher, 4)


@attack("topic-aliases", "5,000 clients each set 64 Topic Aliases for topics of 60 kB")
def topic_aliases(arena):
    long = "t" * 60_000

    def client(number):
        yield from joined(f"aliases-{number}")
        for alias in range(1, 65):
            props = packets.properties(b"\x23" + alias.to_bytes(2, "big"))
            yield packets.publish(f"{number}/{alias}/{long}", b"", 0, props=props)

    arena.crowd(client, arena.scaled(5000))


@attack("long-topics", "100 clients subscribe to 100 filters of 60 kB each, and retain messages on topics of 60 kB")
def long_topics(arena):
    long = "t" * 60_000

    def client(number):
        yield from joined(f"long-{number}")
        for at in range(arena.scaled(100)):
            yield packets.subscribe(f"{number}/{at}/{long}")
            yield Await(SUBACK)
            yield packets.publish(f"retained/{number}/{at}/{long}", b"x", 1, 1, retain=True)
            yield Await(PUBACK)

    arena.crowd(client, 100)


@attack("unacknowledged", "500 subscribers that read and never acknowledge: QoS 1 and 2, 4 KiB")
def unacknowledged(arena):
    readers = arena.scaled(500)

    def reader(number):
        yield from subscribed(f"mute-{number}", f"mute/{number % 50}", 1 + number % 2)

    def publisher(number):
        yield from joined(f"floods-{number}")
        yield from published((f"mute/{at % 50}" for at in range(100_000)), NOISE[: 4 * KIB], 1 + number % 2)

    arena.crowd(reader, readers)
    arena.wait(5)
    arena.crowd(publisher, 4)
