"""The process of the broker: how it starts, refuses to start and stops, and how many connections it accepts."""

import resource
import selectors
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from broker import BINARY, SECONDS, Broker, wait_until
from client import V3_1_1, V5, Client

CONNECTIONS = 5000
CONNECT_V5 = bytes.fromhex("10 0d 0004 4d515454 05 02 0000 00 0000")
CONNACK = bytes.fromhex("20 02 00 00")
SUBACK = bytes.fromhex("90 03 0001 00")
CONNECT_V3_1_1 = bytes.fromhex("10 0c 0004 4d515454 04 02 0000 0000")


def refused(*arguments):
    """The standard error of a broker that must not start."""
    done = subprocess.run(
        [BINARY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=SECONDS
    )
    assert done.returncode != 0, f"it started: {done.stdout}"
    assert "listening" not in done.stdout, done.stdout
    return done.stderr


class Start(unittest.TestCase):
    def test_a_port_in_use_is_reported_in_one_line(self):
        with Broker() as broker:
            error = refused("--listen", f"127.0.0.1:{broker.port}")
        self.assertEqual(error.count("\n"), 1, error)
        self.assertIn(f"127.0.0.1:{broker.port}", error)
        self.assertIn("in use", error)

    def test_listening_beyond_loopback_needs_allow_anonymous(self):
        for address in ("0.0.0.0:0", "[::]:0"):
            error = refused("--listen", address)
            self.assertIn(address.rsplit(":", 1)[0], error)
            self.assertIn("anonymous", error)

    def test_a_mistake_in_the_configuration_names_file_line_and_key(self):
        mistakes = {
            "shards = 1\n\n[limits]\nqueued_messages = 0\n": (4, "limits.queued_messages"),
            "[limits]\ninflight = 1\nqueued_mesages = 7\n": (3, "limits.queued_mesages"),
            '[[listener]]\naddress = "localhost"\n': (2, "listener.address"),
            "[overflow]\ndefault = drop\n": (2, ""),
        }
        for text, (line, key) in mistakes.items():
            with self.subTest(key=key), tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
                file.write(text)
                file.flush()
                error = refused("--config", file.name)
                self.assertIn(f"{file.name}:{line}: {key}", error)
        self.assertIn("/nowhere.toml", refused("--config", "/nowhere.toml"))

    def test_the_configuration_file_takes_effect(self):
        with Broker(config="[limits]\nreceive_maximum = 7\n") as broker, Client(broker.port, V5) as client:
            self.assertEqual(client.connack.ReceiveMaximum, 7)

    def test_several_listeners_serve_the_same_broker(self):
        with Broker(listen=("127.0.0.1:0", "127.0.0.1:0")) as broker:
            first, second = broker.ports
            with Client(first, V5) as subscriber, Client(second, V3_1_1) as publisher:
                subscriber.subscribe("t", 1)
                publisher.publish("t", "x", 1)
                self.assertEqual(subscriber.next().payload, b"x")


class Stop(unittest.TestCase):
    def test_sigterm_and_sigint_disconnect_clients_before_the_end(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number), Broker() as broker:
                clients = [Client(broker.port, version) for version in (V5, V5, V5, V3_1_1)]
                broker.signal(number)
                codes = [client.ends.get(timeout=SECONDS)[1] for client in clients]
                self.assertEqual([code.value for code in codes[:3]], [0x8B] * 3)
                self.assertNotEqual(codes[3].value, 0x8B)
                self.assertEqual(broker.wait(), 0)
                with self.assertRaises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", broker.port))
                for client in clients:
                    client.paho.loop_stop()

    def test_a_second_signal_ends_the_broker_at_once(self):
        with Broker() as broker:
            broker.expected_code = 1
            with socket.create_connection(("127.0.0.1", broker.port)) as stuck:
                # This client never reads, so the broker waits for it after the first signal.
                stuck.sendall(CONNECT_V5 + subscribe("t"))
                with Client(broker.port, V5) as publisher:
                    for _ in range(40):
                        publisher.publish("t", bytes(1 << 20), 1)
                broker.signal(signal.SIGTERM)
                refuses_now(broker.port)
                self.assertIsNone(broker.process.poll())
                started = time.monotonic()
                broker.signal(signal.SIGTERM)
                self.assertEqual(broker.wait(), 1)
                self.assertLess(time.monotonic() - started, 1)

    def test_a_client_that_does_not_read_delays_the_stop_only_for_a_while(self):
        with Broker() as broker, socket.create_connection(("127.0.0.1", broker.port)) as stuck:
            stuck.sendall(CONNECT_V5 + subscribe("t"))
            with Client(broker.port, V5) as publisher:
                for _ in range(40):
                    publisher.publish("t", bytes(1 << 20), 1)
            broker.signal(signal.SIGTERM)
            self.assertEqual(broker.wait(), 0)


class Many(unittest.TestCase):
    def test_5000_connections_at_once_are_served(self):
        """All clients connect in one burst, subscribe and get a message, from a broker with default settings."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.assertGreater(hard, CONNECTIONS + 500, "raise the limit of open files: ulimit -Hn")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        # The broker raises its own limit of file descriptors.
        low = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        with Broker(preexec_fn=low) as broker, Client(broker.port, V5) as publisher:
            swarm = Swarm(broker.port, CONNECTIONS)
            self.addCleanup(swarm.close)
            admitted = CONNACK + SUBACK
            swarm.await_bytes(len(admitted), "SUBACK")
            publisher.publish("swarm", "hello", 1)
            message = publish("swarm", b"hello")
            swarm.await_bytes(len(admitted + message), "the message")
            self.assertEqual(set(swarm.received.values()), {admitted + message})


class Swarm:
    """Many sockets that send CONNECT (3.1.1) and SUBSCRIBE, and collect the answers."""

    def __init__(self, port, count):
        self.selector = selectors.DefaultSelector()
        self.received = {}
        hello = CONNECT_V3_1_1 + subscribe("swarm", properties=b"")
        for _ in range(count):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            self.selector.register(sock, selectors.EVENT_WRITE, hello)
            self.received[sock] = b""

    def await_bytes(self, least, what):
        """Waits until each socket has received this many bytes."""
        end = time.monotonic() + SECONDS
        lacking = {sock for sock, received in self.received.items() if len(received) < least}
        while lacking:
            assert time.monotonic() < end, f"{len(lacking)} clients wait for {what}"
            for key, _ in self.selector.select(1):
                sock = key.fileobj
                if key.data:
                    sock.sendall(key.data)
                    self.selector.modify(sock, selectors.EVENT_READ, b"")
                    continue
                data = sock.recv(4096)
                assert data, f"the broker closed a connection that waits for {what}"
                self.received[sock] += data
                if len(self.received[sock]) >= least:
                    lacking.discard(sock)

    def close(self):
        self.selector.close()
        for sock in self.received:
            sock.close()


def subscribe(topic_filter, properties=b"\0"):
    """A SUBSCRIBE with QoS 0. Without the byte for an empty list of Properties it is one of MQTT 3.1.1."""
    body = b"\0\1" + properties + len(topic_filter).to_bytes(2, "big") + topic_filter.encode() + b"\0"
    return bytes([0x82, len(body)]) + body


def publish(topic, payload):
    """A PUBLISH with QoS 0 in MQTT 3.1.1."""
    body = len(topic).to_bytes(2, "big") + topic.encode() + payload
    return bytes([0x30, len(body)]) + body


def refuses_now(port):
    """Waits until no process listens on `port`."""

    def refuses():
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) != 0

    wait_until(refuses, "the port is closed")
