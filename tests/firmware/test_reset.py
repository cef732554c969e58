"""What survives a reset: the power of the board is cut, and it starts again with the flash that it had.

GOLDCREST_CRASHES=N cuts it so often under load instead of the usual number, GOLDCREST_SEED=N at other moments.
"""

import os
import queue
import random
import subprocess
import threading
import time
import unittest

import load
from broker import SECONDS, wait_until
from client import V3_1_1, V5, VERSIONS
from machine import Machine
from raw import (
    DISCONNECT,
    PINGREQ,
    PINGRESP,
    Stream,
    connect_to_session,
    puback,
    pubcomp,
    publish,
    publish_at_least_once,
    publish_exactly_once,
    pubrec,
    pubrel,
    subscribe,
)
from test_network import STACK_BYTES_AT_MOST, Suite

CRASHES = int(os.environ.get("GOLDCREST_CRASHES", 15))
SEED = int(os.environ.get("GOLDCREST_SEED", 1))
PATIENCE = 150
"""Seconds: paho waits for two Keep Alives before it gives a connection up of which the other side knows nothing."""
MOMENTS = 10
"""How many moments are tried of those in which nobody knows what the board has done yet."""
QUOTA_EXCEEDED = 0x97
QUEUED = 16
"""So many messages fit into the queue of a client that is away: `queued_messages` of `Limits::FIRMWARE`."""
IN_FLIGHT = 4
"""So many are in flight to a client at most: `inflight`."""
AHEAD = 6
"""No publisher is further ahead of its subscribers."""
RECEIVE_MAXIMUM = 4
"""The board's."""
ERASED = b"\xff" * 64 * 1024


class Reset(Suite):
    def setUp(self):
        self.machine = self.enterContext(Machine())

    def session(self, client_id, present=True):
        """A connection of raw bytes that resumes its Session, or begins one."""
        stream = self.stream(connect_to_session(client_id), answer=bytes([0x20, 2]))
        # Not part of `answer`: the next try would find the Session that this one has begun.
        self.assertEqual(stream.read(2), bytes([present, 0]))
        return stream

    def subscriber(self, client_id, topic_filter, qos):
        """Begins a Session with a subscription, and leaves it."""
        with self.session(client_id, present=False) as stream:
            stream.sendall(subscribe(topic_filter, qos))
            stream.expect(bytes([0x90, 3, 0, 1, qos]))
            stream.sendall(DISCONNECT)

    def faults(self):
        """What the board says is wrong. Messages that it dropped it counts since its flash was erased, all else since it started."""
        with self.client() as client:
            client.subscribe("board/uptime")
            client.subscribe("$SYS/board/faults")
            # It says both each second.
            seen = [client.next() for _ in range(3)]
        return next((message.payload.decode() for message in seen if message.topic == "$SYS/board/faults"), "none")


