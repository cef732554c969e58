"""The broker is killed again and again under load, or its disk fails. No message that it acknowledged may be missing.

GOLDCREST_CRASHES=N sets the number of kills, and GOLDCREST_SEED=N other moments for them.
"""

import os
import random
import signal
import socket
import tempfile
import time
import unittest

from broker import SECONDS, Broker, wait_until
from client import V3_1_1, V5
from load import Publisher, Subscriber

CRASHES = int(os.environ.get("GOLDCREST_CRASHES", 25))
SEED = int(os.environ.get("GOLDCREST_SEED", 1))
LONG_QUEUES = "[limits]\nqueued_messages = 1000000\nqueued_bytes = 100000000\n[store]\nbody_bytes = 10000\n"
"""Queues so long that no message is dropped for a slow or absent subscriber. Most waiting messages have their bodies on disk
alone."""
MESSAGES = 12
"""The messages of a run in which one call to the disk fails."""
FIRST_SEGMENT = "00000001.segment"
"""The file that records are written to at first."""
READER, WRITER = "reader", "author"
"""With two shards these clients live on different ones, so that acknowledged messages are on their way for a while."""


class Crash(unittest.TestCase):
    def test_kill_9_under_load_loses_no_acknowledged_message(self):
        self.kill_under_load(CRASHES, LONG_QUEUES)

    def test_kill_9_loses_no_message_with_other_sync_settings(self):
        """Without a sync for each acknowledgement too: written records are with the system, which a kill of the process does
        not affect."""
        for sync in ("interval", "never"):
            with self.subTest(sync=sync):
                self.kill_under_load(max(CRASHES // 4, 1), f'{LONG_QUEUES}sync = "{sync}"\n')

    def kill_under_load(self, crashes, config):
        chance = random.Random(SEED)
        with tempfile.TemporaryDirectory(prefix="goldcrest-data-") as folder:
            broker = Broker("--data-dir", folder, config=config)
            port = broker.port
            publishers = [
                Publisher(port, f"load/{qos}/{number}", qos, version)
                for qos in (1, 2)
                for number, version in enumerate((V3_1_1, V5))
            ]
            # One subscriber that stays, and one that is away for every other crash.
            subscribers = [Subscriber(port, "stays", V5), Subscriber(port, "comes-and-goes", V3_1_1)]
            for subscriber in subscribers:
                subscriber.start()
                subscriber.subscribe("load/#", 2)
            for publisher in publishers:
                publisher.start()

            away = False
            for crash in range(crashes):
                time.sleep(chance.uniform(0.02, 0.4))
                broker.expected_code = -signal.SIGKILL
                broker.signal(signal.SIGKILL)
                broker.wait()
                broker.__exit__(None)
                started = time.monotonic()
                broker = Broker("--data-dir", folder, config=config, listen=(f"127.0.0.1:{port}",))
                self.assertLess(time.monotonic() - started, 5)
                if crash % 2:
                    subscribers[1].come_back() if away else subscribers[1].leave()
                    away = not away
                wait_until(lambda: all(p.paho.is_connected() for p in publishers), "the publishers are back")
            if away:
                subscribers[1].come_back()

            with broker:
                for publisher in publishers:
                    publisher.stop()
                    wait_until(publisher.is_acknowledged, f"all of {publisher.topic} is acknowledged")
                for subscriber in subscribers:
                    for publisher in publishers:
                        subscriber.wait_for_all_of(publisher)
                        subscriber.check(publisher, exactly_once=publisher.qos == 2)
                    self.assertFalse(subscriber.lost_session.is_set(), "a Session was lost")
                total = sum(publisher.sent for publisher in publishers)
                print(f"{crashes} crashes, seed {SEED}: {total} messages acknowledged, each came to both subscribers")
                for client in [*publishers, *subscribers]:
                    client.leave()

    def test_a_kill_or_an_error_in_any_disk_call_loses_no_acknowledged_message(self):
        """For each n that is reached, strace kills the broker in its n-th call of a kind, or lets its n-th sync or n-th
        write of records fail."""
        for calls, fault in (
            ("fdatasync,fsync", "error=EIO"),
            ("pwrite64,pwritev", "error=EIO"),
            ("fdatasync,fsync", "signal=KILL"),
            ("pwrite64,pwritev", "signal=KILL"),
            ("rename,renameat,renameat2,unlink,unlinkat,ftruncate,fallocate", "signal=KILL"),
        ):
            number = 1
            while self.ends_early(calls, fault, number):
                number += 1
            print(f"{calls} with {fault}: the broker ended {number - 1} times and lost nothing")
            if "sync" in calls or "EIO" in fault:
                self.assertGreater(number, MESSAGES, "each acknowledgement waits for a write and a sync")

    def test_a_failed_sync_without_new_messages_ends_the_broker(self):
        """With sync "interval", the last acknowledged messages are synced even if no more come. If that sync fails the
        broker logs it and ends. All acknowledged messages are still there, because the power was not lost."""
        with tempfile.TemporaryDirectory(prefix="goldcrest-data-") as folder:
            # The first sync happens at once. strace watches syncs of the segment that records are written to, not of segments
            # made ahead.
            under = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-P", f"{folder}/00000001.segment"]
            under += ["-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error=EIO:when=2"]
            config = '[store]\nsync = "interval"\ninterval_ms = 300\n'
            broker = Broker("--data-dir", folder, config=config, under=under)
            acknowledged = []
            try:
                with Raw(broker.port, "reader") as reader:
                    reader.subscribe("#")
                with Raw(broker.port, "writer") as writer:
                    for message in range(MESSAGES):
                        writer.publish(message)
                        acknowledged.append(message)
            except OSError:
                pass
            # The broker ends by itself.
            broker.expected_code = broker.wait()
            self.assertGreater(broker.expected_code, 0)
            log = broker.read_log()
            self.assertIn("os error 5", log)
            self.assertIn("nothing more is acknowledged", log)
            broker.__exit__(None)
            self.assertTrue(acknowledged, "acknowledged without a sync")
            with Broker("--data-dir", folder) as broker, Raw(broker.port, "reader") as reader:
                got = reader.drain(len(acknowledged))
            self.assertEqual(got[: len(acknowledged)], acknowledged)
            self.assertLessEqual(len(got), len(acknowledged) + 1)

    def ends_early(self, calls, fault, number):
        """Publishes until the fault happens, and checks what was kept. Returns whether it happened before all messages were
        published."""
        under = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}"]
        under += ["-e", f"inject={calls}:{fault}:when={number}"]
        with tempfile.TemporaryDirectory(prefix="goldcrest-data-") as folder:
            if "EIO" in fault and "pwrite64" in calls:
                # Only writes to this file fail: if a write to a file that is just being made fails, the broker makes another file.
                under += ["-P", os.path.join(folder, FIRST_SEGMENT)]
            try:
                broker = Broker("--data-dir", folder, under=under)
            except AssertionError:
                # The broker ended before it listened, and has promised nothing.
                with Broker("--data-dir", folder):
                    return True
            port, promised, is_subscribed = broker.port, [], False
            try:
                with Raw(port, READER) as reader:
                    reader.subscribe("#")
                    is_subscribed = True
                with Raw(port, WRITER) as writer:
                    for message in range(MESSAGES):
                        writer.publish(message)
                        promised.append(message)
            except OSError:
                pass
            came_through = len(promised) == MESSAGES
            if came_through:
                broker.signal(signal.SIGTERM)
            code = broker.wait()
            if not came_through:
                self.assertEqual(code, -signal.SIGKILL) if "KILL" in fault else self.assertGreater(code, 0)
            if "EIO" in fault and code:
                self.assertIn("os error 5", broker.read_log())
            broker.expected_code = code
            broker.__exit__(None)
            with Broker("--data-dir", folder) as broker, Raw(broker.port, READER) as reader:
                self.assertEqual(reader.session_present, is_subscribed or reader.session_present)
                got = reader.drain(len(promised) if is_subscribed else 0)
            self.assertEqual(got, list(range(len(got))), "in order, and once")
            return code != 0


class Raw:
    """A client of MQTT 3.1.1 with a lasting Session, which sends one packet and waits for the answers.

    If a file of the store can't be made the store is full for a moment: a refused packet is sent again.
    """

    def __init__(self, port, client_id):
        self.port, self.name = port, client_id.encode()
        self.connect()

    def connect(self):
        while True:
            self.socket = socket.create_connection(("127.0.0.1", self.port), SECONDS)
            self.file = self.socket.makefile("rb")
            self.send(0x10, b"\0\4MQTT\4\0\0\0" + len(self.name).to_bytes(2) + self.name)
            try:
                present, code = self.expect(0x20)
                assert code == 0
                self.session_present = present == 1
                return
            except ConnectionError:
                # The broker refuses for now, or has ended and does not listen any more.
                self.close()
                time.sleep(0.01)

    def send(self, first, body):
        assert len(body) < 128
        self.socket.sendall(bytes([first, len(body)]) + body)

    def receive(self):
        head = self.file.read(2)
        if len(head) < 2:
            raise ConnectionError("the broker closed the connection")
        return head[0], self.file.read(head[1])

    def expect(self, first):
        got, body = self.receive()
        assert got == first, f"{got:#x} instead of {first:#x}"
        return body

    def subscribe(self, topic_filter):
        name = topic_filter.encode()
        code = 0x80
        while code == 0x80:
            self.send(0x82, b"\0\1" + len(name).to_bytes(2) + name + b"\2")
            code = self.expect(0x90)[2]

    def publish(self, number):
        """Publishes with QoS 1 and 2 in turn."""
        qos = 1 + number % 2
        identifier = (number + 1).to_bytes(2)
        dup = 0
        while True:
            self.send(0x30 | dup | qos << 1, b"\0\1t" + identifier + str(number).encode())
            try:
                first = self.receive()[0]
                break
            except ConnectionError:
                # A refused message ends the connection in MQTT 3.1.1.
                self.close()
                time.sleep(0.01)
                self.connect()
            dup = 8
        assert first == (0x40 if qos == 1 else 0x50)
        if qos == 2:
            self.send(0x62, identifier)
            self.expect(0x70)

    def drain(self, at_least):
        """Receives the messages that wait.

        The answer to an UNSUBSCRIBE comes behind the messages that were owed before; PINGRESP would not wait for the disk.
        """
        got = []
        quiet = False
        while not quiet or len(got) < at_least:
            quiet = True
            self.send(0xA2, b"\0\1\0\4none")
            while (packet := self.receive())[0] != 0xB0:
                first, body = packet
                quiet = False
                if first >> 4 == 3:
                    got.append(int(body[5:]))
                    self.send(0x40 if first & 6 == 2 else 0x50, body[3:5])
                elif first == 0x62:
                    self.send(0x70, body)
        return got

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()
