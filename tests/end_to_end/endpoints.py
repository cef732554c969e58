"""The clients that others wrote, as programs that publish to and subscribe from a broker over any transport.

Each publisher sends its name to the topic `qg/NAME/p`, for each granted QoS g and each published QoS p. Each subscriber
subscribes to `q0/#`, `q1/#` and `q2/#` with these QoS.
"""

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from broker import BINARY, SECONDS

HERE = Path(__file__).resolve().parent
QOS = range(3)
ALL_VERSIONS = ("3.1", "3.1.1", "5")
TCP, TLS, WEBSOCKET, WEBSOCKET_TLS = "mqtt", "mqtts", "ws", "wss"


@dataclass
class Server:
    """Where a broker is reached, and the files that a client needs for that."""

    port: int
    scheme: str = TCP
    ca: Path = None
    """The file with the CA to trust."""
    certificate: Path = None
    key: Path = None
    """The certificate and key of the client, where it is asked for one."""

    @property
    def host(self):
        return "127.0.0.1"

    @property
    def url(self):
        path = "/mqtt" if self.scheme in (WEBSOCKET, WEBSOCKET_TLS) else ""
        return f"{self.scheme}://{self.host}:{self.port}{path}"

    @property
    def files(self):
        return [str(file) for file in (self.ca, self.certificate, self.key) if file]


class Program:
    """A client that takes part as one process: COMMAND pub|sub VERSION URL NAME [CA [CERTIFICATE KEY]]. `sub` prints topic,
    QoS and payload."""

    tells_qos = True

    def __init__(self, name, versions, *command):
        self.name, self.versions, self.command = name, versions, command

    def subscribers(self, version, server):
        return [[*self.command, "sub", version, server.url, "-", *server.files]]

    def publishers(self, version, server, name):
        return [[*self.command, "pub", version, server.url, name, *server.files]]


class CommandLine:
    """A client that is a pair of commands, like mosquitto_pub and mosquitto_sub, with a process for each QoS and for each
    message."""

    versions = ALL_VERSIONS

    def __init__(self, name, publish, subscribe, version_option, tells_qos):
        self.name, self.publish, self.subscribe = name, publish, subscribe
        self.version_option, self.tells_qos = version_option, tells_qos

    def options(self, version, server):
        files = zip(("--cafile", "--cert", "--key"), server.files)
        return [*self.version_option(version), "-p", str(server.port), "-h", server.host, *(it for file in files for it in file)]

    def subscribers(self, version, server):
        return [[*self.subscribe, *self.options(version, server), "-q", str(qos), "-t", f"q{qos}/#"] for qos in QOS]

    def publishers(self, version, server, name):
        options = [*self.options(version, server), "-m", name]
        return [
            [*self.publish, *options, "-q", str(qos), "-t", f"q{granted}/{name}/{qos}"] for granted in QOS for qos in QOS
        ]


PAHO = Program("paho", ALL_VERSIONS, sys.executable, HERE / "paho_client.py")
MQTTJS = Program("mqttjs", ALL_VERSIONS, "node", HERE / "mqttjs_client.js")
RUMQTTC = Program("rumqttc", ("3.1.1", "5"), os.environ["RUMQTTC_CLIENT"])
MOSQUITTO = CommandLine(
    "mosquitto",
    ["mosquitto_pub"],
    ["mosquitto_sub", "-F", "%t %q %p"],
    lambda version: ["-V", {"3.1": "mqttv31", "3.1.1": "mqttv311", "5": "mqttv5"}[version]],
    tells_qos=True,
)
GOLDCREST = CommandLine(
    "goldcrest",
    [BINARY, "pub"],
    [BINARY, "sub", "-v"],
    lambda version: ["--mqtt", version],
    tells_qos=False,
)


class Subscriber:
    """The processes of one subscribing client in one version, and their output."""

    def __init__(self, client, version, server):
        self.client, self.version, self.server = client, version, server
        self.lines = []
        self.changed = threading.Condition()
        commands = client.subscribers(version, server)
        self.processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
        self.readers = [threading.Thread(target=self.read, args=(process,)) for process in self.processes]
        for reader in self.readers:
            reader.start()

    @property
    def name(self):
        return f"{self.client.name} {self.version} over {self.server.scheme}"

    def read(self, process):
        for line in process.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify()

    def await_lines(self, count):
        with self.changed:
            enough = self.changed.wait_for(lambda: len(self.lines) >= count, SECONDS)
        assert enough, f"{self.name} got {len(self.lines)} of {count} messages: {sorted(self.lines)}"

    def stop(self):
        for process in self.processes:
            process.terminate()
            process.wait(SECONDS)
        for reader in self.readers:
            reader.join(SECONDS)
        for process in self.processes:
            process.stdout.close()
