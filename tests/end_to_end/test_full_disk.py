"""The disk is full for a while: a small file system of its own, in a file that is mounted as a device."""

import os
import queue
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from broker import SECONDS, Broker, wait_until
from client import V3_1_1, V5, Client

DISK_BYTES = 64 << 20
LEFT_BYTES = 8 << 20
"""So much is free when the messages come."""
CONFIG = """
[limits]
queued_messages = 1000000
queued_bytes = 100000000
[store]
segment_bytes = 1048576
"""
BODY = bytes(32 * 1024)
QUOTA_EXCEEDED = 0x97


class FullDisk(unittest.TestCase):
    def test_a_full_disk_refuses_and_comes_back_without_a_restart(self):
        folder = Path(tempfile.mkdtemp(prefix="goldcrest-disk-"))
        self.addCleanup(shutil.rmtree, folder)
        disk = folder / "disk"
        problem = self.mount(folder / "image", disk)
        if problem:
            print(f"NOT RUN, as no file system can be mounted here: {problem}")
            return
        with Broker("--data-dir", disk / "data", config=CONFIG) as broker:
            acknowledged = self.fill_and_free(broker, disk)
            broker.expected_code = -signal.SIGKILL
            broker.signal(signal.SIGKILL)
        with Broker("--data-dir", disk / "data", config=CONFIG) as broker:
            with Client(broker.port, V5, "away", keep_session=True) as away:
                self.assertTrue(away.session_present)
                numbers = []
                while acknowledged - set(numbers):
                    numbers.append(int.from_bytes(away.next().payload[:4], "big"))
                self.assertEqual(numbers, sorted(set(numbers)), "in order, each once")

    def fill_and_free(self, broker, disk):
        """The numbers of the messages that were acknowledged."""
        with Client(broker.port, V5, "away", keep_session=True) as away:
            away.subscribe("kept/#", 1)
        filler = disk / "filler"
        space = os.statvfs(disk)
        with open(filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - LEFT_BYTES)

        acknowledged = set()
        number = 0
        with Client(broker.port, V5) as live, Client(broker.port, V5) as new:
            live.subscribe("live", 0)
            answers = queue.Queue()
            new.paho.on_publish = lambda _c, _u, _mid, code, _p: answers.put(code.value)

            def publish():
                nonlocal number
                number += 1
                new.paho.publish("kept/messages", number.to_bytes(4, "big") + BODY, 1)
                code = answers.get(timeout=SECONDS)
                if code == 0:
                    acknowledged.add(number)
                return code

            while (code := publish()) == 0:
                self.assertLess(number * len(BODY), DISK_BYTES, "the disk must be full by now")
            self.assertEqual(code, QUOTA_EXCEEDED)
            before = len(acknowledged)
            self.assertGreater(before, 10)

            # MQTT 3.1.1 has no such answer: the message stays the client's. What needs no disk flows on.
            old = Client(broker.port, V3_1_1)
            waiting = old.paho.publish("kept/old", (0).to_bytes(4, "big") + BODY, 1)
            for step in range(20):
                live.publish("live", f"{step}")
                self.assertEqual(live.next().payload, f"{step}".encode())
            self.assertEqual(publish(), QUOTA_EXCEEDED)
            self.assertFalse(waiting.is_published())
            old.drop()

            filler.unlink()
            freed = time.monotonic()
            wait_until(lambda: publish() == 0, "messages are taken again")
            seconds = time.monotonic() - freed
            for _ in range(10):
                self.assertEqual(publish(), 0)
            print(f"full after {before} messages; {seconds:.2f} s after there was space again they are taken")
            self.assertLess(seconds, 10)
        return acknowledged

    def mount(self, image, disk):
        """Why it can't be done, or `None`."""
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
