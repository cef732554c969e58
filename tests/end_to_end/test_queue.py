"""A queue that is larger than memory: its bodies are on disk, and are delivered from there in order, even after `kill -9`.

GOLDCREST_QUEUED=N sets the number of messages of 1 KiB; the design is made for a million.
"""

import os
import signal
import socket
import tempfile
import time
import unittest

from broker import SECONDS, Broker, shards

QUEUED = int(os.environ.get("GOLDCREST_QUEUED", 100_000))
BODY_BYTES = 8 << 20
CONFIG = f"""
[limits]
queued_messages = 10000000
queued_bytes = {0xFFFF_FFFF}
[store]
body_bytes = {BODY_BYTES}
max_bytes = "64GiB"
"""
LEAST = 11 << 20
"""The memory of a broker without messages, with the batches on their way to the disk, in bytes."""
EACH = 108
"""The memory for a message whose body is on disk, in bytes. A million of them fit into 128 MB."""
SIZE = 1024
AT_ONCE = 500
"""The messages that the publisher sends before it waits for acknowledgements."""



class Raw:
    """A client of MQTT 3.1.1 with a lasting Session, made for many messages."""

    def __init__(self, port, client_id):
        self.socket = socket.create_connection(("127.0.0.1", port), SECONDS)
        self.rest = b""
        name = client_id.encode()
        self.socket.sendall(bytes([0x10, 12 + len(name)]) + b"\0\4MQTT\4\0\0\0" + len(name).to_bytes(2) + name)
        self.take_exactly(4)

    def take_exactly(self, size):
        while len(self.rest) < size:
            self.receive()
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def receive(self):
        some = self.socket.recv(1 << 18)
        if not some:
            raise ConnectionError("the broker closed the connection")
        self.rest += some

    def subscribe(self, name):
        self.socket.sendall(bytes([0x82, 5 + len(name)]) + b"\0\1" + len(name).to_bytes(2) + name + b"\1")
        self.take_exactly(5)

    def publish(self, numbers):
        """Publishes with QoS 1, and returns when all messages are acknowledged."""
        head = b"\x32" + bytes([0x80 | (SIZE + 5) & 0x7F, (SIZE + 5) >> 7]) + b"\0\1q"
        filler = b"." * (SIZE - 10)
        for start in range(numbers.start, numbers.stop, AT_ONCE):
            some = range(start, min(start + AT_ONCE, numbers.stop))
            packets = [head + (1 + at).to_bytes(2) + b"%010d" % number + filler for at, number in enumerate(some)]
            self.socket.sendall(b"".join(packets))
            for ack in range(len(some)):
                assert self.take_exactly(4) == b"\x40\2" + (1 + ack).to_bytes(2)

    def messages(self):
        """Yields the numbers of the messages that come. Each message is acknowledged when the next number is asked for."""
        size = 3 + SIZE + 5
        while True:
            whole = len(self.rest) // size
            acks = []
            taken, self.rest = self.rest[: whole * size], self.rest[whole * size :]
            for at in range(0, whole * size, size):
                assert taken[at] & 0xF7 == 0x32, "a PUBLISH"
                yield int(taken[at + 8 : at + 18])
                acks.append(b"\x40\2" + taken[at + 6 : at + 8])
            self.socket.sendall(b"".join(acks))
            self.receive()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


class Queue(unittest.TestCase):
    def test_a_queue_larger_than_memory_is_delivered_in_order(self):
        with tempfile.TemporaryDirectory(prefix="goldcrest-data-", dir=os.environ.get("GOLDCREST_DATA")) as folder:
            self.folder = folder
            broker = self.start()
            with Raw(broker.port, "reader") as reader:
                reader.subscribe(b"q")
            started = time.monotonic()
            with Raw(broker.port, "writer") as writer:
                writer.publish(range(QUEUED))
            print(f"\n{QUEUED} messages of {SIZE} B queued in {time.monotonic() - started:.1f} s; ", end="")
            self.check_memory(broker)
            broker = self.kill(broker)
            print("after a restart ", end="")
            self.check_memory(broker)

            expected = 0
            for until in (QUEUED // 2, QUEUED):
                started, before = time.monotonic(), expected
                with Raw(broker.port, "reader") as reader:
                    last = None
                    for number in reader.messages():
                        # Messages whose acknowledgement the killed broker had not stored come again, in their place.
                        in_order = number <= expected if last is None else number == last + 1
                        self.assertTrue(in_order, f"{number} after {last}, for {expected}")
                        last, expected = number, max(expected, number + 1)
                        if expected == until:
                            break
                print(f"{expected - before} read in {time.monotonic() - started:.1f} s; ", end="")
                self.check_memory(broker)
                broker = self.kill(broker)
            with broker:
                pass
            print()

    def start(self):
        started = time.monotonic()
        broker = Broker("--data-dir", self.folder, config=CONFIG)
        print(f"started in {time.monotonic() - started:.2f} s; ", end="")
        return broker

    def kill(self, broker):
        broker.expected_code = -signal.SIGKILL
        broker.signal(signal.SIGKILL)
        broker.wait()
        broker.__exit__(None)
        return self.start()

    def check_memory(self, broker):
        with open(f"/proc/{broker.process.pid}/status", encoding="ascii") as status:
            fields = dict(line.split(":") for line in status)
        resident, peak = (int(fields[field].split()[0]) << 10 for field in ("VmRSS", "VmHWM"))
        print(f"{resident / 1e6:.1f} MB resident, at most {peak / 1e6:.1f} MB; ", end="")
        self.assertLess(peak, LEAST + BODY_BYTES + QUEUED * EACH)
