"""paho-mqtt in 3.1, 3.1.1 and 5 against one broker."""

import functools
import os
import signal
import subprocess
import sys
import unittest
from pathlib import Path

from broker import SECONDS, Broker
from client import V3_1, V3_1_1, V5, VERSIONS, Client, properties, unique
from paho.mqtt.packettypes import PacketTypes

LARGE = 1 << 20
LIMIT = (10 << 20) + (64 << 10)
"""The default of limits.packet_bytes."""


def each_version(test):
    """Runs a test once for each version of the protocol."""

    @functools.wraps(test)
    def run(self):
        for name, version in VERSIONS.items():
            with self.subTest(version=name):
                test(self, version)

    return run


class Suite(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = Broker()
        cls.addClassCleanup(cls.broker.__exit__, None)

    def client(self, version=V5, *arguments, **options):
        client = Client(self.broker.port, version, *arguments, **options)
        self.addCleanup(client.__exit__)
        return client


class Retained(Suite):
    @each_version
    def test_paho_sets_replaces_and_clears_a_retained_message(self, version):
        topic = unique("retained")
        publisher = self.client(version)
        publisher.publish(topic, "first", 1, retain=True)
        publisher.publish(topic, "second", 1, retain=True)
        early = self.client(version)
        early.subscribe(topic, 1)
        message = early.next()
        self.assertEqual((message.payload, message.retain), (b"second", True))
        publisher.publish(topic, "", 1, retain=True)
        message = early.next()
        self.assertEqual((message.payload, message.retain), (b"", False))
        late = self.client(version)
        late.subscribe(topic, 1)
        late.assert_nothing_for(topic, publisher)

    def test_paho_gets_retained_messages_by_its_retain_handling(self):
        topic = unique("handling")
        publisher = self.client()
        publisher.publish(topic, "kept", 1, retain=True)
        subscriber = self.client()
        subscriber.subscribe(topic, 1, retainHandling=2)
        subscriber.assert_nothing_for(topic, publisher)
        subscriber.subscribe(topic, 1, retainHandling=1)
        subscriber.assert_nothing_for(topic, publisher)
        subscriber.subscribe(topic, 1, retainHandling=0)
        self.assertEqual(subscriber.next().payload, b"kept")
        subscriber.unsubscribe(topic)
        subscriber.subscribe(topic, 1, retainHandling=1)
        self.assertEqual(subscriber.next().payload, b"kept")

    def test_paho_gets_the_retain_flag_as_published(self):
        topic = unique("as-published")
        plain, faithful = self.client(), self.client()
        plain.subscribe(topic, 1)
        faithful.subscribe(topic, 1, retainAsPublished=True)
        self.client().publish(topic, "x", 1, retain=True)
        self.assertEqual((plain.next().retain, faithful.next().retain), (False, True))


class Will(Suite):
    @each_version
    def test_the_will_of_a_killed_client_is_published(self, version):
        topic = unique("will")
        watcher = self.client(version)
        watcher.subscribe(topic, 2)
        child = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("will_child.py"), str(self.broker.port), str(int(version)), topic],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.assertEqual(child.stdout.readline(), "connected\n")
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        message = watcher.next()
        self.assertEqual((message.payload, message.qos, message.retain), (b"gone", 1, False))
        late = self.client(version)
        late.subscribe(topic, 1)
        self.assertTrue(late.next().retain)

    @each_version
    def test_the_will_of_a_client_that_disconnects_is_not_published(self, version):
        topic = unique("no-will")
        watcher = self.client(version)
        watcher.subscribe(topic, 1)
        with Client(self.broker.port, version, will={"topic": topic, "payload": "gone", "qos": 1}):
            pass
        watcher.assert_nothing_for(topic, self.client(version))

    def test_a_reconnect_within_the_will_delay_cancels_the_will(self):
        topic, client_id = unique("delayed"), unique("c")
        delayed = properties(PacketTypes.WILLMESSAGE, WillDelayInterval=3600)
        will = {"topic": topic, "payload": "gone", "qos": 1, "properties": delayed}
        watcher = self.client()
        watcher.subscribe(topic, 1)
        self.client(V5, client_id, keep_session=True, will=will).drop()
        self.assertTrue(self.client(V5, client_id, keep_session=True).session_present)
        watcher.assert_nothing_for(topic, self.client())


