"""The disk is full for a while. The disk is a small file system in a file, mounted as a device."""

import os
import queue
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from broker import SECONDS, Broker, wait_until
from client import V3_1_1, V5, Client

DISK_BYTES = 64 << 20
LEFT_BYTES = 8 << 20
"""This much is free when the messages come."""
CONFIG = """
[limits]
queued_messages = 1000000
queued_bytes = 100000000
packet_bytes = "1MiB"
[store]
segment_bytes = 1048576
"""
BODY = bytes(32 * 1024)
QUOTA_EXCEEDED = 0x97
PUBLISHERS = 4
"""With several shards, some of these publishers live on the shard of the Session and some on others."""


class FullDisk(unittest.TestCase):
    def test_a_full_disk_refuses_messages_until_there_is_room_again(self):
        seconds = [self.fill_a_disk(sync) for sync in ("always", "interval", "never")]
        # A busy machine may be late once.
        self.assertLess(statistics.median(seconds), 1)

    def fill_a_disk(self, sync):
        """Fills the disk, frees it, and returns how long it took until messages were accepted again."""
        folder = Path(tempfile.mkdtemp(prefix="goldcrest-disk-"))
        self.addCleanup(shutil.rmtree, folder)
        disk = folder / "disk"
        problem = self.mount(folder / "image", disk)
        if problem:
            self.skipTest(f"no file system can be mounted here: {problem}")
        config = CONFIG + f'sync = "{sync}"\n'
        with Broker("--data-dir", disk / "data", config=config) as broker:
            acknowledged, seconds = self.fill_and_free(broker, disk)
            broker.expected_code = -signal.SIGKILL
            broker.signal(signal.SIGKILL)
        with Broker("--data-dir", disk / "data", config=config) as broker:
            with Client(broker.port, V5, "away", keep_session=True) as away:
                self.assertTrue(away.session_present)
                numbers = []
                while acknowledged - set(numbers):
                    numbers.append(int.from_bytes(away.next().payload[:4], "big"))
                self.assertEqual(len(numbers), len(set(numbers)), "each once")
                for publisher in set(self.publisher_of.values()):
                    own = [number for number in numbers if self.publisher_of[number] == publisher]
                    self.assertEqual(own, sorted(own), "those of a publisher in order")
        print(f"sync {sync}: {len(acknowledged)} messages taken; {seconds:.2f} s after there was space again they are")
        return seconds

    def fill_and_free(self, broker, disk):
        """Returns the numbers of the acknowledged messages, and how long it took until messages were accepted again."""
        with Client(broker.port, V5, "away", keep_session=True) as away:
            away.subscribe("kept/#", 1)
        filler = disk / "filler"
        space = os.statvfs(disk)
        with open(filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - LEFT_BYTES)

        acknowledged = set()
        self.publisher_of = {}
        number = 0
        publishers = [Client(broker.port, V5) for _ in range(PUBLISHERS)]
        for client in publishers:
            client.codes = queue.Queue()
            client.paho.on_publish = lambda _c, _u, _mid, code, _p, codes=client.codes: codes.put(code.value)
            self.addCleanup(client.drop)

        def send(client):
            nonlocal number
            number += 1
            self.publisher_of[number] = client
            self.assertLess(len(acknowledged) * len(BODY), DISK_BYTES, "the disk must be full by now")
            return client.paho.publish("kept/messages", number.to_bytes(4, "big") + BODY, 1)

        def publish():
            client = publishers[number % PUBLISHERS]
            send(client)
            # The refusal comes at once: no publisher waits for room to be told that there is none.
            code = client.codes.get(timeout=SECONDS)
            if code == 0:
                acknowledged.add(number)
            return code

        def all_are_refused():
            codes = {publish() for _ in range(PUBLISHERS)}
            self.assertLessEqual(codes, {0, QUOTA_EXCEEDED})
            return codes == {QUOTA_EXCEEDED}

        with Client(broker.port, V5) as live:
            live.subscribe("live", 0)
            while True:
                # When dead records are removed there may be room again.
                while not all_are_refused():
                    pass
                # MQTT 3.1.1 has no refusal: the publisher keeps the message. Messages that need no disk are still delivered.
                old = Client(broker.port, V3_1_1)
                waiting, sent = send(old), number
                for step in range(20):
                    live.publish("live", f"{step}")
                    self.assertEqual(live.next().payload, f"{step}".encode())
                is_full = all_are_refused()
                old.drop()
                if waiting.is_published():
                    acknowledged.add(sent)
                elif is_full:
                    break
            self.assertGreater(len(acknowledged), 10)

            filler.unlink()
            freed = time.monotonic()
            wait_until(lambda: publish() == 0, "messages are taken again")
            seconds = time.monotonic() - freed
            for _ in range(10 * PUBLISHERS):
                self.assertEqual(publish(), 0)
        return acknowledged, seconds

    def mount(self, image, disk):
        """Mounts the file system. Returns why that is impossible, or `None`."""
        with open(image, "wb") as file:
            file.truncate(DISK_BYTES)
        disk.mkdir()
        commands = [["mkfs.ext4", "-q", "-m", "0", image], ["mount", "-o", "loop", image, disk]]
        for command in commands:
            try:
                done = subprocess.run(command, capture_output=True, text=True)
            except OSError as error:
                return str(error)
            if done.returncode:
                return done.stderr.strip()
        self.addCleanup(subprocess.run, ["umount", "-l", disk], check=True)
        return None
