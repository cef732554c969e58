"""What survives a reset: the power of the board is cut, and it starts again with the flash that it had."""

import unittest

from machine import Machine
from raw import (
    DISCONNECT,
    connect_to_session,
    publish_exactly_once,
    pubcomp,
    pubrec,
    pubrel,
    subscribe,
)
from test_network import Suite


class Kept(Suite):
    """Sessions, subscriptions, retained and queued messages."""

    def setUp(self):
        self.machine = self.enterContext(Machine())

    def test_retained_messages(self):
        client = self.client()
        for qos in (0, 1, 2):
            client.publish(f"kept/{qos}", str(qos), qos, retain=True)
        client.publish("kept/gone", "x", 1, retain=True)
        client.publish("kept/gone", "", 1, retain=True)
        self.machine.reset()
        client = self.client()
        client.subscribe("kept/#", 2)
        messages = {message.topic: message.payload for message in (client.next() for _ in range(3))}
        self.assertEqual(messages, {f"kept/{qos}": str(qos).encode() for qos in (0, 1, 2)})
        client.assert_nothing_for("kept/0", client)


class ExactlyOnce(Suite):
    """The power is cut in the middle of an exchange of QoS 2. `reader` subscribes to what `writer` publishes."""

    def setUp(self):
        self.machine = self.enterContext(Machine())
        with self.session("reader", present=False) as reader:
            reader.sendall(subscribe("x", 2))
            reader.expect(bytes.fromhex("90 03 0001 02"))
            reader.sendall(DISCONNECT)
        self.session("writer", present=False).sendall(DISCONNECT)

    def session(self, client_id, present=True):
        """A connection that resumes its Session, or begins one."""
        return self.stream(connect_to_session(client_id), answer=bytes([0x20, 2, present, 0]))

    def assert_read(self, *payloads):
        """`reader` is sent these, and nothing else."""
        with self.session("reader") as reader:
            for packet_id in [self.expect_message(reader, payload) for payload in payloads]:
                self.complete(reader, packet_id)
            reader.sendall(subscribe("nothing"))
            reader.expect(bytes.fromhex("90 03 0001 00"))
            reader.sendall(DISCONNECT)

    def expect_message(self, reader, payload, dup=False):
        """Returns the Packet Identifier of the next PUBLISH."""
        head = bytes([0x3C if dup else 0x34, 5 + len(payload)]) + b"\0\1x"
        reader.expect(head)
        packet_id = int.from_bytes(reader.read(2), "big")
        reader.expect(payload)
        return packet_id

    def complete(self, reader, packet_id):
        reader.sendall(pubrec(packet_id))
        reader.expect(pubrel(packet_id))
        reader.sendall(pubcomp(packet_id))

    def test_publisher_between_pubrec_and_pubrel(self):
        writer = self.session("writer")
        for packet_id in (1, 2):
            writer.sendall(publish_exactly_once("x", packet_id, b"%d" % packet_id))
            writer.expect(pubrec(packet_id))
        self.machine.reset()
        writer = self.session("writer")
        # It may not know of PUBREC, or it may.
        writer.sendall(publish_exactly_once("x", 1, b"1", dup=True))
        writer.expect(pubrec(1))
        for packet_id in (1, 2):
            writer.sendall(pubrel(packet_id))
            writer.expect(pubcomp(packet_id))
        self.assert_read(b"1", b"2")


if __name__ == "__main__":
    unittest.main()