class Kept(Reset):
    """Sessions, subscriptions, retained messages and queues."""

    def test_retained_messages(self):
        client = self.client()
        for qos in (0, 1, 2):
            client.publish(f"kept/{qos}", str(qos), qos, retain=True)
        client.publish("kept/gone", "x", 1, retain=True)
        client.publish("kept/gone", "", 1, retain=True)
        self.machine.reset()
        client = self.client()
        client.subscribe("kept/#", 2)
        messages = {message.topic: message.payload for message in (client.next() for _ in range(3))}
        self.assertEqual(messages, {f"kept/{qos}": str(qos).encode() for qos in (0, 1, 2)})
        client.assert_nothing_for("kept/0", client)

    def test_sessions_and_subscriptions_of_each_version(self):
        for name, version in VERSIONS.items():
            with self.client(version, client_id=f"stays-{name}", keep_session=True) as client:
                client.subscribe("news", 1)
                client.subscribe("old", 1)
                client.unsubscribe("old")
            self.client(version, client_id=f"goes-{name}").__exit__()
        self.machine.reset()
        publisher = self.client()
        for name, version in VERSIONS.items():
            client = self.uart_client(0, version, client_id=f"stays-{name}", keep_session=True)
            if version != VERSIONS["3.1"]:
                self.assertTrue(client.session_present)
            publisher.publish("old", "x", 1)
            publisher.publish("news", name, 1)
            self.assertEqual(client.next().payload, name.encode())
            # The next client to come gets no news that are not its own.
            client.__exit__()
            if version == V5:
                with self.client(V5, client_id="goes-5", keep_session=True) as client:
                    self.assertFalse(client.session_present)
            for other, version in VERSIONS.items():
                if other != name:
                    with self.client(version, client_id=f"stays-{other}", keep_session=True) as client:
                        self.assertEqual(client.next().payload, name.encode())

    def test_a_full_memory_of_queued_messages_in_order(self):
        names = [f"absent-{number}" for number in range(4)]
        for name in names:
            self.subscriber(name, name, 1)
        publisher = self.client()
        for number in range(8):
            for name in names:
                publisher.publish(name, bytes([number]) * 256, 1)
        self.machine.reset()
        for name in names:
            with self.session(name) as client:
                for number in range(8):
                    _, body = client.read_packet()
                    head = len(name) + 2
                    self.assertEqual(body[head + 2 :], bytes([number]) * 256)
                    client.sendall(puback(int.from_bytes(body[head : head + 2], "big")))
                # The answer leaves after what came before has been written.
                client.sendall(PINGREQ)
                client.expect(PINGRESP)
                client.sendall(DISCONNECT)
        self.machine.reset()
        for name in names:
            with self.session(name) as client:
                client.sendall(publish_at_least_once(name, 1, b"end"))
                packets = [client.read_packet(), client.read_packet()]
                self.assertIn((0x40, b"\0\1"), packets)
                self.assertTrue(any(body.endswith(b"end") for _, body in packets), packets)
                client.sendall(DISCONNECT)
        with self.client() as client:
            client.subscribe("$SYS/board/stack")
            used, size = client.next().payload.decode().split(" of ")
        print(f"stack: {used} of {size} bytes used at most ... ", end="")
        self.assertLessEqual(int(used), STACK_BYTES_AT_MOST)

    def test_what_a_queue_has_no_room_for_is_counted(self):
        """Under load a subscriber missed a message that was acknowledged, and nobody asked the board, which knew.

        What is sent again with QoS 1 is a message of its own [MQTT-4.3.2-5], and takes a place of its own in the queue of a client
        that is away. What has none is acknowledged and dropped: that is counted, and the count survives a reset.
        """
        self.subscriber("reader", "x", 2)
        writer = self.session("writer", present=False)
        for number in range(6):
            writer.sendall(publish_at_least_once("x", number + 1, b"%d" % number))
            writer.expect(puback(number + 1))
        self.machine.reset()
        with self.session("writer") as writer:
            for number in range(6):
                # It may not know of any PUBACK.
                writer.sendall(publish_at_least_once("x", number + 1, b"%d" % number, dup=True))
                writer.expect(puback(number + 1))
            for number in range(6, 12):
                writer.sendall(publish_exactly_once("x", 1, b"%d" % number))
                writer.expect(pubrec(1))
                writer.sendall(pubrel(1))
                writer.expect(pubcomp(1))
        self.machine.reset()
        self.assertEqual(self.faults(), "2 dropped messages")
        receiver = Receiver()
        with self.session("reader") as reader:
            receiver.receive_until(reader, b"9")
        came = [*range(6), *range(6), *range(6, 10)]
        self.assertEqual((receiver.got, len(came)), ([b"%d" % number for number in came], QUEUED))

    def test_a_will(self):
        """The reset ends the connection of a client whose Session is kept."""
        self.subscriber("reader", "wills/x", 1)
        self.client(V3_1_1, keep_session=True, will={"topic": "wills/x", "payload": "gone", "qos": 1})
        self.machine.reset()
        with self.client(V3_1_1, client_id="reader", keep_session=True) as reader:
            self.assertEqual(reader.next().payload, b"gone")

    def test_mosquitto_subscribes_before_and_reads_after(self):
        mosquitto = ["-h", "127.0.0.1", "-p", str(self.machine.tcp), "-t", "m/x", "-q", "2"]
        session = ["-c", "-i", "mosquitto"]
        subprocess.run(["mosquitto_sub", *mosquitto, *session, "-E"], check=True, timeout=SECONDS)
        for number in range(3):
            subprocess.run(["mosquitto_pub", *mosquitto, "-m", str(number)], check=True, timeout=SECONDS)
        self.machine.reset()
        done = subprocess.run(
            ["mosquitto_sub", *mosquitto, *session, "-C", "3"], check=True, timeout=SECONDS, stdout=subprocess.PIPE, text=True
        )
        self.assertEqual(done.stdout.split(), ["0", "1", "2"])

    def test_a_retained_command_is_obeyed_again_and_the_uptime_begins_anew(self):
        client = self.client()
        client.subscribe("board/uptime")
        client.subscribe("board/led", 1)
        client.publish("board/led/set", "on", 1, retain=True)
        wait_until(lambda: int(self.last(client, "board/uptime", b"0")) >= 4, "four seconds are over")
        self.assertEqual(self.last(client, "board/led"), b"on")
        self.machine.reset()
        client = self.uart_client(0)
        client.subscribe("board/uptime")
        self.assertLess(int(client.next().payload), 4)
        client.subscribe("board/led", 1)
        wait_until(lambda: self.last(client, "board/led", b"off") == b"on", "the LED is on again")

    def last(self, client, topic, default=None):
        """The last payload of a topic that has come so far."""
        seen = client.__dict__.setdefault("seen", {})
        while not client.messages.empty():
            message = client.next()
            seen[message.topic] = message.payload
        return seen.get(topic, default)


