"""Password files of mosquitto_passwd, and clients of Mosquitto and Paho that say who they are."""

import os
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from broker import BINARY, SECONDS, Broker, wait_until

CLEO = (
    # By Mosquitto 2.1, which Debian does not have yet: computed with the Argon2id of OpenSSL, for the password "three turtles".
    "cleo:$argon2id$v=19$m=47104,t=1,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw"
    "$XdF0TOwRBahi6uS+cBY8utkrUAiRUPtLrpyY4RVw2sFkQfYLBONM0ryy4TzpjsBSdwyinoyvo/IIDWCpxFvhvQ\n"
)
DEVICES = int(os.environ.get("GOLDCREST_DEVICES", 200))


def mosquitto_passwd(*arguments):
    subprocess.run(["mosquitto_passwd", *arguments], check=True, stdin=subprocess.DEVNULL, timeout=SECONDS)


def passwd(*arguments, password=""):
    """Runs `goldcrest passwd`. Returns what it prints."""
    command = [BINARY, "passwd", *arguments]
    return subprocess.run(command, check=True, input=password, text=True, stdout=subprocess.PIPE, timeout=60).stdout


def publish(port, user, password, version="mqttv5"):
    """Publishes with mosquitto_pub. Returns in lower case what it complains of; empty if all is well."""
    command = ["mosquitto_pub", "-p", str(port), "-V", version, "-q", "1", "-t", "t", "-m", "m", "-u", user, "-P", password]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=SECONDS)
    assert (done.returncode == 0) == (done.stderr == ""), done
    return done.stderr.lower()


class Passwords(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="passwords-")
        self.addCleanup(self.folder.cleanup)
        self.file = Path(self.folder.name) / "passwords"

    def broker(self):
        return Broker("--http", "127.0.0.1:0", config=f'[authentication]\npassword_file = "{self.file}"\nban_after = 0\n')

    def test_a_file_of_mosquitto_passwd_is_used_as_it_is(self):
        mosquitto_passwd("-c", "-b", self.file, "ann", "correct horse")
        old = Path(self.folder.name) / "old"
        mosquitto_passwd("-H", "sha512", "-c", "-b", old, "ben", "battery stäple")
        self.file.write_text(self.file.read_text() + old.read_text() + CLEO)
        passwords = {"ann": "correct horse", "ben": "battery stäple", "cleo": "three turtles"}
        with self.broker() as broker:
            refusal = "bad user name or password"
            for version in ("mqttv5", "mqttv311"):
                for user, password in passwords.items():
                    self.assertEqual(publish(broker.port, user, password, version), "")
                    self.assertIn(refusal, publish(broker.port, user, password + "!", version))
                self.assertIn(refusal, publish(broker.port, "nobody", "correct horse", version))
            # mosquitto_passwd changes the file of a broker that runs.
            mosquitto_passwd("-b", self.file, "ann", "staple")
            wait_until(lambda: publish(broker.port, "ann", "staple") == "", "the file is read anew")
            self.assertNotEqual(publish(broker.port, "ann", "correct horse"), "")
            log = broker.read_log()
            self.assertIn("user ann: the password is wrong", log)
            for secret in [*passwords.values(), "staple", "$7$", "$6$", "$argon2id$"]:
                self.assertNotIn(secret, log)

    def test_a_file_of_goldcrest_passwd_serves_people_and_devices(self):
        passwd("add", self.file, "ann", password="correct horse\n")
        token = passwd("add", "--token", self.file, "pump").strip()
        with self.broker() as broker:
            self.assertEqual(publish(broker.port, "ann", "correct horse"), "")
            self.assertEqual(publish(broker.port, "pump", token), "")
            self.assertNotEqual(publish(broker.port, "pump", token[:-1]), "")

    def test_devices_with_tokens_come_back_at_once_after_a_restart(self):
        tokens = {}
        passwd("add", self.file, "ann", password="correct horse\n")
        for number in range(DEVICES):
            tokens[f"d{number}"] = passwd("add", "--token", self.file, f"d{number}").strip()
        with self.broker() as broker:
            codes = []
            started = time.monotonic()
            clients = []
            for user, token in tokens.items():
                client = paho.Client(CallbackAPIVersion.VERSION2, client_id=user, protocol=paho.MQTTv5)
                client.username_pw_set(user, token)
                client.on_connect = lambda _client, _data, _flags, code, _properties: codes.append(code.value)
                client.connect("127.0.0.1", broker.port)
                client.loop_start()
                clients.append(client)
            wait_until(lambda: len(codes) == DEVICES, "all are connected")
            print(f"{DEVICES} devices were connected after {time.monotonic() - started:.2f} s")
            self.assertEqual(set(codes), {0})
            for client in clients:
                client.disconnect()
                client.loop_stop()