class Shared(Suite):
    def test_each_message_goes_to_one_member_of_a_group(self):
        topic, group = unique("shared"), unique("g")
        members = [self.client() for _ in range(3)]
        for member in members:
            member.subscribe(f"$share/{group}/{topic}", 1)
        beside = self.client()
        beside.subscribe(topic, 1)
        publisher = self.client()
        sent = [f"{number}".encode() for number in range(300)]
        for payload in sent:
            publisher.publish(topic, payload, 1)
        self.assertEqual(beside.next_payloads(300), sent)
        shares = [member.next_payloads(100) for member in members]
        self.assertEqual(sorted(sum(shares, [])), sorted(sent))

    def test_messages_do_not_wait_for_group_members_that_left(self):
        topic, group, client_id = unique("shared"), unique("g"), unique("c")
        absent = self.client(V5, client_id, keep_session=True)
        absent.subscribe(f"$share/{group}/{topic}", 1)
        present = self.client()
        present.subscribe(f"$share/{group}/{topic}", 1)
        absent.paho.disconnect()
        absent.ends.get(timeout=SECONDS)
        publisher = self.client()
        for number in range(20):
            publisher.publish(topic, str(number), 1)
        self.assertEqual(present.next_payloads(20), [str(number).encode() for number in range(20)])


class Resume(Suite):
    @each_version
    def test_messages_wait_in_order_for_an_absent_client(self, version):
        for qos in (1, 2):
            topic, client_id = unique("resume"), unique("c")
            first = self.client(version, client_id, keep_session=True)
            self.assertFalse(first.session_present)
            first.subscribe(topic, qos)
            first.paho.disconnect()
            first.ends.get(timeout=SECONDS)
            publisher = self.client(version)
            sent = [str(number).encode() for number in range(100)]
            for payload in sent:
                publisher.publish(topic, payload, qos)
            again = self.client(version, client_id, keep_session=True)
            # MQTT 3.1 has no Session Present.
            self.assertEqual(again.session_present, version != V3_1)
            self.assertEqual(again.next_payloads(100), sent)
            again.assert_nothing_for(topic, publisher)

    def test_an_unacknowledged_message_comes_again_with_dup(self):
        for version in (V3_1_1, V5):
            topic, client_id = unique("again"), unique("c")
            publisher = self.client(version)
            first = self.client(version, client_id, keep_session=True, manual_ack=True)
            first.subscribe(topic, 1)
            for number in range(3):
                publisher.publish(topic, str(number), 1)
            seen = [first.next() for _ in range(3)]
            self.assertEqual([message.dup for message in seen], [False] * 3)
            first.paho.ack(seen[0].mid, 1)
            # The acknowledgement is sent before the socket closes.
            first.publish(unique("after-ack"), "", 1)
            first.drop()
            again = self.client(version, client_id, keep_session=True)
            repeated = [again.next() for _ in range(2)]
            self.assertEqual([(m.payload, m.dup, m.mid) for m in repeated], [(m.payload, True, m.mid) for m in seen[1:]])
            again.assert_nothing_for(topic, publisher)

    def test_a_takeover_ends_the_older_connection(self):
        client_id = unique("c")
        older = self.client(V5, client_id)
        self.client(V5, client_id)
        self.assertEqual(older.ends.get(timeout=SECONDS)[1].value, 0x8E)


