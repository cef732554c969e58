"""The broker in a microcontroller, on Ethernet, with rumqttc, paho-mqtt, mosquitto's clients and raw bytes."""

import contextlib
import os
import socket
import struct
import subprocess
import threading
import time
import unittest

from broker import SECONDS, wait_until
from client import V3_1_1, V5, VERSIONS, Client, unique
from machine import SOCKETS, UARTS, Machine
from raw import (
    CONNACK,
    CONNECT,
    DISCONNECT,
    MALFORMED,
    PINGREQ,
    PINGRESP,
    Stream,
    connect_with_will,
    publish,
    publish_at_least_once,
    subscribe,
)

RUMQTTC = os.environ["RUMQTTC_CLIENT"]
"""The program of rumqttc. The script `run` builds it and passes its path."""
QUOTA_EXCEEDED = 0x97
STACK_BYTES_AT_MOST = 4096


class Suite(unittest.TestCase):
    def client(self, version=V5, **options):
        return self.enterContext(at_last(lambda: Client(self.machine.tcp, version, **options)))

    def uart_client(self, uart, version=V5, **options):
        return self.enterContext(Client(self.machine.ports[uart], version, **options))

    def stream(self, *pieces, answer=CONNACK):
        """A connection on which `pieces`, or CONNECT alone, was sent and `answer` was received."""
        return self.enterContext(at_last(lambda: self.greeted(pieces or (CONNECT,), answer)))

    def greeted(self, pieces, answer):
        stream = Stream(self.machine.tcp)
        try:
            for piece in pieces:
                stream.sendall(piece)
            stream.expect(answer)
        except BaseException:
            stream.close()
            raise
        return stream