class ExactlyOnce(Reset):
    """The power is cut in the middle of an exchange of QoS 2. `reader` subscribes to what `writer` publishes."""

    def setUp(self):
        super().setUp()
        self.subscriber("reader", "x", 2)
        self.session("writer", present=False).sendall(DISCONNECT)
        self.chance = random.Random(SEED)

    def publish(self, packet_id, payload):
        """All of the publisher's exchange."""
        with self.session("writer") as writer:
            self.hand_over(writer, publish_exactly_once("x", packet_id, payload), packet_id)
            writer.sendall(DISCONNECT)

    def hand_over(self, writer, packet, packet_id):
        writer.sendall(packet)
        writer.expect(pubrec(packet_id))
        self.release(writer, packet_id)

    def release(self, writer, packet_id):
        writer.sendall(pubrel(packet_id))
        writer.expect(pubcomp(packet_id))

    def expect_message(self, reader, payload, dup=False):
        """Returns the Packet Identifier of the next PUBLISH."""
        first, body = reader.read_packet()
        self.assertEqual((first, body[:3], body[5:]), (0x3C if dup else 0x34, b"\0\1x", payload))
        return int.from_bytes(body[3:5], "big")

    def complete(self, reader, packet_id):
        reader.sendall(pubrec(packet_id))
        reader.expect(pubrel(packet_id))
        reader.sendall(pubcomp(packet_id))

    def assert_nothing_left(self, *payloads):
        """`reader` is sent these, then what is published now, and nothing else."""
        self.publish(9, b"end")
        receiver = Receiver()
        with self.session("reader") as reader:
            receiver.receive_until(reader, b"end")
        self.assertEqual(receiver.got, [*payloads, b"end"])

    def test_publisher_before_pubrec(self):
        """Whether the message was stored nobody knows: it is sent again."""
        payloads = [b"%d" % number for number in range(MOMENTS)]
        receiver = Receiver()
        for payload in payloads:
            with self.session("writer") as writer:
                writer.sendall(publish_exactly_once("x", 1, payload))
                time.sleep(self.chance.uniform(0, 0.004))
                self.machine.reset()
            with self.session("writer") as writer:
                self.hand_over(writer, publish_exactly_once("x", 1, payload, dup=True), 1)
            with self.session("reader") as reader:
                receiver.receive_until(reader, payload)
        self.assertEqual(receiver.got, payloads)

    def test_publisher_between_pubrec_and_pubrel(self):
        with self.session("writer") as writer:
            for packet_id in (1, 2):
                writer.sendall(publish_exactly_once("x", packet_id, b"%d" % packet_id))
                writer.expect(pubrec(packet_id))
        self.machine.reset()
        with self.session("writer") as writer:
            # It may not know of one PUBREC, and does of the other.
            self.hand_over(writer, publish_exactly_once("x", 1, b"1", dup=True), 1)
            self.release(writer, 2)
        self.assert_nothing_left(b"1", b"2")

    def test_publisher_between_pubrel_and_pubcomp(self):
        """Whether the identifier is free nobody knows: PUBREL is sent again, and then another message with it."""
        for number in range(MOMENTS):
            with self.session("writer") as writer:
                writer.sendall(publish_exactly_once("x", 1, b"%d" % number))
                writer.expect(pubrec(1))
                writer.sendall(pubrel(1))
                time.sleep(self.chance.uniform(0, 0.004))
                self.machine.reset()
            with self.session("writer") as writer:
                self.release(writer, 1)
        self.assert_nothing_left(*(b"%d" % number for number in range(MOMENTS)))

    def test_publisher_after_pubcomp(self):
        """The identifier is free: the next message with it is another one."""
        for number in range(3):
            self.publish(1, b"%d" % number)
            self.machine.reset()
        self.assert_nothing_left(b"0", b"1", b"2")

    def test_subscriber_before_pubrec(self):
        with self.session("reader") as reader:
            self.publish(1, b"1")
            packet_id = self.expect_message(reader, b"1")
            self.machine.reset()
        with self.session("reader") as reader:
            self.assertEqual(self.expect_message(reader, b"1", dup=True), packet_id)
            self.complete(reader, packet_id)
        self.assert_nothing_left()

    def test_subscriber_between_pubrec_and_pubrel(self):
        """It knows what it has and what it has not, and answers what comes again."""
        receiver = Receiver()
        for number in range(MOMENTS):
            with self.session("reader") as reader:
                self.publish(1, b"%d" % number)
                receiver.answer(reader)
                time.sleep(self.chance.uniform(0, 0.004))
                self.machine.reset()
            with self.session("reader") as reader:
                first, _ = receiver.answer(reader)
                while first != 0x62:
                    first, _ = receiver.answer(reader)
        self.assertEqual(receiver.got, [b"%d" % number for number in range(MOMENTS)])
        self.assert_nothing_left()

    def test_subscriber_between_pubrel_and_pubcomp(self):
        """After PUBREL the message never comes again, as the subscriber has forgotten it."""
        for number in range(MOMENTS):
            with self.session("reader") as reader:
                self.publish(1, b"%d" % number)
                packet_id = self.expect_message(reader, b"%d" % number)
                reader.sendall(pubrec(packet_id))
                reader.expect(pubrel(packet_id))
                self.machine.reset()
            with self.session("reader") as reader:
                reader.expect(pubrel(packet_id))
                reader.sendall(pubcomp(packet_id))
                time.sleep(self.chance.uniform(0, 0.004))
                self.machine.reset()
            with self.session("reader") as reader:
                reader.sendall(subscribe("nothing"))
                answer = reader.read_packet()
                if answer == (0x62, packet_id.to_bytes(2, "big")):
                    reader.sendall(pubcomp(packet_id))
                    answer = reader.read_packet()
                self.assertEqual(answer, (0x90, b"\0\1\0"))
        self.assert_nothing_left()

    def test_under_load_of_paho(self):
        """Two publishers and two subscribers, while the power is cut again and again; one subscriber is away for every other cut."""
        transmitted = Transmitted()
        names = [("stays", V5), ("comes-and-goes", V3_1_1)]
        subscribers = [Subscriber(self.machine.tcp, name, version, transmitted) for name, version in names]
        queues = Queues(transmitted, subscribers)
        for subscriber in subscribers:
            subscriber.start()
            subscriber.subscribe("load/#", 2)
        publishers = [Publisher(self.machine.tcp, f"load/{qos}", qos, queues) for qos in (1, 2)]
        for publisher in publishers:
            publisher.start()
        try:
            self.cut_under_load(queues, publishers, subscribers)
        except AssertionError as error:
            clients = "\n".join(client.tell() for client in [*publishers, *subscribers])
            raise AssertionError(f"{error}\nthe board's faults: {self.faults()}\n{clients}") from error
        total = sum(publisher.sent for publisher in publishers)
        print(f"{CRASHES} cuts, seed {SEED}: {total} messages acknowledged, each came to both subscribers ... ", end="")
        for client in [*publishers, *subscribers]:
            client.leave()

    def cut_under_load(self, queues, publishers, subscribers):
        for cut in range(CRASHES):
            time.sleep(self.chance.uniform(0.02, 0.5))
            wait_until(queues.have_room, "the queues have room for what is sent again")
            self.machine.reset()
            subscribers[1].leave() if cut % 2 == 0 else subscribers[1].come_back()
            wait_until(lambda: all(p.paho.is_connected() for p in publishers), "the publishers are back")
        if CRASHES % 2:
            subscribers[1].come_back()
        for publisher in publishers:
            publisher.stop()
            wait_until(publisher.is_acknowledged, f"all of {publisher.topic} is acknowledged")
            self.assertEqual(publisher.paho.refused, [])
        for subscriber in subscribers:
            for publisher in publishers:
                subscriber.wait_for_all_of(publisher, PATIENCE)
                subscriber.check(publisher, exactly_once=publisher.qos == 2)
            self.assertFalse(subscriber.lost_session.is_set(), "a Session was lost")
        self.assertNotIn("dropped", self.faults())


