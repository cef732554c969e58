"""Every client publishes to every client, in each version and with each QoS published and granted.

Each publisher sends its name to the topic `qg/NAME/p`, for each granted QoS g and each published QoS p. Each subscriber
subscribes to `q0/#`, `q1/#` and `q2/#` with these QoS. So a subscriber gets 9 messages of each publisher, each at the lower QoS
of the two.
"""

import collections
import contextlib
import os
import subprocess
import sys
import threading
import unittest
from pathlib import Path

from broker import BINARY, SECONDS, Broker
from client import V5, Client

HERE = Path(__file__).resolve().parent
QOS = range(3)
ALL_VERSIONS = ("3.1", "3.1.1", "5")


class Program:
    """A client that takes part as one process: COMMAND pub|sub VERSION PORT NAME. `sub` prints topic, QoS and payload."""

    tells_qos = True

    def __init__(self, name, versions, *command):
        self.name, self.versions, self.command = name, versions, command

    def subscribers(self, version, port):
        return [[*self.command, "sub", version, str(port), "-"]]

    def publishers(self, version, port, name):
        return [[*self.command, "pub", version, str(port), name]]


class CommandLine:
    """A client that is a pair of commands, like mosquitto_pub and mosquitto_sub, with a process for each QoS and for each
    message."""

    versions = ALL_VERSIONS

    def __init__(self, name, publish, subscribe, version_option, tells_qos):
        self.name, self.publish, self.subscribe = name, publish, subscribe
        self.version_option, self.tells_qos = version_option, tells_qos

    def subscribers(self, version, port):
        options = [*self.version_option(version), "-p", str(port), "-h", "127.0.0.1"]
        return [[*self.subscribe, *options, "-q", str(qos), "-t", f"q{qos}/#"] for qos in QOS]

    def publishers(self, version, port, name):
        options = [*self.version_option(version), "-p", str(port), "-h", "127.0.0.1", "-m", name]
        return [
            [*self.publish, *options, "-q", str(qos), "-t", f"q{granted}/{name}/{qos}"] for granted in QOS for qos in QOS
        ]


CLIENTS = [
    Program("paho", ALL_VERSIONS, sys.executable, HERE / "paho_client.py"),
    Program("mqttjs", ALL_VERSIONS, "node", HERE / "mqttjs_client.js"),
    Program("rumqttc", ("3.1.1", "5"), os.environ["RUMQTTC_CLIENT"]),
    CommandLine(
        "mosquitto",
        ["mosquitto_pub"],
        ["mosquitto_sub", "-F", "%t %q %p"],
        lambda version: ["-V", {"3.1": "mqttv31", "3.1.1": "mqttv311", "5": "mqttv5"}[version]],
        tells_qos=True,
    ),
    CommandLine(
        "goldcrest",
        [BINARY, "pub"],
        [BINARY, "sub", "-v"],
        lambda version: ["--mqtt", version],
        tells_qos=False,
    ),
]
ENDPOINTS = [(client, version) for client in CLIENTS for version in client.versions]


class Subscriber:
    """The processes of one subscribing client in one version, and their output."""

    def __init__(self, client, version, port):
        self.client, self.version = client, version
        self.lines = []
        self.changed = threading.Condition()
        self.processes = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in client.subscribers(version, port)
        ]
        self.readers = [threading.Thread(target=self.read, args=(process,)) for process in self.processes]
        for reader in self.readers:
            reader.start()

    def read(self, process):
        for line in process.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify()

    def await_lines(self, count):
        with self.changed:
            enough = self.changed.wait_for(lambda: len(self.lines) >= count, SECONDS)
        name = f"{self.client.name} {self.version}"
        assert enough, f"{name} got {len(self.lines)} of {count} messages: {sorted(self.lines)}"

    def stop(self):
        for process in self.processes:
            process.terminate()
            process.wait(SECONDS)
        for reader in self.readers:
            reader.join(SECONDS)
        for process in self.processes:
            process.stdout.close()


class Matrix(unittest.TestCase):
    def test_every_client_gets_the_messages_of_every_client(self):
        with Broker() as broker, Client(broker.port, V5) as control, contextlib.ExitStack() as running:
            # A retained message tells when a subscription exists, in the same way for each client.
            for granted in QOS:
                control.publish(f"q{granted}/ready", "ready", 2, retain=True)
            subscribers = []
            for client, version in ENDPOINTS:
                subscribers.append(Subscriber(client, version, broker.port))
                running.callback(subscribers[-1].stop)
            for subscriber in subscribers:
                subscriber.await_lines(len(QOS))

            expected = [(f"q{granted}/ready", granted, "ready") for granted in QOS]
            for client, version in ENDPOINTS:
                name = f"{client.name}-{version}"
                for command in client.publishers(version, broker.port, name):
                    subprocess.run(command, check=True, timeout=SECONDS)
                expected += [(f"q{granted}/{name}/{qos}", min(granted, qos), name) for granted in QOS for qos in QOS]

            for subscriber in subscribers:
                with self.subTest(subscriber=subscriber.client.name, version=subscriber.version):
                    subscriber.await_lines(len(expected))
            # A second copy of a message would come before this message.
            for granted in QOS:
                control.publish(f"q{granted}/end", "end", 2)
            expected += [(f"q{granted}/end", granted, "end") for granted in QOS]
            for subscriber in subscribers:
                with self.subTest(subscriber=subscriber.client.name, version=subscriber.version):
                    subscriber.await_lines(len(expected))
                    wanted = (
                        f"{topic} {qos} {payload}" if subscriber.client.tells_qos else f"{topic} {payload}"
                        for topic, qos, payload in expected
                    )
                    self.assertEqual(collections.Counter(subscriber.lines), collections.Counter(wanted))