def at_last(connect):
    """The result of `connect`. A client that comes just after others have left may be refused, since the board has no free
    socket yet: then it tries again."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            return connect()
        except (AssertionError, OSError):
            assert time.monotonic() < end, "no socket is free"
            time.sleep(0.05)


class Network(Suite):
    @classmethod
    def setUpClass(cls):
        cls.machine = cls.enterClassContext(Machine())

    @classmethod
    def tearDownClass(cls):
        """Checks the board after all tests of this class."""
        with Client(cls.machine.tcp, V5) as client:
            client.subscribe("$SYS/board/stack")
            used, size = client.next().payload.decode().split(" of ")
        print(f"stack: {used} of {size} bytes used at most")
        assert int(used) <= STACK_BYTES_AT_MOST, f"{used} bytes of stack"

    def test_every_qos_between_network_and_uart_in_each_version(self):
        for name, version in VERSIONS.items():
            clients = [self.client(version), self.client(), self.uart_client(0, version), self.uart_client(1, V3_1_1)]
            for index, client in enumerate(clients):
                self.assertEqual(client.subscribe(f"to/{index}/#", 2), 2)
            for sender in clients:
                for index, receiver in enumerate(clients):
                    for qos in (0, 1, 2):
                        with self.subTest(version=name, receiver=index, qos=qos):
                            payload = unique("m").encode()
                            sender.publish(f"to/{index}/x", payload, qos)
                            message = receiver.next()
                            self.assertEqual((message.payload, message.qos), (payload, qos))
            for client in clients:
                client.__exit__()

    def test_rumqttc_and_mosquitto_get_each_others_messages(self):
        port = str(self.machine.tcp)
        mosquitto = ["-h", "127.0.0.1", "-p", port]
        subscribers = [[RUMQTTC, "sub", version, f"mqtt://127.0.0.1:{port}", "-"] for version in ("3.1.1", "5")]
        subscribers += [["mosquitto_sub", *mosquitto, "-q", "2", "-t", "q2/#", "-F", "%t %q %p"]]
        control = self.client()
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in subscribers]
        try:
            # A retained message tells when a subscription exists.
            control.publish("q2/ready", "-", 1, retain=True)
            for process in processes:
                self.assertEqual(process.stdout.readline(), "q2/ready 1 -\n")
            for version in ("3.1.1", "5"):
                url = f"mqtt://127.0.0.1:{port}"
                subprocess.run([RUMQTTC, "pub", version, url, f"rumqttc{version}"], check=True, timeout=SECONDS)
            for qos in ("0", "1", "2"):
                topic = f"q2/mosquitto/{qos}"
                subprocess.run(["mosquitto_pub", *mosquitto, "-q", qos, "-t", topic, "-m", "x"], check=True, timeout=SECONDS)
            publishers = [f"rumqttc{version}" for version in ("3.1.1", "5")]
            wanted = {
                f"q{granted}/{name}/{qos} {min(granted, qos)} {name}"
                for name in publishers
                for granted in range(3)
                for qos in range(3)
            }
            wanted |= {f"q2/mosquitto/{qos} {qos} x" for qos in range(3)}
            for process in processes[:2]:
                self.assertEqual({process.stdout.readline().rstrip() for _ in wanted}, wanted)
            wanted = {line for line in wanted if line.startswith("q2")}
            self.assertEqual({processes[2].stdout.readline().rstrip() for _ in wanted}, wanted)
        finally:
            for process in processes:
                process.terminate()
                process.wait(SECONDS)
                process.stdout.close()
            control.publish("q2/ready", "", 1, retain=True)

    def test_the_board_keeps_retained_messages_and_sessions(self):
        with self.client(V5, client_id="keeps", keep_session=True) as client:
            client.subscribe("kept", 2)
        publisher = self.client(V3_1_1)
        publisher.publish("kept", "later", 2, retain=True)
        with self.uart_client(1, V5, client_id="keeps", keep_session=True) as client:
            self.assertTrue(client.session_present)
            self.assertEqual(client.next().payload, b"later")
        newcomer = self.client()
        newcomer.subscribe("kept", 1)
        message = newcomer.next()
        self.assertEqual((message.payload, message.retain), (b"later", True))
        publisher.publish("kept", "", 1, retain=True)
        self.client(V3_1_1, client_id="keeps").__exit__()

    def test_32_messages_of_256_bytes_wait_for_four_absent_clients(self):
        names = [f"absent-{number}" for number in range(4)]
        for name in names:
            with self.client(V5, client_id=name, keep_session=True) as client:
                client.subscribe(name, 1)
        publisher = self.client()
        for number in range(8):
            for name in names:
                publisher.publish(name, bytes([number]) * 256, 1)
        for name in names:
            with self.client(V5, client_id=name, keep_session=True) as client:
                self.assertEqual(client.next_payloads(8), [bytes([number]) * 256 for number in range(8)])
            self.client(V3_1_1, client_id=name).__exit__()

    def test_the_board_serves_its_promised_clients_and_refuses_one_more(self):
        clients = [self.client() for _ in range(SOCKETS)] + [self.uart_client(uart) for uart in range(UARTS)]
        for client in clients:
            client.subscribe("all", 1)
        with Stream(self.machine.tcp) as late:
            late.sendall(CONNECT)
            late.expect_end()
        clients[0].publish("all", "here", 1)
        for client in clients:
            self.assertEqual(client.next().payload, b"here")
        clients[0].__exit__()
        self.stream()

    def test_sockets_are_freed_though_their_clients_do_not_close(self):
        refused = [self.stream() for _ in range(SOCKETS)]
        for stream in refused:
            stream.sendall(MALFORMED)
        # The broker has closed all these connections, and their clients have not.
        for _ in range(SOCKETS):
            self.stream().close()
        for stream in refused:
            stream.expect_end()

    def test_many_connections_one_after_the_other_are_served(self):
        for number in range(200):
            with self.stream(CONNECT + PINGREQ + DISCONNECT, answer=CONNACK + PINGRESP) as stream:
                if number % 2:
                    stream.expect_end()

    def test_packets_are_understood_byte_by_byte_and_all_at_once(self):
        packets = subscribe("pieces") + publish("pieces", b"x" * 200) + PINGREQ
        answers = bytes.fromhex("90 03 0001 00")
        stream = self.stream(*(bytes([byte]) for byte in CONNECT))
        for byte in packets:
            stream.sendall(bytes([byte]))
        stream.expect(answers)
        # The order of the other two answers depends on the turns of the main loop.
        message = publish("pieces", b"x" * 200)
        rest = stream.read(len(message + PINGRESP))
        self.assertIn(rest, (message + PINGRESP, PINGRESP + message))
        stream.sendall(DISCONNECT)

    def test_packets_before_the_end_of_the_stream_are_answered(self):
        """The client closes its side while the broker owes it 8 answers, and reads nothing more until these are sent."""
        stream = self.stream()
        stream.sendall(PINGREQ * 200)
        stream.shutdown(socket.SHUT_WR)
        stream.expect(PINGRESP * 200)
        stream.expect_end()

    def test_the_largest_packets_are_received_and_sent(self):
        publisher, subscriber = self.client(), self.client()
        subscriber.subscribe("large", 2)
        for size in (500, 511, 512, 513, 1000, 1024 - 13):
            payload = bytes(number % 251 for number in range(size))
            for qos in (1, 2):
                publisher.publish("large", payload, qos)
                self.assertEqual(subscriber.next().payload, payload)

    def test_a_burst_from_the_network_is_held_back_without_loss(self):
        stream = self.stream()
        count = 2000
        packets = b"".join(publish_at_least_once("burst", number) for number in range(1, count + 1))
        sender = threading.Thread(target=stream.sendall, args=(packets,))
        sender.start()
        stream.expect(b"".join(bytes.fromhex("40 02") + number.to_bytes(2, "big") for number in range(1, count + 1)))
        sender.join()

    def test_a_connection_that_is_reset_publishes_its_will(self):
        witness = self.uart_client(0)
        witness.subscribe("wills/#", 1)
        stream = self.stream(connect_with_will("wills/reset"))
        # Closing this socket sends a reset instead of a normal end.
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.close()
        message = witness.next()
        self.assertEqual((message.topic, message.payload, message.qos), ("wills/reset", b"gone", 1))

    def test_the_will_of_a_silent_client_is_published(self):
        witness = self.client()
        witness.subscribe("wills/#", 1)
        stream = self.stream(connect_with_will("wills/silent", keep_alive=2))
        started = time.monotonic()
        self.assertEqual(witness.next().topic, "wills/silent")
        self.assertGreater(time.monotonic() - started, 2.5)
        stream.expect_end()

    def test_the_ninth_subscription_of_a_client_is_refused(self):
        client = self.client()
        codes = [client.subscribe(f"many/{number}") for number in range(9)]
        self.assertEqual(codes, [0] * 8 + [QUOTA_EXCEEDED])

    def test_a_flood_from_some_clients_does_not_harm_others(self):
        publisher, subscriber = self.client(), self.client()
        subscriber.subscribe("calm", 1)
        longest = 0
        # One flood has no subscriber, one goes to a client that does not read, and one goes to other clients.
        with self.flood(
            (b"", publish("void", bytes(200))),
            (subscribe("flood/#"), publish("flood/x", bytes(200))),
            (b"", publish_at_least_once("flood/y", 7, bytes(50))),
        ):
            for number in range(200):
                started = time.monotonic()
                publisher.publish("calm", str(number), 1)
                self.assertEqual(subscriber.next().payload, str(number).encode())
                longest = max(longest, time.monotonic() - started)
        print(f"the longest way of a message during a flood: {longest * 1000:.0f} ms ... ", end="")
        self.assertLess(longest, 2)

    def test_a_burst_on_a_uart_during_a_flood_is_held_back(self):
        """While the main loop is busy, bytes fill the queue of the UART's interrupt, which is turned off and must be turned
        on again."""
        line = self.enterContext(Stream(self.machine.ports[2]))
        count = 2000
        packets = b"".join(publish_at_least_once("burst", number) for number in range(1, count + 1))
        with self.flood(*[(b"", publish("void", bytes(900)))] * 4):
            sender = threading.Thread(target=line.sendall, args=(CONNECT + packets,))
            sender.start()
            line.expect(CONNACK + b"".join(bytes.fromhex("40 02") + id.to_bytes(2, "big") for id in range(1, count + 1)))
            sender.join()
        line.sendall(DISCONNECT)

    @contextlib.contextmanager
    def flood(self, *clients):
        """Lets each client send its first packets, and then one message as often as possible, for the duration of the `with`
        block. Its socket on the board is free in the end."""
        stop = threading.Event()

        def send(stream, message):
            # A packet that is cut here goes on with the next piece.
            rest = b""
            stream.settimeout(0.2)
            while not stop.is_set():
                rest = rest or message * 20
                with contextlib.suppress(TimeoutError):
                    rest = rest[stream.send(rest) :]

        threads = []
        streams = [self.stream() for _ in clients]
        for stream, (first, message) in zip(streams, clients):
            stream.sendall(first)
            threads.append(threading.Thread(target=send, args=(stream, message)))
            threads[-1].start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            for stream in streams:
                stream.settimeout(SECONDS)
                stream.shutdown(socket.SHUT_WR)
            for stream in streams:
                stream.read_to_the_end()


class Board(Suite):
    """The board as a client of its own broker."""

    @classmethod
    def setUpClass(cls):
        cls.machine = cls.enterClassContext(Machine())

    def test_the_board_publishes_its_uptime_each_second(self):
        for client in (self.client(), self.uart_client(0), self.client(V3_1_1)):
            client.subscribe("board/uptime", 1)
            first = client.next()
            self.assertFalse(first.retain)
            values = [int(first.payload), *map(int, client.next_payloads(3))]
            self.assertEqual(values, list(range(values[0], values[0] + 4)))

    def test_commands_of_each_qos_switch_the_led_of_the_board(self):
        client, sender = self.client(), self.uart_client(1, V3_1_1)
        client.subscribe("board/led", 1)
        self.assertEqual(client.next().payload, b"off")
        for qos in (0, 1, 2):
            for state in ("on", "off"):
                sender.publish("board/led/set", state, qos)
                message = client.next()
                self.assertEqual(message.payload, state.encode())
        newcomer = self.client()
        newcomer.subscribe("board/led")
        message = newcomer.next()
        self.assertEqual((message.payload, message.retain), (b"off", True))

    def test_the_board_publishes_its_faults(self):
        client = self.client()
        client.subscribe("$SYS/board/faults")
        client.publish("board/led/set", "dance", 1)
        self.machine.expect("1 unknown commands")
        self.assertIn(b"1 unknown commands", client.next().payload)

    def test_the_board_connects_again_after_a_takeover(self):
        self.client(V5, client_id="board").ends.get(timeout=SECONDS)
        client = self.client()
        client.subscribe("board/led", 1)
        wait_until(lambda: self.switch(client, "on"), "the LED obeys")
        self.switch(client, "off")

    def switch(self, client, state):
        client.publish("board/led/set", state, 1)
        time.sleep(0.1)
        payload = None
        while not client.messages.empty():
            payload = client.next().payload
        return payload == state.encode()


class Cable(Suite):
    @classmethod
    def setUpClass(cls):
        cls.machine = cls.enterClassContext(Machine())

    def test_pulling_the_cable_publishes_the_wills_of_all_network_clients(self):
        witness = self.uart_client(0)
        witness.subscribe("wills/#", 1)
        streams = [self.stream(connect_with_will(f"wills/{number}", keep_alive=2)) for number in range(SOCKETS)]
        self.machine.plug(False)
        topics = {witness.next().topic for _ in streams}
        self.assertEqual(topics, {f"wills/{number}" for number in range(SOCKETS)})
        self.machine.plug(True)
        for stream in streams:
            stream.close()
        self.stream()


if __name__ == "__main__":
    unittest.main()
