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
from raw import (
    CONNACK,
    CONNECT,
    CONNECT_5,
    DISCONNECT,
    MALFORMED,
    PINGREQ,
    PINGRESP,
    Stream,
    connect_with_will,
    publish,
    publish_at_least_once,
)

class Uarts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.machine = cls.enterClassContext(Machine())
        cls.ports = cls.machine.ports

    def client(self, uart, version=V5, **options):
        return self.enterContext(Client(self.ports[uart], version, **options))

    def line(self, uart):
        return self.enterContext(Stream(self.ports[uart]))

    def test_every_qos_is_delivered_from_every_uart_to_every_other(self):
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

    def test_malformed_bytes_end_a_connection_and_publish_the_will(self):
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

    def test_a_connect_on_an_open_uart_connection_begins_a_new_one(self):
        """A line can't be closed: a CONNECT on an open connection ends that connection as a lost one, and begins the next."""
        witness = self.client(0)
        witness.subscribe("wills/#", 1)
        line = self.line(2)
        line.sendall(connect_with_will("wills/reset"))
        line.expect(CONNACK)
        line.sendall(CONNECT)
        line.expect(CONNACK)
        self.assertEqual(witness.next().topic, "wills/reset")
        line.sendall(DISCONNECT)

    def test_connections_that_follow_at_once_on_a_uart_are_kept_apart(self):
        witness = self.client(0)
        witness.subscribe("at/#", 0)
        line = self.line(1)
        once = CONNECT + publish("at/once", b"x") + DISCONNECT
        line.sendall(once * 5 + CONNECT + publish("at/once", b"y") + once)
        line.expect(CONNACK * 7)
        self.assertEqual(witness.next_payloads(7), [b"x"] * 5 + [b"y", b"x"])

    def test_a_burst_on_a_uart_is_held_back_without_loss(self):
        """More bytes than queue and buffers have room for, from a client with up to 8 unacknowledged packets."""
        line = self.line(1)
        line.sendall(CONNECT + b"".join(publish_at_least_once("burst", number) for number in range(1, 1501)))
        line.expect(CONNACK + b"".join(bytes.fromhex("40 02") + number.to_bytes(2, "big") for number in range(1, 1501)))
        line.sendall(DISCONNECT)

    def test_owed_replies_are_sent_before_a_new_connection_begins(self):
        """A CONNECT ends the connection before it, but only when the replies that are owed there have been sent."""
        line = self.line(1)
        line.sendall((CONNECT + PINGREQ * 7) * 3 + DISCONNECT)
        line.expect((CONNACK + PINGRESP * 7) * 3)

    def test_noise_on_one_uart_disturbs_no_other(self):
        publisher, subscriber = self.client(0), self.client(1)
        # With QoS 2 the client would hand a message to the program at PUBREL, which may be after the next message.
        subscriber.subscribe("calm", 1)
        line = self.line(2)
        seeded = random.Random(20)
        noise = [seeded.randbytes(seeded.randrange(1, 600)) for _ in range(200)]
        # The replies are read, because QEMU stops the whole machine for a peer that does not read.
        reader = threading.Thread(target=line.read_to_the_end)
        reader.start()
        writer = threading.Thread(target=lambda: [line.sendall(piece) for piece in noise])
        writer.start()
        for number in range(150):
            publisher.publish("calm", str(number), number % 3)
        self.assertEqual([int(payload) for payload in subscriber.next_payloads(150)], list(range(150)))
        writer.join(SECONDS)
        self.assertFalse(writer.is_alive())
        line.shutdown(socket.SHUT_RDWR)
        reader.join(SECONDS)
        again = self.line(2)
        again.connect_at_last()
        again.sendall(DISCONNECT)

    def test_a_packet_of_1024_bytes_is_accepted_and_a_longer_one_refused(self):
        publisher, subscriber = self.client(0), self.client(1)
        subscriber.subscribe("large", 2)
        # Around the payload: 3 bytes of fixed header, 7 of topic, 2 of Packet Identifier, 1 of Properties.
        largest = bytes(number % 251 for number in range(1024 - 13))
        for qos in (1, 2):
            publisher.publish("large", largest, qos)
            self.assertEqual(subscriber.next().payload, largest)
        # Raw bytes, because paho-mqtt ignores the Reason Code of a DISCONNECT without Properties.
        line = self.line(2)
        line.sendall(CONNECT_5)
        self.assertEqual(line.read_packet()[0], 0x20)
        line.sendall(publish_at_least_once("large", 1, b"\0" + largest + b"!"))
        self.assertEqual(line.read_packet(), (0xE0, b"\x95\0"))
        # The rest of the packet is noise on the line, which the next user of the line should not meet.
        line.connect_at_last()
        line.sendall(DISCONNECT)

    def test_keep_alive_is_measured_by_the_clock_of_the_board(self):
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


if __name__ == "__main__":
    unittest.main()
