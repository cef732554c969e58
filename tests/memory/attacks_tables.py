"""Attacks on tables that clients fill: retained messages, filters, Sessions, Wills, timers."""

import packets
from attacks import DISK, KIB, MEMORY, NOISE, attack, joined, published, random_id, subscribed
from crowd import CLOSE, Await
from packets import CONNACK, FOR_EVER, SUBACK

SOURCES = 16
"""The number of addresses that many clients come from: a system has about 28,000 ports for each address."""


def retained(arena, count, publishers=4):
    def publisher(number):
        yield from joined(f"retains-{number}")
        topics = (f"retained/{number}/{at}" for at in range(count // publishers))
        yield from published(topics, NOISE[:KIB], 1, retain=True)

    arena.crowd(publisher, publishers)


@attack("retained-flood", "400,000 retained messages of 1 KiB, topics of their own", short=True, stores=(DISK, MEMORY), seconds=30)
def retained_flood(arena):
    retained(arena, arena.scaled(400_000))


def filters(arena, clients, each, name, at_once=100):
    def client(number):
        yield from joined(f"filters-{number}")
        for start in range(0, each, at_once):
            yield packets.subscribe([name(number, at) for at in range(start, start + at_once)])
            yield Await(SUBACK)

    arena.crowd(client, clients)


@attack("wildcard-filters", "a million filters with wildcards of 100 clients", short=True, stores=(DISK, MEMORY), seconds=30)
def wildcard_filters(arena):
    filters(arena, 100, arena.scaled(10_000), lambda client, at: f"wild/{client}/{at}/+/x")


@attack("exact-filters", "a million filters without wildcards of 100 clients", seconds=30)
def exact_filters(arena):
    filters(arena, 100, arena.scaled(10_000), lambda client, at: f"exact/{client}/{at}")


@attack("durable-filters", "a million filters of 100 persistent Sessions, which also goes to the store", seconds=30)
def durable_filters(arena):
    def client(number):
        yield from joined(f"filters-{number}", clean=False, expiry=FOR_EVER)
        for start in range(0, arena.scaled(10_000), 100):
            yield packets.subscribe([f"durable/{number}/{at}/#" for at in range(start, start + 100)])
            yield Await(SUBACK)

    arena.crowd(client, 100)


@attack("deep-filters", "40,000 filters of 121 levels of four clients", seconds=30)
def deep_filters(arena):
    deep = "/a" * 120
    filters(arena, 4, arena.scaled(10_000), lambda client, at: f"{client}-{at}{deep}", at_once=20)


@attack("wills", "1,000 Wills of 1 MB, half of them retained, and then all at once", short=True, stores=(DISK, MEMORY))
def wills(arena):
    more = packets.user_properties(960_000)

    def client(number):
        will = packets.will(f"wills/{number}", NOISE[:65_000], qos=1, retain=number % 2 == 1, more=more)
        yield from joined(f"will-{number}", will=will)

    arena.crowd(client, arena.scaled(1000))


@attack("delayed-wills", "300,000 Sessions that end when they like, with delayed Wills", stores=(DISK, MEMORY), seconds=30)
def delayed_wills(arena):
    expiry, delay = [5, 60, 86_400, FOR_EVER], [3, 20, 3600]

    def client(number):
        will = packets.will(f"delayed/{number}", NOISE[:200], delay=delay[number % 3], retain=number % 8 == 0)
        yield from joined(random_id(number), clean=False, expiry=expiry[number % 4], will=will)
        yield CLOSE

    arena.crowd(client, arena.scaled(300_000), at_once=400, sources=SOURCES)


@attack("session-flood", "ever new clients leave Sessions of 10 subscriptions that never expire", stores=(DISK, MEMORY), seconds=30)
def session_flood(arena):
    def client(number):
        name = random_id(number)
        topics = [f"session/{name}/{at}" for at in range(9)] + ["session/+/all"]
        yield packets.connect(name, clean=False, expiry=FOR_EVER) + packets.subscribe(topics)
        yield Await(SUBACK)
        yield CLOSE

    arena.crowd(client, at_once=400, sources=SOURCES)


@attack("many-clients", "20,000 idle connections, each with a persistent Session", stores=(DISK, MEMORY), seconds=30)
def many_clients(arena):
    def client(number):
        yield from subscribed(random_id(number), "many/all", clean=False, expiry=FOR_EVER)

    arena.crowd(client, arena.scaled(20_000), processes=4, sources=SOURCES)


@attack("takeovers", "200 clients take each other's Sessions over all the time, with Wills of 60 kB and ever other filters")
def takeovers(arena):
    def client(number):
        name = f"taken-{number % 100}"
        will = packets.will(f"taken/{number}", NOISE[:60_000])
        yield packets.connect(name, clean=number % 3 == 0, expiry=FOR_EVER, will=will)
        yield Await(CONNACK)
        yield packets.subscribe([f"taken/{number}/{at}" for at in range(50)])
        yield Await(SUBACK)
        if number % 2:
            yield CLOSE

    arena.crowd(client, at_once=200, sources=SOURCES)


def restarted(arena, with_retained):
    """Fills the store as far as the broker lets it, and kills the broker, which has to start again under the same bound."""
    readers = arena.scaled(100)

    def reader(number):
        yield from subscribed(f"away-{number}", f"away/{number}", clean=False, expiry=FOR_EVER)
        yield CLOSE

    def publisher(number):
        yield from joined(f"floods-{number}")
        yield from published((f"away/{at % readers}" for at in range(1_000_000)), NOISE[:KIB], 1)

    def back(number):
        yield packets.connect(f"away-{number}", clean=False, expiry=FOR_EVER)
        yield Await(CONNACK)

    arena.crowd(reader, readers)
    arena.wait(5)
    if with_retained:
        retained(arena, 200_000, 2)
    arena.crowd(publisher, 4)
    arena.wait()
    arena.restart()
    arena.leave()
    arena.start_pair()
    # These clients get as many of their waiting messages as Receive Maximum allows, and acknowledge none.
    arena.crowd(back, readers)
    arena.wait(5)


@attack("restart-queues", "the queues of absent Sessions fill the store; kill -9, start in the same bounds", pair_first=False)
def restart_queues(arena):
    restarted(arena, False)


@attack("restart-full-store", "the same, and retained messages", pair_first=False)
def restart_full_store(arena):
    restarted(arena, True)
