"""The client paho-mqtt as a program, for the matrix of clients: paho_client.py pub|sub VERSION PORT NAME."""

import signal
import sys

from client import VERSIONS, Client

command, version, port, name = sys.argv[1], VERSIONS[sys.argv[2]], int(sys.argv[3]), sys.argv[4]
with Client(port, version) as client:
    if command == "pub":
        for granted in range(3):
            for qos in range(3):
                client.publish(f"q{granted}/{name}/{qos}", name, qos)
    else:
        for granted in range(3):
            client.subscribe(f"q{granted}/#", granted)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        while True:
            message = client.messages.get()
            print(message.topic, message.qos, message.payload.decode(), flush=True)
