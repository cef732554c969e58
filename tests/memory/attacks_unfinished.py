"""Attacks by packets and requests that are sent almost to their end and never completed."""

import packets
from attacks import KIB, MIB, NOISE, attack, joined
from crowd import DEAF, Pause

LARGEST = 1_050_000
"""Nearly the limit for packets other than PUBLISH: a tenth of packet_bytes."""
BUFFERS = 64 * KIB
"""The buffer of an attacker's socket, so that waiting bytes are in the broker and not in the system."""


@attack("unfinished-publish", "1,000 clients each leave a PUBLISH of 1 MiB unfinished", short=True)
def unfinished_publish(arena):
    packet = packets.publish("unfinished", NOISE[:MIB], 1, 1)[:-1]

    def client(number):
        yield from joined(f"unfinished-{number}")
        yield packet

    arena.crowd(client, arena.scaled(1000), buffers=BUFFERS)


@attack("unfinished-connect", "1,000 clients leave a CONNECT of 1 MB unfinished, and come again when thrown out", seconds=25)
def unfinished_connect(arena):
    packet = packets.connect("unfinished", more=packets.user_properties(LARGEST - 100, 9000))[:-1]

    def client(number):
        yield packet
        # Longer than the broker waits for a CONNECT.
        yield Pause(60)

    arena.crowd(client, at_once=arena.scaled(1000), buffers=BUFFERS)


@attack("unfinished-others", "1,000 clients leave a SUBSCRIBE, UNSUBSCRIBE, PUBREC, AUTH or DISCONNECT of 1 MB unfinished")
def unfinished_others(arena):
    filters = [f"{number}/" + "f" * 1000 for number in range(LARGEST // 1010)]
    properties = packets.properties(packets.user_properties(LARGEST - 100, 9000))
    whole = [
        packets.subscribe(filters),
        packets.unsubscribe(filters),
        packets.packet(packets.PUBREC, b"\0\1\0" + properties),
        packets.packet(packets.AUTH, b"\x18" + properties),
        packets.packet(packets.DISCONNECT, b"\0" + properties),
    ]

    def client(number):
        yield from joined(f"unfinished-{number}")
        yield whole[number % len(whole)][:-1]

    arena.crowd(client, arena.scaled(1000), buffers=BUFFERS)


@attack("unfinished-large", "200 clients each leave a PUBLISH of 10 MiB unfinished that grows a little all the time")
def unfinished_large(arena):
    packet = packets.publish("unfinished", NOISE * 5, 1, 1)

    def client(number):
        yield from joined(f"unfinished-{number}")
        for at in range(0, len(packet) - BUFFERS, BUFFERS):
            yield packet[at : at + BUFFERS]
            yield Pause(0.05)

    arena.crowd(client, arena.scaled(200), buffers=BUFFERS)


@attack("http-flood", "2,000 HTTP requests that are not finished or have large headers, and answers that nobody reads")
def http_flood(arena):
    start = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n"
    large = b"".join(b"X-%d: " % number + b"h" * 8000 + b"\r\n" for number in range(128))
    asked = [
        [start],
        [start + large],
        [start + b"X: " + NOISE[:MIB].replace(b"\r", b"r").replace(b"\n", b"n")],
        [start + b"\r\n"] * 400,
        [start.replace(b"/metrics", b"/sessions?limit=10000") + b"\r\n"] * 400,
    ]

    def client(number):
        yield DEAF
        yield from asked[number % len(asked)]

    arena.crowd(client, at_once=arena.scaled(2000), to=arena.http, buffers=BUFFERS)
