"""Packets of MQTT 3.1.1 as bytes, and streams to send them on."""

import socket
import time

from broker import SECONDS

CONNECT = bytes.fromhex("10 0c 0004 4d515454 04 02 0000 0000")
"""A CONNECT with Clean Session, without Keep Alive and Client Identifier."""
CONNECT_5 = bytes.fromhex("10 0d 0004 4d515454 05 02 0000 00 0000")
"""The same CONNECT in MQTT 5.0."""
CONNACK = bytes.fromhex("20 02 00 00")
PINGREQ, PINGRESP = bytes.fromhex("c0 00"), bytes.fromhex("d0 00")
DISCONNECT = bytes.fromhex("e0 00")
MALFORMED = bytes.fromhex("36 00")
"""A PUBLISH with QoS 3, which is malformed."""


def connect_with_will(topic, keep_alive=0):
    """A CONNECT with the Will "gone" of QoS 1."""
    body = bytes.fromhex("0004 4d515454 04 0e") + keep_alive.to_bytes(2, "big")
    body += bytes(2) + len(topic).to_bytes(2, "big") + topic.encode() + b"\0\4gone"
    return bytes([0x10, len(body)]) + body


def publish(topic, payload):
    """A PUBLISH with QoS 0."""
    body = len(topic).to_bytes(2, "big") + topic.encode() + payload
    return bytes([0x30]) + remaining_length(len(body)) + body


def publish_at_least_once(topic, packet_id, payload=bytes(40), dup=False):
    """A PUBLISH with QoS 1."""
    body = len(topic).to_bytes(2, "big") + topic.encode() + packet_id.to_bytes(2, "big") + payload
    return bytes([0x3A if dup else 0x32]) + remaining_length(len(body)) + body


def subscribe(topic_filter, qos=0):
    """A SUBSCRIBE with Packet Identifier 1."""
    body = b"\0\1" + len(topic_filter).to_bytes(2, "big") + topic_filter.encode() + bytes([qos])
    return bytes([0x82]) + remaining_length(len(body)) + body


def connect_to_session(client_id):
    """A CONNECT without Clean Session."""
    body = bytes.fromhex("0004 4d515454 04 00 0000") + len(client_id).to_bytes(2, "big") + client_id.encode()
    return bytes([0x10, len(body)]) + body


def publish_exactly_once(topic, packet_id, payload, dup=False):
    """A PUBLISH with QoS 2."""
    packet = publish_at_least_once(topic, packet_id, payload)
    return bytes([0x3C if dup else 0x34]) + packet[1:]


def puback(packet_id):
    return bytes.fromhex("40 02") + packet_id.to_bytes(2, "big")


def pubrec(packet_id):
    return bytes.fromhex("50 02") + packet_id.to_bytes(2, "big")


def pubrel(packet_id):
    return bytes.fromhex("62 02") + packet_id.to_bytes(2, "big")


def pubcomp(packet_id):
    return bytes.fromhex("70 02") + packet_id.to_bytes(2, "big")


def remaining_length(value):
    """The Remaining Length as bytes, for lengths up to 16,383."""
    return bytes([value]) if value < 128 else bytes([value % 128 | 128, value // 128])


class Stream(socket.socket):
    """A stream over a UART or a TCP connection."""

    def __init__(self, port):
        super().__init__()
        self.settimeout(SECONDS)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connect(("127.0.0.1", port))

    def read(self, count):
        got = b""
        while len(got) < count:
            piece = self.recv(count - len(got))
            assert piece, f"{got.hex()}, then the end"
            got += piece
        return got

    def read_packet(self):
        """The first byte of the next packet, and the bytes behind its Remaining Length."""
        first, length, shift = self.read(1)[0], 0, 0
        while True:
            byte = self.read(1)[0]
            length |= (byte & 127) << shift
            if byte < 128:
                return first, self.read(length)
            shift += 7

    def expect(self, expected):
        got = self.read(len(expected))
        assert got == expected, f"{got.hex()} instead of {expected.hex()}"

    def expect_end(self):
        """Expects the end of the connection without more bytes, whether the other side closes or resets it."""
        try:
            got = self.recv(4096)
        except ConnectionResetError:
            return
        assert not got, f"{got.hex()} instead of the end"

    def connect_at_last(self):
        """Sends CONNECT until it is answered: earlier bytes on the line may have looked like the beginning of a packet."""
        self.settimeout(0.5)
        end = time.monotonic() + SECONDS
        got = b""
        while not got.endswith(CONNACK):
            assert time.monotonic() < end, f"no CONNACK but {got.hex()}"
            self.sendall(CONNECT)
            try:
                got += self.recv(4096)
            except TimeoutError:
                continue
        self.settimeout(SECONDS)
        # The answer may belong to an earlier CONNECT. A socket that is closed before all is read loses what it has sent.
        self.sendall(PINGREQ)
        while not got.endswith(PINGRESP):
            got += self.recv(4096)

    def read_to_the_end(self):
        """Reads all bytes up to the end of the stream, and closes it."""
        with self:
            try:
                while self.recv(4096):
                    pass
            except OSError:
                pass
