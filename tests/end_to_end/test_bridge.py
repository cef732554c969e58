"""Mosquitto 2.0 as a bridge to the broker: a message on one side appears on the other side once, with the right RETAIN flag."""

import os
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from collections import Counter
from pathlib import Path

import paho.mqtt.client as paho

from broker import SECONDS, Broker, wait_until
from client import V3_1_1, V5, Client, unique
from test_operations import metrics

MOSQUITTO = "/usr/sbin/mosquitto"
CLIENT_ID = "site.upstream"
"""The Client Identifier of the bridge at the broker."""
STATE = f"$SYS/broker/connection/{CLIENT_ID}/state"
BOTH = "topic # both 1"
COMPRESSED_HOUR = int(os.environ.get("GOLDCREST_BRIDGED", 1800))
"""Messages in each direction: an hour of a small site."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Mosquitto:
    """A Mosquitto with a bridge to a broker, to be used in a `with` statement."""

    def __init__(self, remote, *bridge, name="upstream", remote_clientid=CLIENT_ID):
        self.folder = tempfile.TemporaryDirectory(prefix="mosquitto-")
        self.port = free_port()
        self.config = Path(self.folder.name) / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            # Mosquitto runs as the user that started it.
            "user root",
            "persistence true",
            f"persistence_location {self.folder.name}/",
            "autosave_interval 1",
            "autosave_on_changes true",
            "max_queued_messages 0",
            f"connection {name}",
            f"address 127.0.0.1:{remote}",
            "restart_timeout 1",
            *([f"remote_clientid {remote_clientid}"] if remote_clientid else []),
            *bridge,
        ]
        self.config.write_text("\n".join(lines) + "\n")
        self.log = open(Path(self.folder.name) / "log", "w+")
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", self.config, "-v"], stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL
        )
        wait_until(self.listens, "Mosquitto listens")

    def listens(self):
        assert self.process.poll() is None, self.read_log()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def save(self):
        """Lets Mosquitto write its state to disk, and waits until that is done."""
        before = self.read_log().count("Saving in-memory database")
        self.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: self.read_log().count("Saving in-memory database") > before, "Mosquitto has saved")
        # Mosquitto does one thing after the other: when it answers a client it has finished the writing.
        Client(self.port, V5, unique("saved")).drop()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(SECONDS)

    def read_log(self):
        self.log.seek(0)
        return self.log.read()

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        if self.process.poll() is None:
            self.kill()
        if failure is not None:
            print(self.read_log()[-4000:])
        self.log.close()
        self.folder.cleanup()


class Ends:
    """A client at each end of a bridge. The bridge is up when a message from each end has arrived at the other."""

    def __init__(self, mosquitto, broker, there="#", here="#"):
        self.there = Client(mosquitto.port, V5, unique("there"))
        self.here = Client(broker.port, V5, unique("here"))
        # RETAIN is as the publisher set it. Older retained messages are not sent.
        self.there.subscribe(there, 1, retainAsPublished=True, noLocal=True)
        self.here.subscribe(here, 1, retainAsPublished=True, noLocal=True)

    def await_bridge(self, to_here="probe/up", to_there="probe/down"):
        for publisher, subscriber, topic in ((self.there, self.here, to_here), (self.here, self.there, to_there)):
            marker = unique("probe").encode()
            seen = []

            def is_through():
                publisher.publish(topic, marker, 1)
                time.sleep(0.1)
                while not subscriber.messages.empty():
                    seen.append(subscriber.next().payload)
                return marker in seen

            wait_until(is_through, f"the bridge carries {topic}")
        self.settle(to_here, to_there)

    def settle(self, to_here="probe/up", to_there="probe/down"):
        """Drops all messages received so far, up to the last one that is on its way."""
        for publisher, subscriber, topic in ((self.there, self.here, to_here), (self.here, self.there, to_there)):
            take_until(subscriber, publisher, topic)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.there.__exit__()
        self.here.__exit__()


def take_until(subscriber, publisher, topic):
    """All messages that were published before this call: those that come before a message that is published now."""
    last = unique("last").encode()
    publisher.publish(topic, last, 1)
    taken = []
    while (message := subscriber.next()).payload != last:
        taken.append(message)
    return taken


def state_of(broker):
    """The retained message of the broker about the state of the bridge."""
    with Client(broker.port, V5) as client:
        client.subscribe("$SYS/broker/connection/#", 1)
        client.subscribe("end", 1)
        with Client(broker.port, V5) as publisher:
            return [(message.topic, message.payload) for message in take_until(client, publisher, "end")]


class Bridge(unittest.TestCase):
    def test_a_bridge_with_default_settings_connects(self):
        """A bug of the past: the broker refused the level 0x84, the Will, and the first message of the bridge, so the bridge
        never stayed connected."""
        with Broker() as broker, Mosquitto(broker.port, BOTH, remote_clientid=None) as mosquitto:
            topic = f"$SYS/broker/connection/{socket.gethostname()}.upstream/state"
            wait_until(lambda: state_of(broker) == [(topic, b"1")], "its state is retained")
            mosquitto.kill()
            wait_until(lambda: state_of(broker) == [(topic, b"0")], "its Will is published")
            mosquitto.start()
            wait_until(lambda: state_of(broker) == [(topic, b"1")], "it is back")

    def test_each_message_appears_once_on_the_other_side(self):
        with Broker() as broker, Mosquitto(broker.port, BOTH) as mosquitto, Ends(mosquitto, broker) as ends:
            ends.await_bridge()
            for publisher, subscriber in ((ends.there, ends.here), (ends.here, ends.there)):
                for qos in (0, 1, 2):
                    topic, payload = unique("live"), unique("payload").encode()
                    publisher.publish(topic, payload, qos)
                    got = take_until(subscriber, publisher, "probe")
                    self.assertEqual([(m.topic, m.payload, m.retain) for m in got], [(topic, payload, False)])
                    # No Local keeps each side's own messages away, and no other copy came back.
                    self.assertEqual(publisher.messages.qsize(), 0)

    def test_a_message_retained_on_one_side_is_retained_on_the_other(self):
        with Broker() as broker, Mosquitto(broker.port, BOTH) as mosquitto, Ends(mosquitto, broker) as ends:
            ends.await_bridge()
            sides = ((ends.there, ends.here, broker), (ends.here, ends.there, mosquitto))
            for publisher, subscriber, other in sides:
                topic = unique("kept")
                for payload in (b"first", b"second"):
                    publisher.publish(topic, payload, 1, retain=True)
                got = [m for m in take_until(subscriber, publisher, "probe") if m.topic == topic]
                self.assertEqual([(m.payload, m.retain) for m in got], [(b"first", True), (b"second", True)])
                with Client(other.port, V3_1_1) as late:
                    late.subscribe(topic, 1)
                    kept = late.next()
                    self.assertEqual((kept.payload, kept.retain), (b"second", True))
                # The retained message is cleared at the far end.
                subscriber.publish(topic, b"", 1, retain=True)
                take_until(publisher, subscriber, "probe")
                for port in (broker.port, mosquitto.port):
                    with Client(port, V3_1_1) as late:
                        late.subscribe(topic, 1)
                        late.assert_nothing_for(topic, late)

    def test_an_hour_of_messages_is_not_multiplied_by_the_bridge(self):
        with Broker("--http", "127.0.0.1:0") as broker, Mosquitto(broker.port, BOTH) as mosquitto:
            with Ends(mosquitto, broker) as ends:
                ends.await_bridge()
                before = metrics(broker)
                for number in range(COMPRESSED_HOUR):
                    for side, publisher in (("up", ends.there), ("down", ends.here)):
                        topic, payload, retain = f"{side}/{number % 50}", str(number), number % 10 == 0
                        info = publisher.paho.publish(topic, payload, 1, retain)
                    if number % 100 == 99:
                        info.wait_for_publish(SECONDS)
                expected = Counter(range(COMPRESSED_HOUR))
                for side, publisher, subscriber in (("up", ends.there, ends.here), ("down", ends.here, ends.there)):
                    got = take_until(subscriber, publisher, "probe")
                    self.assertEqual({m.topic.split("/")[0] for m in got}, {side})
                    self.assertEqual(Counter(int(m.payload) for m in got), expected)
                    self.assertEqual({m.retain for m in got}, {False, True})
                after = metrics(broker)
                # The broker received messages from its client, over the bridge, and the last two. It sent messages to the
                # bridge and to its client.
                for name in ("received", "sent"):
                    key = f'goldcrest_{name}_publish_total{{qos="1"}}'
                    self.assertLessEqual(after[key] - before[key], 2 * COMPRESSED_HOUR + 10, key)

    def test_bridges_with_other_settings_connect_too(self):
        """Each subtest changes one setting: a CONNECT without the highest bit, other versions, another topic for the state."""
        one_way = ["topic up/# out 2", "topic down/# in 2"]
        for settings, state in (
            (["try_private false", *one_way], STATE),
            (["bridge_protocol_version mqttv31", BOTH], STATE),
            (["bridge_protocol_version mqttv50", BOTH], STATE),
            (["notifications_local_only true", BOTH], None),
            (["notifications false", BOTH], None),
            (["notification_topic bridges/site", BOTH], None),
            (["cleansession false", "keepalive_interval 5", BOTH], STATE),
            (["topic # both 2 site/ far/"], STATE),
        ):
            with self.subTest(settings=settings):
                prefixed = any("site/" in line for line in settings)
                there, here = ("site/", "far/") if prefixed else ("", "")
                with Broker() as broker, Mosquitto(broker.port, *settings) as mosquitto:
                    with Ends(mosquitto, broker, f"{there}down/#", f"{here}up/#") as ends:
                        publish_up = lambda payload: ends.there.publish(f"{there}up/x", payload, 1, retain=True)
                        publish_down = lambda payload: ends.here.publish(f"{here}down/x", payload, 1, retain=True)
                        for publish, subscriber in ((publish_up, ends.here), (publish_down, ends.there)):
                            seen = []

                            def is_through():
                                publish(b"probe")
                                time.sleep(0.1)
                                while not subscriber.messages.empty():
                                    seen.append(subscriber.next().payload)
                                return seen

                            wait_until(is_through, "the bridge carries messages")
                        wait_until(lambda: state_of(broker) == ([(state, b"1")] if state else []), "its state is told")

    def test_a_lasting_bridge_session_loses_no_message_when_either_side_is_killed(self):
        settings = ["cleansession false", BOTH]
        with tempfile.TemporaryDirectory(prefix="goldcrest-data-") as folder:
            broker = Broker("--data-dir", folder)
            port = broker.port
            try:
                with Mosquitto(port, *settings) as mosquitto:
                    with Ends(mosquitto, broker) as ends:
                        ends.await_bridge()
                    # A Session at Mosquitto subscribes before the bridge brings the messages, which wait for it.
                    with Client(mosquitto.port, V5, "there", keep_session=True) as there:
                        there.subscribe("down/#", 1)
                    mosquitto.save()
                    # Mosquitto is down, and messages that are published at this broker wait for it.
                    mosquitto.kill()
                    wait_until(lambda: state_of(broker) == [(STATE, b"0")], "the bridge is away")
                    with Client(port, V5) as here:
                        for number in range(50):
                            here.publish("down/waits", str(number), 1, retain=number == 49)
                    mosquitto.start()
                    with Client(mosquitto.port, V5, "there", keep_session=True) as there:
                        self.assertTrue(there.session_present)
                        wait_for(self, there, set(range(50)))
                    # This broker is killed, and messages that are published at Mosquitto wait for it.
                    with Client(port, V5, "here", keep_session=True) as here:
                        here.subscribe("up/#", 1)
                    broker.expected_code = -signal.SIGKILL
                    broker.signal(signal.SIGKILL)
                    broker.wait()
                    broker.__exit__(None)
                    with Client(mosquitto.port, V5) as there:
                        for number in range(50):
                            there.publish("up/waits", str(number), 1)
                    broker = Broker("--data-dir", folder, listen=(f"127.0.0.1:{port}",))
                    with Client(port, V5, "here", keep_session=True) as here:
                        wait_for(self, here, set(range(50)))
                    # The connection is still that of a bridge, though its last CONNECT had no highest bit: its own messages do
                    # not come back.
                    with Ends(mosquitto, broker) as ends:
                        ends.await_bridge()
                        ends.there.publish("up/live", b"x", 1, retain=True)
                        got = take_until(ends.here, ends.there, "probe")
                        self.assertEqual([(m.topic, m.retain) for m in got], [("up/live", True)])
                        self.assertEqual(ends.there.messages.qsize(), 0)
            finally:
                broker.__exit__(None)


def wait_for(test, client, numbers):
    """Waits until exactly these payloads have come, each once or more: with QoS 1 a broken connection makes copies."""
    seen = set()
    wait_until(lambda: seen.update(drain(client)) or seen >= numbers, "all have come")
    test.assertEqual(seen, numbers)


def drain(client):
    while not client.messages.empty():
        yield int(client.next().payload)


if __name__ == "__main__":
    unittest.main()
