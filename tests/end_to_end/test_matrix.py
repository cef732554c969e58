"""Every client publishes to every client, in each version, with each QoS published and granted, and over each transport.

A subscriber gets 9 messages of each publisher, each at the lower QoS of the two: see endpoints.py.
"""

import collections
import contextlib
import subprocess
import unittest

from broker import SECONDS, Broker
from certificates import Authority
from client import V5, Client
from endpoints import (
    GOLDCREST,
    MOSQUITTO,
    MQTTJS,
    PAHO,
    QOS,
    RUMQTTC,
    TLS,
    WEBSOCKET,
    WEBSOCKET_TLS,
    Server,
    Subscriber,
)


class Matrix(unittest.TestCase):
    def test_every_client_gets_the_messages_of_every_client(self):
        with Broker() as broker:
            server = Server(broker.port)
            clients = (PAHO, MQTTJS, RUMQTTC, MOSQUITTO, GOLDCREST)
            self.exchange(broker, [(client, version, server) for client in clients for version in client.versions])

    def test_every_client_gets_the_messages_of_every_client_over_tls_and_websocket(self):
        with Authority() as authority:
            own, client = authority.issue("server", "localhost", "127.0.0.1"), authority.issue("client")
            tables = [
                authority.table("tls", own),
                authority.table("tls", own) + f'client_certificate = "required"\nclient_ca = "{authority.certificate}"\n',
                authority.table("ws"),
                authority.table("wss", own),
            ]
            with Broker(config="".join(tables), listen=len(tables)) as broker:
                tls = Server(broker.ports[0], TLS, authority.certificate)
                mutual = Server(broker.ports[1], TLS, authority.certificate, *client)
                websocket = Server(broker.ports[2], WEBSOCKET)
                both = Server(broker.ports[3], WEBSOCKET_TLS, authority.certificate)
                self.exchange(
                    broker,
                    [
                        (PAHO, "5", tls),
                        (PAHO, "3.1.1", mutual),
                        (PAHO, "5", websocket),
                        (PAHO, "3.1.1", both),
                        (RUMQTTC, "3.1.1", tls),
                        (RUMQTTC, "5", mutual),
                        (MQTTJS, "5", tls),
                        (MQTTJS, "3.1", mutual),
                        (MQTTJS, "5", websocket),
                        (MQTTJS, "3.1.1", both),
                        (MOSQUITTO, "3.1.1", tls),
                        (MOSQUITTO, "5", mutual),
                    ],
                    control=websocket,
                )

    def exchange(self, broker, endpoints, control=None):
        """Lets each of `endpoints` publish to each. `control` is where the test itself connects."""
        control = control or Server(broker.port)
        with Client(control.port, V5, server=control) as control, contextlib.ExitStack() as running:
            # A retained message tells when a subscription exists, in the same way for each client.
            for granted in QOS:
                control.publish(f"q{granted}/ready", "ready", 2, retain=True)
            subscribers = []
            for endpoint in endpoints:
                subscribers.append(Subscriber(*endpoint))
                running.callback(subscribers[-1].stop)
            for subscriber in subscribers:
                subscriber.await_lines(len(QOS))

            expected = [(f"q{granted}/ready", granted, "ready") for granted in QOS]
            for place, (client, version, server) in enumerate(endpoints):
                name = f"{client.name}-{version}-{place}"
                for command in client.publishers(version, server, name):
                    subprocess.run(command, check=True, timeout=SECONDS)
                expected += [(f"q{granted}/{name}/{qos}", min(granted, qos), name) for granted in QOS for qos in QOS]

            for subscriber in subscribers:
                with self.subTest(subscriber=subscriber.name):
                    subscriber.await_lines(len(expected))
            # A second copy of a message would come before this message.
            for granted in QOS:
                control.publish(f"q{granted}/end", "end", 2)
            expected += [(f"q{granted}/end", granted, "end") for granted in QOS]
            for subscriber in subscribers:
                with self.subTest(subscriber=subscriber.name):
                    subscriber.await_lines(len(expected))
                    wanted = (
                        f"{topic} {qos} {payload}" if subscriber.client.tells_qos else f"{topic} {payload}"
                        for topic, qos, payload in expected
                    )
                    self.assertEqual(collections.Counter(subscriber.lines), collections.Counter(wanted))
