"""Clients that know what they may expect: publishers that number their messages, and subscribers that keep what came.

They connect again whenever the broker is back, and go on with their Sessions.
"""

import collections
import threading
import time

import paho.mqtt.client as paho
from paho.mqtt.client import mqtt_ms_resend_pubrel
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes

from broker import SECONDS, wait_until
from client import V5, properties

LOGGED = 20
"""The last lines of a client's log, which are printed when a test fails."""
WINDOW = 20
"""The most messages that a publisher has outstanding."""


class Careful(paho.Client):
    """The client paho without faults of its own that would look like the broker's when the broker is killed under load."""

    on_transmit = None
    """Called with each payload that is sent, even if it is sent again."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.refused = []
        """The payloads of QoS 2 messages that the broker has refused."""

    def _send_publish(self, mid, topic, payload=b"", *arguments, **options):
        if self.on_transmit:
            self.on_transmit(payload)
        return super()._send_publish(mid, topic, payload, *arguments, **options)

    def _handle_pubrec(self):
        """paho ignores the Reason Code of PUBREC. It goes on with a message that was refused [MQTT-4.3.3-4], and calls it
        published."""
        packet = self._in_packet["packet"]
        if len(packet) > 2 and packet[2] >= 0x80:
            message = self._out_messages.get(int.from_bytes(packet[:2], "big"))
            self.refused.append(message and message.payload)
        return super()._handle_pubrec()

    def _messages_reconnect_reset_out(self):
        """paho forgets a PUBREC when an attempt to connect fails: with the next attempt it publishes the QoS 2 message again.

        No client may do so after it has sent PUBREL [MQTT-4.3.3-6]: the broker that has received PUBREL takes the repeated
        PUBLISH for another message, and delivers it twice.
        """
        with self._out_message_mutex:
            released = [message for message in self._out_messages.values() if message.state == mqtt_ms_resend_pubrel]
            super()._messages_reconnect_reset_out()
            for message in released:
                message.state = mqtt_ms_resend_pubrel

    def _handle_connack(self):
        """In paho another thread may publish between CONNACK and the messages that are sent again after CONNACK, and so
        overtake these."""
        with self._out_message_mutex:
            return super()._handle_connack()


class Returning:
    """A client whose Session outlives its connections, and that connects again by itself."""

    def __init__(self, port, client_id, version):
        clean = {} if version == V5 else {"clean_session": False}
        self.paho = Careful(CallbackAPIVersion.VERSION2, client_id, protocol=version, **clean)
        self.paho.reconnect_delay_set(0.02, 0.02)
        self.paho.max_inflight_messages_set(WINDOW)
        self.options = {}
        if version == V5:
            self.options = {
                "clean_start": False,
                "properties": properties(PacketTypes.CONNECT, SessionExpiryInterval=3600, ReceiveMaximum=WINDOW),
            }
        self.port, self.client_id = port, client_id
        self.log = collections.deque(maxlen=LOGGED)
        self.paho.on_log = lambda _c, _u, _level, text: self.log.append(f"{time.monotonic():.3f} {text[:100]}")
        self.lost_session = threading.Event()
        self.connections = 0
        self.paho.on_connect = self.on_connect

    def on_connect(self, _client, _userdata, flags, code, _properties):
        if code.is_failure:
            return
        if self.connections and not flags.session_present:
            self.lost_session.set()
        self.connections += 1

    def start(self):
        self.paho.connect("127.0.0.1", self.port, **self.options)
        self.paho.loop_start()
        wait_until(self.paho.is_connected, "the client is connected")

    def leave(self):
        """Disconnects normally. The Session stays."""
        self.paho.disconnect()
        self.paho.loop_stop()
        # A client that was just connecting would end with its socket open: the broker would take it for connected, and it would
        # read nothing.
        self.paho._sock_close()

    def come_back(self):
        self.paho.reconnect()
        self.paho.loop_start()

    def state(self):
        now = "and" if self.paho.is_connected() else "not"
        thread = "a thread" if self.paho._thread else "no thread"
        return f"connected {self.connections} times, {now} now, with {thread}"

    def tell(self):
        """Prints everything that may tell why a test has failed."""
        client, lines = self.paho, [f"{self.client_id} at {time.monotonic():.3f}: {self.state()}"]
        for name, messages in [("out", client._out_messages), ("in", client._in_messages)]:
            held = [f"{mid}: {message.payload.decode()}, state {message.state}" for mid, message in list(messages.items())]
            lines.append(f"{name}: {'; '.join(held) or 'nothing'}")
        lines.append(f"to be written: {len(client._out_packet)} packets; refused: {client.refused or 'nothing'}")
        return "\n    ".join([*lines, *self.log])


class Publisher(Returning):
    """Publishes 0, 1, 2 ... to a topic, with at most `WINDOW` messages not acknowledged."""

    def __init__(self, port, topic, qos, version):
        super().__init__(port, f"publisher-{topic.replace('/', '-')}", version)
        self.topic, self.qos = topic, qos
        self.sent = self.acknowledged = 0
        self.paho.on_publish = self.on_publish
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def start(self):
        super().start()
        self.thread.start()

    def on_publish(self, *_):
        self.acknowledged += 1

    def run(self):
        while not self.stopping.is_set():
            if self.sent - self.acknowledged >= WINDOW or not self.paho.is_connected():
                time.sleep(0.001)
                continue
            # Without a connection paho sends the message with the next connection.
            self.paho.publish(self.topic, str(self.sent), self.qos)
            self.sent += 1

    def stop(self):
        self.stopping.set()
        self.thread.join()

    def is_acknowledged(self):
        return self.acknowledged == self.sent


class Subscriber(Returning):
    """Keeps the numbers that come, by topic."""

    def __init__(self, port, client_id, version):
        super().__init__(port, client_id, version)
        self.got = collections.defaultdict(list)
        self.paho.on_message = lambda _c, _u, message: self.got[message.topic].append(int(message.payload))

    def subscribe(self, topic_filter, qos):
        granted = threading.Event()
        self.paho.on_subscribe = lambda *_: granted.set()
        self.paho.subscribe(topic_filter, qos)
        wait_until(granted.is_set, "SUBACK")

    def wait_for_all_of(self, publisher, seconds=SECONDS):
        """Waits until all messages have come. A slow machine may take long, as long as more messages come within `seconds`."""
        got, count, end = self.got[publisher.topic], 0, 0
        while len(set(got)) < publisher.sent:
            came = sum(map(len, list(self.got.values())))
            if came > count:
                count, end = came, time.monotonic() + seconds
            if time.monotonic() > end:
                missing = sorted(set(range(publisher.sent)) - set(got))
                raise AssertionError(
                    f"{self.client_id}: after {seconds} s nothing more has come, {len(missing)} of {publisher.sent} of "
                    f"{publisher.topic} are missing: {missing[:20]}; {self.state()}"
                )
            time.sleep(0.05)

    def check(self, publisher, exactly_once):
        """Checks that every number came, in order: once, or several times for QoS 1."""
        got = self.got[publisher.topic]
        seen = got if exactly_once else list(dict.fromkeys(got))
        expected = list(range(publisher.sent))
        if seen == expected:
            return
        repeated = sorted({number for number in seen if seen.count(number) > 1})[:10]
        missing = sorted(set(expected) - set(seen))[:10]
        at = next(i for i, pair in enumerate(zip(seen + [None], expected + [None])) if pair[0] != pair[1])
        raise AssertionError(
            f"{publisher.topic}: {publisher.sent} sent, {len(seen)} came; missing {missing}, twice {repeated}, "
            f"the first that differs is at {at}: {seen[max(0, at - 3) : at + 4]}"
        )
