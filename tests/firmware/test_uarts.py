"""The broker in a microcontroller, with paho-mqtt, mosquitto's clients and raw bytes on its UARTs."""

import random
import socket
import subprocess
import threading
import time
import unittest

from broker import SECONDS
from client import V3_1_1, V5, VERSIONS, Client, unique
from machine import UARTS, Machine

CONNECT = bytes.fromhex("10 0c 0004 4d515454 04 02 0000 0000")
"""MQTT 3.1.1, Clean Session, without Keep Alive and Client Identifier."""
CONNACK = bytes.fromhex("20 02 00 00")
DISCONNECT = bytes.fromhex("e0 00")
MALFORMED = bytes.fromhex("36 00")
"""PUBLISH with QoS 3."""


def connect_with_will(topic, keep_alive=0):
    """CONNECT of MQTT 3.1.1 with a Will: "gone", QoS 1."""
    body = bytes.fromhex("0004 4d515454 04 0e") + keep_alive.to_bytes(2, "big")
    body += bytes(2) + len(topic).to_bytes(2, "big") + topic.encode() + b"\0\4gone"
    return bytes([0x10, len(body)]) + body


def publish(topic, payload):
    """PUBLISH of QoS 0."""
    body = len(topic).to_bytes(2, "big") + topic.encode() + payload
    return bytes([0x30, len(body)]) + body


def publish_at_least_once(topic, packet_id):
    """PUBLISH of QoS 1 with 40 bytes of payload."""
    body = len(topic).to_bytes(2, "big") + topic.encode() + packet_id.to_bytes(2, "big") + bytes(40)
    return bytes([0x32, len(body)]) + body


class Line(socket.socket):
    """A UART, byte by byte."""

    def __init__(self, port):
        super().__init__()
        self.settimeout(SECONDS)
        self.connect(("127.0.0.1", port))

    def expect(self, expected):
        got = b""
        while len(got) < len(expected):
            piece = self.recv(len(expected) - len(got))
            assert piece, f"{got.hex()}, then the end"
            got += piece
        assert got == expected, f"{got.hex()} instead of {expected.hex()}"

    def connect_at_last(self):
        """Sends CONNECT until it is answered: what the line was sent before may have begun like a packet."""
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


