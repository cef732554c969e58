"""`goldcrest store` beside a broker under load."""

import json
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from broker import BINARY, SECONDS, Broker, wait_until
from client import V3_1_1, V5
from load import Publisher, Subscriber

LONG_QUEUES = "[limits]\nqueued_messages = 1000000\nqueued_bytes = 100000000\n"
BACKUPS = 5


def store(*arguments):
    """What the command printed; it must succeed."""
    done = subprocess.run([BINARY, "store", *arguments], capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        raise AssertionError(f"{arguments}: {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


class Store(unittest.TestCase):
    def test_a_backup_under_load_has_all_that_was_acknowledged(self):
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
        """Messages that wait for the subscriber."""
        records = [json.loads(line) for line in store("dump", "--data-dir", data).splitlines()]
        return sum(record["kind"] == "Delivery" and record.get("message") is not None for record in records)
