"""The commands that people type: mosquitto_pub and mosquitto_sub, goldcrest pub and sub."""

import os
import signal
import subprocess
import tempfile
import unittest

from broker import BINARY, SECONDS, Broker
from client import V5, Client, unique

LARGE = 1 << 20
MOSQUITTO_VERSIONS = ("mqttv31", "mqttv311", "mqttv5")
GOLDCREST_VERSIONS = ("3.1", "3.1.1", "5")


class Suite(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = Broker()
        cls.addClassCleanup(cls.broker.__exit__, None)

    def command(self, *words):
        return [*words, "-h", "127.0.0.1", "-p", str(self.broker.port)]

    def run_to_end(self, *words, given=None):
        """Runs a command to its end, and returns its output."""
        done = subprocess.run(self.command(*words), input=given, stdout=subprocess.PIPE, timeout=SECONDS, check=True)
        return done.stdout

    def start(self, *words):
        """Starts a command, and ends it with the test."""
        process = subprocess.Popen(self.command(*words), stdout=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def await_subscription(self, process, topic):
        """Waits until `process` has subscribed: then it prints a message that was retained before."""
        self.assertEqual(process.stdout.readline(), b"ready\n", topic)

    def control(self):
        client = Client(self.broker.port, V5)
        self.addCleanup(client.__exit__)
        return client


class Mosquitto(Suite):
    def test_mosquitto_sets_replaces_and_clears_a_retained_message(self):
        for version in MOSQUITTO_VERSIONS:
            with self.subTest(version=version):
                topic = unique("retained")
                for payload in ("first", "second"):
                    self.run_to_end("mosquitto_pub", "-V", version, "-q", "1", "-r", "-t", topic, "-m", payload)
                get = ["mosquitto_sub", "-V", version, "-t", topic, "-C", "1", "-F", "%r %p"]
                self.assertEqual(self.run_to_end(*get), b"1 second\n")
                self.run_to_end("mosquitto_pub", "-V", version, "-q", "1", "-r", "-n", "-t", topic)
                # With -E mosquitto_sub ends after the SUBACK.
                self.assertEqual(self.run_to_end("mosquitto_sub", "-V", version, "-t", topic, "-E"), b"")
                late = self.control()
                late.subscribe(topic, 1)
                late.assert_nothing_for(topic, late)

    def test_the_will_of_a_killed_mosquitto_client_is_published(self):
        for version in MOSQUITTO_VERSIONS:
            with self.subTest(version=version):
                topic, ready = unique("will"), unique("ready")
                watcher = self.control()
                watcher.subscribe(topic, 2)
                watcher.publish(ready, "ready", 1, retain=True)
                doomed = self.start(
                    *["stdbuf", "-oL", "mosquitto_sub", "-V", version, "-t", ready],
                    *["--will-topic", topic, "--will-payload", "gone", "--will-qos", "2"],
                )
                self.await_subscription(doomed, ready)
                os.kill(doomed.pid, signal.SIGKILL)
                message = watcher.next()
                self.assertEqual((message.payload, message.qos), (b"gone", 2))

    def test_messages_wait_for_an_absent_mosquitto_client(self):
        for version in MOSQUITTO_VERSIONS:
            for qos in ("1", "2"):
                with self.subTest(version=version, qos=qos):
                    topic, client_id = unique("resume"), unique("m")
                    subscribe = ["mosquitto_sub", "-V", version, "-t", topic, "-q", qos, "-c", "-i", client_id]
                    if version == "mqttv5":
                        subscribe += ["-x", "300"]
                    self.run_to_end(*subscribe, "-E")
                    lines = b"".join(b"%d\n" % number for number in range(50))
                    self.run_to_end("mosquitto_pub", "-V", version, "-t", topic, "-q", qos, "-l", given=lines)
                    self.assertEqual(self.run_to_end(*subscribe, "-C", "50"), lines)

    def test_mosquitto_clients_of_every_version_share_a_subscription(self):
        topic, ready, group = unique("shared"), unique("ready"), unique("g")
        control = self.control()
        control.publish(ready, "ready", 1, retain=True)
        members = []
        for version in MOSQUITTO_VERSIONS:
            # One SUBSCRIBE has both filters: when the retained message comes, both subscriptions exist.
            shared = ["-t", f"$share/{group}/{topic}", "-t", ready, "-q", "1", "-C", "11"]
            members.append(self.start("stdbuf", "-oL", "mosquitto_sub", "-V", version, *shared))
            self.await_subscription(members[-1], ready)
        sent = [f"{number:02}" for number in range(30)]
        for payload in sent:
            control.publish(topic, payload, 1)
        received = [line for member in members for line in member.stdout.read().decode().split()]
        self.assertEqual(sorted(received), sent)

    def test_mosquitto_clients_exchange_a_payload_of_a_mebibyte(self):
        content = os.urandom(LARGE)
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            for version in MOSQUITTO_VERSIONS:
                with self.subTest(version=version):
                    topic = unique("large")
                    self.run_to_end("mosquitto_pub", "-V", version, "-q", "2", "-r", "-t", topic, "-f", file.name)
                    get = ["mosquitto_sub", "-V", version, "-q", "2", "-t", topic, "-C", "1", "-N"]
                    self.assertEqual(self.run_to_end(*get), content)
                    self.run_to_end("mosquitto_pub", "-r", "-n", "-q", "1", "-t", topic)

    def test_mosquitto_clients_exchange_properties_of_mqtt_5(self):
        topic = unique("properties")
        subscriber = self.control()
        subscriber.subscribe(topic, 1)
        self.run_to_end(
            *["mosquitto_pub", "-V", "mqttv5", "-q", "1", "-t", topic, "-m", "x"],
            *["-D", "publish", "user-property", "b", "1", "-D", "publish", "user-property", "a", "2"],
            *["-D", "publish", "content-type", "text/plain", "-D", "publish", "topic-alias", "1"],
        )
        given = subscriber.next().properties
        self.assertEqual((given.UserProperty, given.ContentType), ([("b", "1"), ("a", "2")], "text/plain"))


class Goldcrest(Suite):
    def test_goldcrest_pub_and_sub_exchange_messages(self):
        for version in GOLDCREST_VERSIONS:
            with self.subTest(version=version):
                topic, ready = unique("goldcrest"), unique("ready")
                control = self.control()
                control.publish(ready, "ready", 1, retain=True)
                subscriber = self.start(
                    *[BINARY, "sub", "--mqtt", version, "-t", f"{topic}/+", "-t", ready, "-q", "2", "-C", "4"]
                )
                self.await_subscription(subscriber, ready)
                publish = [BINARY, "pub", "--mqtt", version, "-t", f"{topic}/a"]
                for qos in ("0", "1"):
                    self.run_to_end(*publish, "-q", qos, "-m", qos)
                self.run_to_end(*publish, "-q", "2", given=b"2\n")
                self.assertEqual(subscriber.stdout.read(), b"0\n1\n2\n")
                self.assertEqual(subscriber.wait(SECONDS), 0)

    def test_goldcrest_pub_sets_and_clears_a_retained_message(self):
        topic = unique("goldcrest")
        self.run_to_end(BINARY, "pub", "-t", topic, "-q", "1", "-r", "-m", "kept")
        self.assertEqual(self.run_to_end(BINARY, "sub", "-v", "-t", topic, "-C", "1"), f"{topic} kept\n".encode())
        self.run_to_end(BINARY, "pub", "-t", topic, "-q", "1", "-r", "-m", "")
        late = self.control()
        late.subscribe(topic, 1)
        late.assert_nothing_for(topic, late)

    def test_goldcrest_pub_publishes_each_line_of_its_input(self):
        topic, ready = unique("goldcrest"), unique("ready")
        self.control().publish(ready, "ready", 1, retain=True)
        subscriber = self.start(BINARY, "sub", "-t", topic, "-t", ready, "-q", "1", "-C", "1001")
        self.await_subscription(subscriber, ready)
        lines = b"".join(b"line %d\n" % number for number in range(1000))
        self.run_to_end(BINARY, "pub", "-t", topic, "-q", "1", given=lines)
        self.assertEqual(subscriber.stdout.read(), lines)

    def test_goldcrest_pub_says_that_no_broker_is_there(self):
        done = subprocess.run(
            [BINARY, "pub", "-h", "127.0.0.1", "-p", "1", "-t", "t", "-m", "x"],
            stderr=subprocess.PIPE,
            text=True,
            timeout=SECONDS,
        )
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