class Uarts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.machine = cls.enterClassContext(Machine())
        cls.ports = cls.machine.ports

    def client(self, uart, version=V5, **options):
        return self.enterContext(Client(self.ports[uart], version, **options))

    def line(self, uart):
        return self.enterContext(Line(self.ports[uart]))

    def test_every_qos_from_every_uart_to_every_other(self):
        for name, version in VERSIONS.items():
            clients = [Client(port, version) for port in self.ports]
            for uart, client in enumerate(clients):
                self.assertEqual(client.subscribe(f"to/{uart}/#", 2), 2)
            for sender in range(UARTS):
                for receiver in range(UARTS):
                    for qos in (0, 1, 2):
                        with self.subTest(version=name, sender=sender, receiver=receiver, qos=qos):
                            payload = unique("m").encode()
                            clients[sender].publish(f"to/{receiver}/x", payload, qos)
                            message = clients[receiver].next()
                            self.assertEqual((message.payload, message.qos), (payload, qos))
            for client in clients:
                client.__exit__()

    def test_retained_messages_wait_for_their_subscriber(self):
        publisher, subscriber = self.client(0, V3_1_1), self.client(1)
        publisher.publish("retained/a", "1", 1, retain=True)
        publisher.publish("retained/a", "2", 1, retain=True)
        subscriber.subscribe("retained/#", 1)
        message = subscriber.next()
        self.assertEqual((message.payload, message.retain), (b"2", True))
        publisher.publish("retained/a", "", 1, retain=True)
        self.assertEqual(subscriber.next().payload, b"")

    def test_a_session_outlives_its_connection(self):
        with Client(self.ports[0], V5, "keeps", keep_session=True) as client:
            client.subscribe("kept", 2)
        self.client(1).publish("kept", "later", 2)
        with Client(self.ports[2], V5, "keeps", keep_session=True) as client:
            self.assertTrue(client.session_present)
            self.assertEqual(client.next().payload, b"later")
        Client(self.ports[2], V3_1_1, "keeps").__exit__()

    def test_malformed_bytes_end_the_connection_and_publish_its_will(self):
        witness = self.client(0)
        witness.subscribe("wills/#", 1)
        line = self.line(2)
        line.sendall(connect_with_will("wills/malformed"))
        line.expect(CONNACK)
        line.sendall(MALFORMED)
        message = witness.next()
        self.assertEqual((message.topic, message.payload, message.qos), ("wills/malformed", b"gone", 1))
        line.sendall(CONNECT)
        line.expect(CONNACK)
        line.sendall(DISCONNECT)

    def test_a_peer_that_was_reset_starts_over_with_connect(self):
        """The line has no close: CONNECT on an open connection ends it like a lost one, and begins the next."""
        witness = self.client(0)
        witness.subscribe("wills/#", 1)
        line = self.line(2)
        line.sendall(connect_with_will("wills/reset"))
        line.expect(CONNACK)
        line.sendall(CONNECT)
        line.expect(CONNACK)
        self.assertEqual(witness.next().topic, "wills/reset")
        line.sendall(DISCONNECT)

    def test_connections_that_follow_at_once_are_kept_apart(self):
        witness = self.client(0)
        witness.subscribe("#", 0)
        line = self.line(1)
        once = CONNECT + publish("at/once", b"x") + DISCONNECT
        line.sendall(once * 5 + CONNECT + publish("at/once", b"y") + once)
        line.expect(CONNACK * 7)
        self.assertEqual(witness.next_payloads(7), [b"x"] * 5 + [b"y", b"x"])

    def test_a_burst_is_held_back_and_nothing_of_it_is_lost(self):
        """More than queue and buffers have room for, from a client that may have 8 unacknowledged packets taken at a time."""
        line = self.line(1)
        line.sendall(CONNECT + b"".join(publish_at_least_once("burst", number) for number in range(1, 1501)))
        line.expect(CONNACK + b"".join(bytes.fromhex("40 02") + number.to_bytes(2, "big") for number in range(1, 1501)))
        line.sendall(DISCONNECT)

    def test_noise_on_one_uart_disturbs_no_other(self):
        publisher, subscriber = self.client(0), self.client(1)
        subscriber.subscribe("calm", 2)
        line = self.line(2)
        seeded = random.Random(20)
        noise = [seeded.randbytes(seeded.randrange(1, 600)) for _ in range(200)]
        # What comes back is read, because QEMU stops the whole machine for a peer that does not.
        reader = threading.Thread(target=read_to_the_end, args=(line,))
        reader.start()
        writer = threading.Thread(target=lambda: [line.sendall(piece) for piece in noise])
        writer.start()
        for number in range(150):
            publisher.publish("calm", str(number), number % 3)
        # Messages of all QoS to one subscription stay in order.
        self.assertEqual([int(payload) for payload in subscriber.next_payloads(150)], list(range(150)))
        writer.join(SECONDS)
        self.assertFalse(writer.is_alive())
        line.shutdown(socket.SHUT_RDWR)
        reader.join(SECONDS)
        again = self.line(2)
        again.connect_at_last()
        again.sendall(DISCONNECT)

    def test_a_packet_may_have_1024_bytes(self):
        publisher, subscriber = self.client(0), self.client(1)
        subscriber.subscribe("large", 2)
        # Around the payload: 3 bytes of fixed header, 7 of topic, 2 of Packet Identifier, 1 of Properties.
        largest = bytes(number % 251 for number in range(1024 - 13))
        for qos in (1, 2):
            publisher.publish("large", largest, qos)
            self.assertEqual(subscriber.next().payload, largest)
        publisher.paho.publish("large", largest + b"!", 1)
        self.assertEqual(publisher.ends.get(timeout=SECONDS)[1].value, 0x95)

    def test_keep_alive_is_told_by_the_clock_of_the_board(self):
        witness = self.client(0)
        witness.subscribe("wills/#", 1)
        line = self.line(2)
        started = time.monotonic()
        line.sendall(connect_with_will("wills/silent", keep_alive=2))
        line.expect(CONNACK)
        self.assertEqual(witness.next().topic, "wills/silent")
        self.assertGreater(time.monotonic() - started, 2.5)

    def test_mosquitto_clients_connect_to_a_uart(self):
        def mosquitto(command, uart, *arguments):
            command = [f"mosquitto_{command}", "-p", str(self.ports[uart]), "-t", "m/x", *arguments]
            done = subprocess.run(command, check=True, timeout=SECONDS, stdout=subprocess.PIPE, text=True)
            return done.stdout

        mosquitto("pub", 0, "-m", "21.5", "-q", "2", "-r")
        self.assertEqual(mosquitto("sub", 1, "-C", "1"), "21.5\n")
        mosquitto("pub", 2, "-n", "-q", "1", "-r", "-V", "5")


def read_to_the_end(line):
    with line:
        try:
            while line.recv(4096):
                pass
        except OSError:
            pass


if __name__ == "__main__":
    unittest.main()
