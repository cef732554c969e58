"""What operators can see, with the tools that they have: paho, mosquitto_sub, HTTP, a parser of Prometheus' format."""

import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from broker import SECONDS, Broker, shards, wait_until
from client import V3_1_1, V5, Client

HTTP = ("--http", "127.0.0.1:0")
OFTEN = "[sys]\ninterval_s = 1\n"


def get(broker, path):
    """Status and body of a response."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{broker.http_port}{path}", timeout=SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metrics(broker):
    """All samples by name and labels. Each line must be a sample, a HELP or a TYPE."""
    status, text = get(broker, "/metrics")
    assert status == 200, text
    samples, types = {}, {}
    for line in text.splitlines():
        if kind := re.fullmatch(r"# TYPE (\w+) (counter|gauge|histogram)", line):
            assert kind[1] not in types, line
            types[kind[1]] = kind[2]
        elif sample := re.fullmatch(r'([a-z_]+(?:\{[a-z_]+="[^"\\]*"(?:,[a-z_]+="[^"\\]*")*\})?) ([-+.0-9eE]+|NaN)', line):
            assert sample[1] not in samples, line
            samples[sample[1]] = float(sample[2])
        else:
            assert re.fullmatch(r"# HELP \w+ .+", line), line
    assert len(types) > 20, text
    return samples


class Operations(unittest.TestCase):
    def test_sys_topics_and_metrics_count_what_clients_did(self):
        with Broker(*HTTP, config=OFTEN + "[limits]\nqueued_messages = 100\n") as broker:
            with Client(broker.port, V5, "away", keep_session=True) as away:
                away.subscribe("t", 1)
            with Client(broker.port, V3_1_1) as publisher:
                for number in range(110):
                    publisher.publish("t", str(number), 1)
                samples = metrics(broker)
                self.assertEqual(samples['goldcrest_received_publish_total{qos="1"}'], 110)
                wait_until(
                    lambda: metrics(broker)['goldcrest_dropped_messages_total{reason="queue_full"}'] == 10,
                    "ten are lost",
                )
                self.assertEqual(samples["goldcrest_shards"], int(shards()))
                self.assertFalse(any("away" in name for name in samples), "no label for a Client Identifier")
            status, lines = get(broker, "/sessions?client_id=away")
            self.assertEqual(status, 200)
            self.assertIn('"queued_messages":100', lines)
            self.assertIn('"dropped":{"queue_full":10}', lines)
            with Client(broker.port, V3_1_1) as watcher:
                watcher.subscribe("$SYS/#", 0)
                wanted = {"dropped/queue_full": b"10", "received": b"110"}
                seen = {}
                while any(seen.get(f"$SYS/broker/publish/messages/{name}") != value for name, value in wanted.items()):
                    message = watcher.next()
                    seen[message.topic] = message.payload
                self.assertRegex(seen["$SYS/broker/version"], rb"^goldcrest version \d+\.\d+\.\d+$")

    def test_mosquitto_sub_gets_the_sys_topics_at_once(self):
        with Broker() as broker:
            command = ["mosquitto_sub", "-p", str(broker.port), "-C", "1", "-F", "%r %t %p", "-t"]
            run = lambda topic: subprocess.run([*command, topic], stdout=subprocess.PIPE, timeout=SECONDS, check=True)
            # The values come long before they are published again.
            started = time.monotonic()
            self.assertEqual(run("$SYS/broker/retained messages/count").stdout, b"1 $SYS/broker/retained messages/count 0\n")
            self.assertRegex(run("$SYS/broker/uptime").stdout, rb"^1 \$SYS/broker/uptime \d+ seconds\n$")
            self.assertLess(time.monotonic() - started, 9)

    def test_a_damaged_record_is_reported_in_log_metrics_and_sys_topic(self):
        with tempfile.TemporaryDirectory(prefix="goldcrest-data-") as folder:
            with Broker("--data-dir", folder) as broker, Client(broker.port, V5) as publisher:
                publisher.publish("kept", "a payload to be found", 1, retain=True)
            for file in Path(folder).iterdir():
                content = file.read_bytes()
                file.write_bytes(content.replace(b"a payload to be found", b"a payload to be fouNd"))
            with Broker(*HTTP, "--data-dir", folder) as broker:
                samples = metrics(broker)
                # The owner of the topic has the message. The publisher's shard may have the record of its way there.
                self.assertIn(samples['goldcrest_store_damaged_records{kind="Message"}'], range(1, int(shards()) + 1))
                kinds = [value for name, value in samples.items() if name.startswith("goldcrest_store_damaged_records")]
                self.assertGreater(samples["goldcrest_store_damaged_bytes"], 0)
                with Client(broker.port, V5) as watcher:
                    watcher.subscribe("$SYS/broker/store/damaged/records", 0)
                    self.assertEqual(watcher.next().payload, str(int(sum(kinds))).encode())
                self.assertIn("the store is damaged", broker.read_log())

    def test_a_failed_store_is_reported_before_the_broker_ends(self):
        """The failure is visible while clients have time to leave."""
        # The failing sync comes after those of the segments that are made ahead: without these segments the store would be
        # full, and not failed.
        under = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"]
        under += ["-e", "inject=fdatasync:error=EIO:when=20+"]
        with tempfile.TemporaryDirectory(prefix="goldcrest-data-") as folder:
            broker = Broker(*HTTP, "--data-dir", folder, under=under)
            wait_until(lambda: get(broker, "/ready") == (200, "it is ready\n"), "it is ready")
            with socket.create_connection(("127.0.0.1", broker.port)) as stays:
                # This client never closes, so that the broker waits for it.
                stays.sendall(bytes.fromhex("10 0d 0004 4d515454 05 02 0000 00 0000"))
                answer, number = (200, ""), 0

                def has_failed():
                    nonlocal answer, number
                    number += 1
                    # Each of these retained QoS 1 messages is synced.
                    stays.sendall(b"\x33\x08\0\1t" + number.to_bytes(2) + b"\0x!")
                    answer = get(broker, "/ready")
                    return "the store failed: nothing more is acknowledged\n" in answer[1]

                wait_until(has_failed, "the store failed")
                self.assertEqual(answer[0], 503)
                broker.expected_code = broker.wait()
            self.assertGreater(broker.expected_code, 0)
            broker.__exit__(None)

    def test_ready_says_no_while_the_broker_stops(self):
        with Broker(*HTTP) as broker, socket.create_connection(("127.0.0.1", broker.port)) as stays:
            stays.sendall(bytes.fromhex("10 0d 0004 4d515454 05 02 0000 00 0000"))
            self.assertEqual(stays.recv(1), b"\x20")
            broker.signal(signal.SIGTERM)
            wait_until(lambda: get(broker, "/ready") == (503, "it is being stopped\n"), "it is being stopped")
            self.assertEqual(get(broker, "/live"), (200, "it lives\n"))
            stays.close()
            self.assertEqual(broker.wait(), 0)