class Large(Suite):
    @each_version
    def test_a_payload_of_a_mebibyte_arrives_unchanged(self, version):
        payload = bytes(range(256)) * (LARGE // 256)
        topic = unique("large")
        client = self.client(version)
        client.subscribe(topic, 2)
        for qos in range(3):
            client.publish(topic, payload, qos)
            self.assertEqual(client.next().payload, payload)

    def test_the_largest_packet_is_accepted_and_one_byte_more_is_refused(self):
        client = self.client()
        self.assertEqual(client.connack.MaximumPacketSize, LIMIT)
        topic = unique("limit")
        client.subscribe(topic, 1)
        # Around the payload: 5 bytes of fixed header, the topic with its length, the Packet Identifier, no Properties.
        largest = LIMIT - 5 - 2 - len(topic) - 2 - 1
        client.publish(topic, bytes(largest), 1)
        self.assertEqual(len(client.next().payload), largest)
        client.paho.publish(topic, bytes(largest + 1), 1)
        self.assertEqual(client.ends.get(timeout=SECONDS)[1].value, 0x95)

    def test_a_message_too_large_for_a_subscriber_is_not_sent_to_it(self):
        topic = unique("small")
        small = self.client(V5, MaximumPacketSize=1000)
        small.subscribe(topic, 1)
        publisher = self.client()
        publisher.publish(topic, bytes(2000), 1)
        small.assert_nothing_for(topic, publisher)


class Properties(Suite):
    def test_properties_of_a_message_arrive_unchanged_and_in_order(self):
        topic = unique("properties")
        subscriber = self.client()
        subscriber.subscribe(topic, 1)
        pairs = [("b", "1"), ("a", "2"), ("b", "1"), ("ü", "😀"), ("", "")]
        self.client().publish(
            topic,
            "x",
            1,
            UserProperty=pairs,
            ContentType="text/plain",
            ResponseTopic="answers",
            CorrelationData=b"\0\xff",
            PayloadFormatIndicator=1,
            MessageExpiryInterval=1000,
        )
        given = subscriber.next().properties
        self.assertEqual(given.UserProperty, pairs)
        self.assertEqual((given.ContentType, given.ResponseTopic), ("text/plain", "answers"))
        self.assertEqual((given.CorrelationData, given.PayloadFormatIndicator), (b"\0\xff", 1))
        self.assertIn(given.MessageExpiryInterval, range(900, 1001))

    def test_a_publisher_can_use_a_topic_alias(self):
        topic = unique("alias")
        subscriber = self.client()
        subscriber.subscribe(topic, 1)
        publisher = self.client()
        self.assertGreaterEqual(publisher.connack.TopicAliasMaximum, 2)
        publisher.publish(topic, "by name", 1, TopicAlias=2)
        publisher.publish("", "by alias", 1, TopicAlias=2)
        publisher.publish("", "again", 0, TopicAlias=2)
        messages = [subscriber.next() for _ in range(3)]
        self.assertEqual([m.payload for m in messages], [b"by name", b"by alias", b"again"])
        self.assertEqual({m.topic for m in messages}, {topic})

    def test_clients_of_different_versions_exchange_messages(self):
        topic = unique("versions")
        subscribers = [self.client(version) for version in VERSIONS.values()]
        for subscriber in subscribers:
            subscriber.subscribe(topic, 2)
        for version in VERSIONS.values():
            self.client(version).publish(topic, str(int(version)), 2)
        for subscriber in subscribers:
            self.assertEqual(subscriber.next_payloads(3), [b"3", b"4", b"5"])


class SlowSubscriber(Suite):
    BATCHES, BATCH, SIZE = 30, 100, 32 << 10

    def test_a_subscriber_that_does_not_read_fills_only_its_own_queue(self):
        """A subscriber stops reading while nearly 100 MB are published: more than the sockets and its queue (64 MiB) hold."""
        topic = unique("slow")
        slow = self.client()
        slow.subscribe(topic, 0)
        slow.paho.loop_stop()
        fast, publisher = self.client(), self.client()
        fast.subscribe(topic, 1)
        for batch in range(self.BATCHES):
            first = batch * self.BATCH
            sent = [number.to_bytes(4, "big") + bytes(self.SIZE) for number in range(first, first + self.BATCH)]
            for payload in sent:
                publisher.paho.publish(topic, payload, 1)
            self.assertEqual(fast.next_payloads(self.BATCH), sent)
        slow.paho.loop_start()
        publisher.publish(topic, b"last", 1)
        numbers = []
        while (payload := slow.next().payload) != b"last":
            numbers.append(int.from_bytes(payload[:4], "big"))
            if len(numbers) % 500 == 0:
                publisher.publish(topic, b"last", 1)
        # The subscriber got a part of the messages, in order.
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertGreater(len(numbers), 1000)
        self.assertLess(len(numbers), self.BATCHES * self.BATCH)


