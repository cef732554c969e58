"""The client paho-mqtt with waiting built in: each call returns when the broker has answered."""

import queue
import uuid

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from broker import SECONDS

V3_1, V3_1_1, V5 = paho.MQTTv31, paho.MQTTv311, paho.MQTTv5
VERSIONS = {"3.1": V3_1, "3.1.1": V3_1_1, "5": V5}


def unique(prefix):
    """A name that no other test uses, because tests share a broker."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def properties(packet_type, **values):
    """Properties of a packet. A list gives one Property several times."""
    result = Properties(packet_type)
    for name, value in values.items():
        setattr(result, name, value)
    return result


class Client:
    """A connected client, to be used in a `with` statement."""

    def __init__(
        self, port, version, client_id=None, keep_session=False, will=None, manual_ack=False, server=None, **connect
    ):
        """`connect` are the Properties of CONNECT; `will` are the arguments of paho's will_set; `server` is a Server of
        endpoints.py, where it is not reached over TCP."""
        self.version = version
        self.connected = False
        self.messages = queue.Queue()
        self.answers = queue.Queue()
        self.ends = queue.Queue()
        clean = {} if version == V5 else {"clean_session": not keep_session}
        over = {"transport": "websockets"} if server and server.scheme.startswith("ws") else {}
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id or unique("p"), protocol=version, manual_ack=manual_ack, **clean, **over
        )
        if server and server.ca:
            client.tls_set(server.ca, server.certificate, server.key)
        client.on_connect = self._answered
        client.on_subscribe = lambda _c, _u, mid, codes, _p: self.answers.put((mid, [code.value for code in codes]))
        client.on_unsubscribe = lambda _c, _u, mid, codes, _p: self.answers.put((mid, [code.value for code in codes]))
        client.on_message = lambda _c, _u, message: self.messages.put(message)
        client.on_disconnect = self._ended
        client.reconnect_delay_set(3600, 3600)
        client.max_inflight_messages_set(0xFFFF if version != V5 else 20)
        if will:
            client.will_set(**will)
        options = {}
        if version == V5:
            if keep_session:
                connect.setdefault("SessionExpiryInterval", 300)
            options = {
                "clean_start": not keep_session,
                "properties": properties(PacketTypes.CONNECT, **connect),
            }
        client.connect("127.0.0.1", port, **options)
        client.loop_start()
        self.paho = client
        flags, code, self.connack = self.answers.get(timeout=SECONDS)
        if flags is None:
            client.loop_stop()
            raise ConnectionError(f"the connection ended without CONNACK: {code}")
        assert not code.is_failure, code
        self.session_present = flags.session_present

    def _answered(self, _client, _userdata, flags, code, properties):
        self.connected = True
        self.answers.put((flags, code, properties))

    def _ended(self, _client, _userdata, flags, code, _properties):
        if not self.connected:
            self.answers.put((None, code, None))
        self.ends.put((flags, code))

    def subscribe(self, topic_filter, qos=0, **options):
        """Subscribes, and returns the Reason Code. `options` are those of MQTT 5."""
        if options:
            given = {"options": SubscribeOptions(qos=qos, **options)}
        else:
            given = {"qos": qos}
        result, mid = self.paho.subscribe(topic_filter, **given)
        assert result == paho.MQTT_ERR_SUCCESS, result
        answered, codes = self.answers.get(timeout=SECONDS)
        assert answered == mid
        return codes[0]

    def unsubscribe(self, topic_filter):
        _, mid = self.paho.unsubscribe(topic_filter)
        assert self.answers.get(timeout=SECONDS)[0] == mid

    def publish(self, topic, payload, qos=0, retain=False, **props):
        """Publishes, and returns when the message is acknowledged, or written for QoS 0. `props` are the Properties of
        PUBLISH."""
        given = properties(PacketTypes.PUBLISH, **props) if props else None
        info = self.paho.publish(topic, payload, qos, retain, given)
        info.wait_for_publish(SECONDS)
        assert info.is_published(), f"{topic} is not acknowledged"

    def next(self):
        """Waits for the next message."""
        return self.messages.get(timeout=SECONDS)

    def next_payloads(self, count):
        return [self.next().payload for _ in range(count)]

    def assert_nothing_for(self, topic, publisher):
        """Checks that no message is on its way here: a message that `publisher` sends now to `topic` must come first."""
        marker = unique("marker").encode()
        publisher.publish(topic, marker, qos=1)
        message = self.next()
        assert message.payload == marker, f"unexpected: {message.topic} {message.payload[:60]!r}"

    def drop(self):
        """Closes the socket without DISCONNECT."""
        self.paho._sock_close()
        self.paho.loop_stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.paho.disconnect()
        self.paho.loop_stop()
