"""Attacks by subscribers that do not read, read slowly, or are away."""

import packets
from attacks import DISK, KIB, MEMORY, MIB, NOISE, attack, joined, published, subscribed
from crowd import CLOSE, DEAF, SLOW, Await, Pause
from packets import FOR_EVER, PUBACK

LITTLE = 4 * KIB
"""The buffer of a socket that is not read, so that waiting messages are in the broker and not in the system."""


def stopped(arena, qos):
    """100 subscribers with topics of their own, and publishers that fill the queue of each."""
    readers = arena.scaled(100)

    def reader(number):
        yield from subscribed(f"stopped-{number}", f"stopped/{number}", qos)
        yield DEAF

    def publisher(number):
        yield from joined(f"floods-{number}")
        topics = (f"stopped/{at % readers}" for at in range(12_000 * readers // 4))
        yield from published(topics, NOISE[:KIB], qos)

    arena.crowd(reader, readers, buffers=LITTLE)
    arena.wait(5)
    arena.crowd(publisher, 4)


@attack("stopped-readers", "100 subscribers stop reading: QoS 1, 1 KiB, topics of their own", short=True, stores=(DISK, MEMORY))
def stopped_readers(arena):
    stopped(arena, 1)


@attack("stopped-readers-qos0", "the same with QoS 0", stores=(DISK, MEMORY))
def stopped_readers_qos0(arena):
    stopped(arena, 0)


@attack("stopped-readers-qos2", "the same with QoS 2", stores=(DISK, MEMORY))
def stopped_readers_qos2(arena):
    stopped(arena, 2)


@attack("away-sessions", "the same with 100 persistent Sessions whose clients are away: QoS 0, 1 and 2", stores=(DISK, MEMORY))
def away_sessions(arena):
    readers = arena.scaled(100)

    def reader(number):
        yield from subscribed(f"away-{number}", f"away/{number}", 2, clean=False, expiry=FOR_EVER)
        yield CLOSE

    def publisher(number):
        yield from joined(f"floods-{number}")
        topics = (f"away/{at % readers}" for at in range(12_000 * readers // 4))
        yield from published(topics, NOISE[:KIB], (1, 2, 0, 1)[number])

    arena.crowd(reader, readers)
    arena.wait(5)
    arena.crowd(publisher, 4)


@attack(
    "shared-group",
    "50 groups of shared subscriptions whose members do not read, or are away",
    short=True,
    stores=(DISK, MEMORY),
)
def shared_group(arena):
    groups = arena.scaled(50)

    def member(number):
        name = f"$share/group-{number % groups}/work/{number % groups}/#"
        yield from subscribed(f"member-{number}", name, 1, clean=False, expiry=FOR_EVER)
        yield CLOSE if number % 2 else DEAF

    def publisher(number):
        yield from joined(f"floods-{number}")
        topics = (f"work/{at % groups}/x" for at in range(20_000 * groups // 4))
        yield from published(topics, NOISE[:KIB], 1)

    arena.crowd(member, groups * 4, buffers=LITTLE)
    arena.wait(5)
    arena.crowd(publisher, 4)


@attack("large-fan-out", "ten messages of 1 MiB to 500 slow readers at once, QoS 0 and 1")
def large_fan_out(arena):
    def reader(number):
        yield from subscribed(f"slow-{number}", "large/all", number % 2)
        yield SLOW

    def publisher(number):
        yield from joined(f"large-{number}")
        for _ in range(10):
            yield packets.publish("large/all", NOISE[:MIB], 1, 1)
            yield Await(PUBACK)

    arena.crowd(reader, arena.scaled(500), buffers=LITTLE)
    arena.wait(5)
    arena.crowd(publisher, 1)


@attack("mailboxes", "clients of one shard flood 100 subscribers of the other, which do not read: QoS 0, 4 KiB", shards=(2,))
def mailboxes(arena):
    def reader(number):
        name = packets.client_on(arena.shards - 1, arena.shards, f"reads-{number}")
        yield from subscribed(name, f"mail/{number % 10}/#", 0)
        yield DEAF

    def publisher(number):
        yield from joined(packets.client_on(0, arena.shards, f"mails-{number}"))
        yield from published((f"mail/{at % 10}/{at}" for at in range(1_000_000)), NOISE[: 4 * KIB], 0)

    arena.crowd(reader, arena.scaled(100), buffers=LITTLE)
    arena.wait(5)
    arena.crowd(publisher, 8)


@attack("retained-replay", "200 clients ask for 20,000 retained messages of 1 KiB again and again, and do not read")
def retained_replay(arena):
    def publisher(number):
        yield from joined(f"retains-{number}")
        yield from published((f"replay/{at}" for at in range(arena.scaled(20_000))), NOISE[:KIB], 1, retain=True)

    def reader(number):
        yield from joined(f"replay-{number}")
        yield DEAF
        for at in range(100):
            yield packets.subscribe(["replay/#", f"+/{at}", "#"], 1)
            yield Pause(0.1)

    arena.crowd(publisher, 1)
    arena.wait(10)
    arena.crowd(reader, arena.scaled(200), buffers=LITTLE)


@attack("unread-replies", "500 clients ask without end and never read an answer: PINGREQ, SUBSCRIBE, PUBLISH, a retained 64 KiB")
def unread_replies(arena):
    filters = [f"replies/{number}" for number in range(64)]
    questions = packets.PING * 512 + packets.subscribe(filters + ["replies/retained"]) + packets.unsubscribe(filters)
    questions += b"".join(packets.publish("nobody", b"x", 1 + number % 2, number + 1) for number in range(128))

    def first(number):
        yield from joined("replies")
        yield from published(["replies/retained"], NOISE[: 64 * KIB], 1, retain=True)

    def client(number):
        yield from joined(f"replies-{number}")
        yield DEAF
        for _ in range(10_000):
            yield questions

    arena.crowd(first, 1)
    arena.wait(5)
    arena.crowd(client, arena.scaled(500), buffers=LITTLE)