class Failing(Reset):
    """The flash fails: nothing is acknowledged that is not in it, and what needs none goes on."""

    def setUp(self):
        super().setUp()
        self.subscriber("reader", "x", 2)
        self.session("writer", present=False).sendall(DISCONNECT)

    def test_nothing_is_acknowledged_that_was_not_written(self):
        witness = self.client()
        witness.subscribe("x")
        with self.session("writer") as writer, self.session("reader") as reader:
            writer.sendall(publish_exactly_once("x", 1, b"kept"))
            writer.expect(pubrec(1))
            good = self.machine.flash.read_bytes()
            self.assertIn(b"kept", good)
            self.assertEqual(reader.read_packet(), (0x34, b"\0\1x\0\1kept"))
            # No word can be written where all bits are cleared.
            self.machine.flash.write_bytes(bytes(len(good)))
            writer.sendall(publish_at_least_once("x", 2, b"lost") + publish_exactly_once("x", 3, b"lost"))
            writer.sendall(pubrel(1) + publish("x", b"flows"))
            self.machine.expect("1 flash failure")
            self.assertIn(b"flows", witness.next_payloads(4))
            # A message of QoS 1 may come twice, and so it may come before it is stored; one of QoS 2 may not.
            self.assertEqual(self.all_of(reader), [(0x32, b"\0\1x\0\2lost")])
            self.assertEqual(self.all_of(writer), [])
        witness.subscribe("$SYS/board/faults")
        self.assertIn(b"1 flash failure", witness.next().payload)
        self.machine.flash.write_bytes(good)
        self.machine.reset()
        with self.session("writer") as writer:
            for packet in (publish_at_least_once("x", 2, b"again"), pubrel(1)):
                writer.sendall(packet)
            writer.expect(puback(2) + pubcomp(1))

    def test_what_cannot_be_stored_is_refused(self):
        """Erasing ahead fails, when there is nothing else to do."""
        self.machine.cut_power()
        self.machine.flash.write_bytes(ERASED)
        self.machine.start(flash_takes=len(ERASED) // 2)
        client = self.client()
        self.machine.expect("1 flash failure")
        codes = queue.Queue()
        client.paho.on_publish = lambda _c, _u, _mid, code, _p: codes.put(code.value)
        client.paho.publish("x", "refused", 1, retain=True)
        self.assertEqual(codes.get(timeout=SECONDS), QUOTA_EXCEEDED)
        client.subscribe("y", 2)
        for qos in (0, 1, 2):
            client.publish("y", str(qos), qos)
            self.assertEqual(client.next().payload, str(qos).encode())
        with Stream(self.machine.tcp) as stream:
            stream.sendall(connect_to_session("late"))
            # Without a CONNACK: what passes is not told in MQTT 3.1.1.
            stream.expect_end()

    def test_a_board_that_cannot_store_anything_stops(self):
        self.machine.may_end_with = (1,)
        self.machine.reset(flash_takes=0)
        with self.assertRaises((AssertionError, OSError)):
            self.greeted([connect_to_session("reader")], bytes([0x20, 2, 1, 0]))
        self.machine.expect("the flash cannot be used")

    def test_a_file_that_was_cut_off_while_it_was_made_is_completed(self):
        self.machine.cut_power()
        written = self.machine.flash.read_bytes().rstrip(b"\xff")
        self.machine.flash.write_bytes(written)
        self.machine.start()
        self.session("reader").sendall(DISCONNECT)
        self.assertEqual(len(self.machine.flash.read_bytes()), len(ERASED))

    def test_a_file_that_is_no_flash_is_left_as_it_is(self):
        self.machine.may_end_with = (1,)
        self.machine.cut_power()
        other = b"something else" + ERASED
        self.machine.flash.write_bytes(other)
        self.machine.start()
        self.machine.expect("the flash cannot be used")
        self.assertEqual(self.machine.flash.read_bytes(), other)

    def all_of(self, stream):
        """What comes until nothing does."""
        packets = []
        stream.settimeout(0.5)
        try:
            while True:
                packets.append(stream.read_packet())
        except TimeoutError:
            return packets


class Receiver:
    """A subscriber's half of QoS 1 and of QoS 2 (section 4.3.3), over several connections."""

    def __init__(self):
        self.got = []
        self.held = set()

    def answer(self, stream):
        """Takes a packet, and answers it."""
        first, body = stream.read_packet()
        if first in (0x32, 0x3A):
            self.got.append(body[5:])
            stream.sendall(puback(int.from_bytes(body[3:5], "big")))
        elif first in (0x34, 0x3C):
            packet_id = int.from_bytes(body[3:5], "big")
            if packet_id not in self.held:
                self.held.add(packet_id)
                self.got.append(body[5:])
            stream.sendall(pubrec(packet_id))
        elif first == 0x62:
            self.held.discard(int.from_bytes(body, "big"))
            stream.sendall(pubcomp(int.from_bytes(body, "big")))
        else:
            raise AssertionError(f"unexpected: {first:#x} {body.hex()}")
        return first, body

    def receive_until(self, stream, payload):
        """Until that has come, and all exchanges are complete."""
        while payload not in self.got or self.held:
            self.answer(stream)
        stream.sendall(DISCONNECT)


class Transmitted:
    """All PUBLISH packets of QoS 1 that a publisher has sent, and how many of them may be on their way to a subscriber.

    One that is sent again is a message of its own for the broker [MQTT-4.3.2-5], behind the others in each queue. Nobody knows
    which have arrived, nor which of them it is that comes; but on one connection they come in the order in which they were sent.
    """

    def __init__(self):
        self.numbers = []
        self.scanned = {}
        """By subscriber: what has come on its connection may be of the first so many packets, and is of later ones if not."""
        self.behind = {}
        """By subscriber: so many packets are in its queue no more."""

    def send(self, number):
        self.numbers.append(number)

    def connect(self, subscriber):
        """A connection may begin with what came before and was not acknowledged."""
        self.scanned[subscriber] = 0

    def come(self, subscriber, number):
        scanned = self.numbers.index(number, self.scanned[subscriber]) + 1
        self.scanned[subscriber] = scanned
        self.behind[subscriber] = max(self.behind.get(subscriber, 0), scanned)

    def waiting_for(self, subscriber):
        return len(self.numbers) - self.behind.get(subscriber, 0)


class Queues:
    """The room in the queues of the board, which drops what does not fit, and acknowledges it.

    Publishers once had 12 messages on their way at most, but what they sent again after a cut took further places. A subscriber
    that was away, or late because its SYN was lost, then missed messages that came behind.
    """

    def __init__(self, transmitted, subscribers):
        self.transmitted, self.subscribers = transmitted, subscribers
        self.publishers = []
        self.mutex = threading.Lock()
        """Held while one looks for room and takes it."""

    def have_room(self, needed=0):
        """Whether so many places are left in each when what is not acknowledged has been sent again after a cut."""
        # So many that came may be in the queue again after a cut: that they were taken may not be stored.
        room = QUEUED - IN_FLIGHT
        return all(self.places_for(subscriber) + needed <= room for subscriber in self.subscribers)

    def places_for(self, subscriber):
        again = sum(publisher.sent - publisher.acknowledged for publisher in self.publishers if publisher.qos == 1)
        # QoS 2 that is sent again takes no further place.
        once = sum(p.sent - len(subscriber.got[p.topic]) for p in self.publishers if p.qos == 2)
        return self.transmitted.waiting_for(subscriber.client_id) + again + once


class Subscriber(load.Subscriber):
    """Tells what QoS 1 messages have come to it."""

    def __init__(self, port, client_id, version, transmitted):
        super().__init__(port, client_id, version)
        self.transmitted = transmitted
        self.paho.on_message = self.on_message

    def on_connect(self, *arguments):
        super().on_connect(*arguments)
        self.transmitted.connect(self.client_id)

    def on_message(self, _client, _userdata, message):
        number = int(message.payload)
        if message.qos == 1:
            self.transmitted.come(self.client_id, number)
        self.got[message.topic].append(number)


class Publisher(load.Publisher):
    """Never sends more than the queues have room for, nor exceeds the board's Receive Maximum, as paho does [MQTT-3.3.4-7]."""

    def __init__(self, port, topic, qos, queues):
        super().__init__(port, topic, qos, V5 if qos == 2 else V3_1_1)
        self.queues = queues
        queues.publishers.append(self)
        if qos == 1:
            self.paho.on_transmit = lambda payload: queues.transmitted.send(int(payload))

    def run(self):
        while not self.stopping.is_set():
            with self.queues.mutex:
                may_publish = self.may_publish()
                if may_publish:
                    # Counted first, so that whoever looks for room meanwhile finds too little.
                    self.sent += 1
                    self.paho.publish(self.topic, str(self.sent - 1), self.qos)
            if not may_publish:
                time.sleep(0.001)

    def may_publish(self):
        # With QoS 1 it takes another place when it is sent again.
        places = 2 if self.qos == 1 else 1
        received = min(len(set(subscriber.got[self.topic])) for subscriber in self.queues.subscribers)
        return (
            self.paho.is_connected()
            and self.sent - received < AHEAD
            and (self.qos == 1 or self.sent - self.acknowledged < RECEIVE_MAXIMUM)
            and self.queues.have_room(places)
        )


class Room(unittest.TestCase):
    """That a queue never overflows, whatever is lost and comes again, and that it would if each message counted once."""

    def test_no_queue_overflows(self):
        most = [self.longest_queue(random.Random(seed), is_careful=True) for seed in range(200)]
        self.assertLessEqual(max(most), QUEUED)
        self.assertGreater(max(most), QUEUED - IN_FLIGHT)
        most = [self.longest_queue(random.Random(seed), is_careful=False) for seed in range(200)]
        self.assertGreater(max(most), QUEUED)

    def longest_queue(self, chance, is_careful):
        """One publisher and one subscriber, on a board that loses its power again and again."""
        transmitted = Transmitted()
        transmitted.connect("reader")
        queue, taken, unacknowledged, sent, received, most = [], [], [], 0, 0, 0
        for _ in range(500):
            again = transmitted.waiting_for("reader") + len(unacknowledged)
            room = QUEUED - IN_FLIGHT - (again if is_careful else sent - received)
            event = chance.choice(["publish", "publish", "acknowledge", "come", "come", "store", "cut"])
            if event == "publish" and room >= 2:
                transmitted.send(sent)
                queue.append(sent)
                unacknowledged.append(sent)
                sent += 1
            elif event == "acknowledge":
                unacknowledged = unacknowledged[1:]
            elif event == "come" and queue and len(taken) < IN_FLIGHT:
                transmitted.come("reader", queue[0])
                received = max(received, queue[0] + 1)
                taken.append(queue.pop(0))
            elif event == "store":
                taken = []
            elif event == "cut" and room >= 0:
                queue, taken = taken + queue, []
                transmitted.connect("reader")
                for number in unacknowledged:
                    transmitted.send(number)
                # What does not arrive any more before the next cut.
                queue += unacknowledged[: chance.randint(0, len(unacknowledged))]
            most = max(most, len(queue))
        return most


if __name__ == "__main__":
    unittest.main()
