"""`goldcrest store` beside a broker under load."""

import json
import random
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from broker import BINARY, SECONDS, Broker, wait_until
from client import V3_1_1, V5
from load import Publisher, Subscriber
from test_crash import SEED, Raw

LONG_QUEUES = "[limits]\nqueued_messages = 1000000\nqueued_bytes = 100000000\n"
BACKUPS = 5


def store(*arguments):
    """The output of a command, which must succeed."""
    done = subprocess.run([BINARY, "store", *arguments], capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        raise AssertionError(f"{arguments}: {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


class Store(unittest.TestCase):
    def test_a_backup_under_load_has_all_acknowledged_messages(self):
        with tempfile.TemporaryDirectory(prefix="goldcrest-data-") as folder:
            data = Path(folder, "data")
            acknowledged = []
            with Broker("--data-dir", data, config=LONG_QUEUES) as broker:
                subscriber = Subscriber(broker.port, "away", V5)
                subscriber.start()
                subscriber.subscribe("load/#", 2)
                subscriber.leave()
                publishers = [
                    Publisher(broker.port, f"load/{qos}/{number}", qos, version)
                    for qos in (1, 2)
                    for number, version in enumerate((V3_1_1, V5))
                ]
                for publisher in publishers:
                    publisher.start()
                for number in range(BACKUPS):
                    time.sleep(0.2)
                    acknowledged.append({publisher.topic: publisher.acknowledged for publisher in publishers})
                    store("backup", Path(folder, f"backup-{number}"), "--data-dir", data)
                    self.assertIn("sound", store("check", "--data-dir", data))
                for publisher in publishers:
                    publisher.stop()
                    wait_until(publisher.is_acknowledged, f"all of {publisher.topic} is acknowledged")
                    publisher.leave()
            for number, before in enumerate(acknowledged):
                restored = Path(folder, f"restored-{number}")
                store("restore", Path(folder, f"backup-{number}"), "--data-dir", restored)
                queued = self.queued(restored)
                with Broker("--data-dir", restored, config=LONG_QUEUES) as broker:
                    subscriber = Subscriber(broker.port, "away", V5)
                    subscriber.start()
                    wait_until(lambda: sum(map(len, subscriber.got.values())) >= queued, "the backup's queue")
                    subscriber.leave()
                for topic, count in before.items():
                    got = subscriber.got[topic]
                    self.assertEqual(got, list(range(len(got))), f"{topic}: once, and in order")
                    self.assertGreaterEqual(len(got), count, topic)
            print(f"{BACKUPS} backups, the last with {queued} messages, {sum(before.values())} acknowledged before")

    def queued(self, data):
        """How many messages wait for the subscriber."""
        records = [json.loads(line) for line in store("dump", "--data-dir", data).splitlines()]
        return sum(record["kind"] == "Delivery" and record.get("message") is not None for record in records)

    def test_a_change_of_the_number_of_shards_loses_nothing(self):
        """After each change of the number, each Session gets its queue in order and once, and each client the retained
        messages."""
        names = [f"client-{number}" for number in range(12)]
        with tempfile.TemporaryDirectory(prefix="goldcrest-data-") as folder:
            data, published, chance = Path(folder, "data"), 0, random.Random(SEED)
            with Broker("--data-dir", data, "--shards", "1") as broker:
                for name in names:
                    with Raw(broker.port, name) as client:
                        client.subscribe("t")
                        # The group has members on all shards, which share the writer's messages.
                        client.subscribe("$share/g/t")
                with Raw(broker.port, "keeper") as client:
                    client.send(0x31 | 2, b"\0\4kept\0\1yes")
                    client.expect(0x40)
            for number in (2, 1, 2, 3, 3, 1, 4):
                # First a broker that is killed while it starts, at some moment of the change.
                started = subprocess.Popen(
                    [BINARY, "--shards", str(number), "--data-dir", data, "--listen", "127.0.0.1:0"],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                time.sleep(chance.uniform(0.002, 0.05))
                started.kill()
                started.wait()
                with Broker("--data-dir", data, "--shards", str(number)) as broker:
                    with Raw(broker.port, "writer") as writer:
                        for _ in range(4):
                            writer.publish(published)
                            published += 1
                    self.assertNotIn("left out", broker.read_log())
                # Messages that were on their way between shards when the broker stopped have to arrive before the number can
                # change.
                starts = 0
                while f"of {number} shards" not in store("check", "--data-dir", data):
                    starts += 1
                    self.assertLess(starts, 4, "the number is never changed")
                    with Broker("--data-dir", data, "--shards", str(number)) as broker:
                        time.sleep(0.3)
                        self.assertNotIn("left out", broker.read_log())
            records = [json.loads(line) for line in store("dump", "--data-dir", data).splitlines()]
            sessions = [record["client_id"] for record in records if record["kind"] == "Session"]
            self.assertEqual(sorted(name for name in sessions if name in names), sorted(names))
            with Broker("--data-dir", data, "--shards", "2") as broker:
                shared = 0
                for name in names:
                    with Raw(broker.port, name) as client:
                        self.assertTrue(client.session_present, name)
                        got = client.drain(published)
                        # Each client gets every message by its own subscription, and its share of the group's messages.
                        self.assertEqual(sorted(set(got)), list(range(published)), name)
                        shared += len(got) - published
                        client.send(0x82, b"\0\2\0\4kept\1")
                        # SUBACK may come before the retained message or behind it.
                        packets = dict(client.receive() for _ in range(2))
                        self.assertEqual(packets[0x33][-3:], b"yes")
                self.assertEqual(shared, published, "the group gets each message once")
