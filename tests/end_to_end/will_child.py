"""Connects with a Will, prints that it has, and waits to be killed."""

import signal
import sys

from client import Client

port, version, topic = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
Client(port, version, will={"topic": topic, "payload": "gone", "qos": 1, "retain": True})
print("connected", flush=True)
signal.pause()
