"""The client paho-mqtt as a program, for the matrix of clients: paho_client.py pub|sub VERSION URL NAME [CA [CERTIFICATE
KEY]]."""

import signal
import sys
from urllib.parse import urlsplit

from client import VERSIONS, Client
from endpoints import Server

command, version, url, name, *files = sys.argv[1:]
url = urlsplit(url)
with Client(url.port, VERSIONS[version], server=Server(url.port, url.scheme, *files)) as client:
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
