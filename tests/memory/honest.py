"""An honest pair beside the attackers: a publisher and a subscriber with QoS 1, which must lose no message.

Each message carries the time at which it was due. So the latency includes the time in which the publisher can't write or the
broker does not read.
"""

import os
import select
import signal
import socket
import struct
import time

import crowd
import packets

EVERY = 0.02
STEP = 0.002
"""The longest wait for something to read."""
SIZE = 100
TOPIC = "honest/pair"
DRAIN = 5
"""The seconds for messages that are still on their way when the last one was published."""
CONNECT_AGAIN = 0.1


class Link:
    """A client that connects again, with its Session, when its connection is lost."""

    def __init__(self, address, client_id, hello):
        self.address, self.client_id, self.hello = address, client_id, hello
        self.socket, self.input, self.output = None, bytearray(), bytearray()
        self.is_ready = False
        self.connections = self.ended = 0
        self.refused = 0
        self.again_at = 0
        self.window = 65535

    def open(self, now):
        self.again_at = now + CONNECT_AGAIN
        self.is_ready = False
        self.input.clear()
        self.output = bytearray(packets.connect(self.client_id, expiry=300, clean=False))
        try:
            self.socket = socket.create_connection(self.address, 2)
        except OSError:
            self.socket = None
            return
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def lose(self):
        if self.socket:
            self.socket.close()
            self.ended += 1
        self.socket, self.is_ready = None, False

    def flush(self):
        try:
            while self.output:
                del self.output[: self.socket.send(self.output)]
        except BlockingIOError:
            pass
        except OSError:
            self.lose()

    def read(self):
        """The packets that came."""
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.lose()
            return []
        self.input += data
        came = packets.cut(self.input)
        for first, body in came:
            if first >> 4 == packets.CONNACK:
                self.connected(body)
        return came

    def connected(self, body):
        if body[1]:
            self.refused += 1
            return
        self.is_ready = True
        self.connections += 1
        self.window = receive_maximum(body)
        self.output += self.hello


def receive_maximum(connack):
    """The Receive Maximum in the Properties of CONNACK."""
    at = 3
    sizes = {0x11: 4, 0x21: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x22: 2, 0x28: 1, 0x29: 1, 0x2A: 1, 0x13: 2}
    while at < len(connack):
        kind = connack[at]
        if kind == 0x21:
            return int.from_bytes(connack[at + 1 : at + 3], "big")
        # The other Properties are strings.
        at += 1 + (sizes.get(kind) or 2 + int.from_bytes(connack[at + 1 : at + 3], "big"))
    return 65535


class Pair:
    def __init__(self, address, shards):
        # The Client Identifiers are at home on two shards, if there are two.
        names = packets.client_on(0, shards, "honest-publisher"), packets.client_on(shards - 1, shards, "honest-subscriber")
        self.publisher = Link(address, names[0], b"")
        self.subscriber = Link(address, names[1], packets.subscribe(TOPIC))
        self.sent = 0
        self.waiting = {}
        """Messages that were sent and are not acknowledged, by Packet Identifier."""
        self.backlog = []
        """Messages to be sent: Packet Identifier, payload, and whether the message was sent before."""
        self.latencies = {}
        """Seconds, by the number of the message."""
        self.refusals = 0
        self.doubled = 0
        self.late = 0
        """The longest delay by which this process was woken too late: the machine's fault, not the broker's."""
        self.is_subscribed = False

    def run(self, until):
        """Runs until `until()` returns true."""
        while not until():
            now = time.monotonic()
            for link in (self.publisher, self.subscriber):
                if not link.socket and now >= link.again_at:
                    link.open(now)
                    if link is self.publisher and link.socket:
                        self.send_again()
            self.turn()

    def turn(self):
        links = [link for link in (self.publisher, self.subscriber) if link.socket]
        for link in links:
            link.flush()
        sockets = {link.socket: link for link in links if link.socket}
        wake = time.monotonic() + STEP
        readable, _, _ = select.select(list(sockets), [], [], STEP)
        if not readable:
            self.late = max(self.late, time.monotonic() - wake)
        for sock in readable:
            for first, body in sockets[sock].read():
                self.take(first, body)

    def take(self, first, body):
        kind = first >> 4
        if kind == packets.PUBLISH:
            size = int.from_bytes(body[:2], "big")
            identifier = body[2 + size : 4 + size]
            number, due = struct.unpack("<Qd", body[5 + size : 21 + size])
            self.subscriber.output += bytes([packets.PUBACK << 4, 2]) + identifier
            self.doubled += number in self.latencies
            self.latencies.setdefault(number, time.monotonic() - due)
        elif kind == packets.PUBACK:
            self.waiting.pop(int.from_bytes(body[:2], "big"), None)
            self.refusals += bool(packets.failures(kind, body))
            self.fill()
        elif kind == packets.SUBACK:
            self.is_subscribed = True
        elif kind == packets.CONNACK and self.publisher.is_ready:
            self.fill()

    def publish(self, due):
        body = struct.pack("<Qd", self.sent, due).ljust(SIZE, b".")
        self.backlog.append((self.sent % 65535 + 1, body, False))
        self.sent += 1
        self.fill()

    def fill(self):
        while self.backlog and self.publisher.is_ready and len(self.waiting) < self.publisher.window:
            identifier, body, again = self.backlog.pop(0)
            self.waiting[identifier] = body
            self.publisher.output += packets.publish(TOPIC, body, 1, identifier, again=again)

    def send_again(self):
        """On a new connection, sends unacknowledged messages first."""
        self.backlog = [(identifier, body, True) for identifier, body in self.waiting.items()] + self.backlog
        self.waiting.clear()

    def report(self):
        times = sorted(self.latencies.values())
        at = lambda share: times[min(len(times) - 1, int(len(times) * share))] * 1000 if times else None
        return {
            "sent": self.sent,
            "lost": self.sent - len(self.latencies),
            "p50": at(0.5),
            "p99": at(0.99),
            "max": at(1),
            "reconnects": self.publisher.ended + self.subscriber.ended,
            "refused": self.refusals + self.publisher.refused + self.subscriber.refused,
            "doubled": self.doubled,
            "late": self.late * 1000,
        }


def run(address, shards, ready, stop, broken, answers):
    """The process of the pair. Sets `ready` when the first message has come, and publishes until `stop`. After `broken` no
    more messages can come."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    crowd.be_nice(-15)
    pair = Pair(address, shards)
    orphan = os.getppid()
    gone = lambda: os.getppid() != orphan
    pair.run(lambda: pair.is_subscribed or gone())
    due = time.monotonic()
    state = {"due": due}

    def go_on():
        now = time.monotonic()
        while state["due"] <= now:
            pair.publish(state["due"])
            state["due"] += EVERY
        if pair.latencies and not ready.is_set():
            ready.set()
        return stop.is_set() or gone()

    pair.run(go_on)
    end = time.monotonic() + DRAIN
    pair.run(lambda: len(pair.latencies) == pair.sent or broken.is_set() or time.monotonic() > end or gone())
    answers.put(pair.report())
