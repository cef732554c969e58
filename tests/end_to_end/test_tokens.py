"""mosquitto_pub with a JSON Web Token that OpenSSL has signed, and with a web service that decides."""

import base64
import http.server
import json
import os
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

from broker import SECONDS, Broker, wait_until


def openssl(*arguments, input=None):
    command = ["openssl", *arguments]
    return subprocess.run(command, check=True, input=input, stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def integers(der):
    """The two integers of a signature in DER, 32 bytes each."""
    at, raw = 2, b""
    for _ in range(2):
        length = der[at + 1]
        raw += der[at + 2 : at + 2 + length].lstrip(b"\0").rjust(32, b"\0")
        at += 2 + length
    return raw


def publish(port, *arguments, version="mqttv5"):
    """Publishes with mosquitto_pub. Returns what it complains of; empty if all is well."""
    command = ["mosquitto_pub", "-p", str(port), "-V", version, "-q", "1", "-t", "t", "-m", "m", *arguments]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=SECONDS)
    assert (done.returncode == 0) == (done.stderr == ""), done
    return done.stderr


class Tokens(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tokens-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.new_key()
        # As systemd does for LoadCredential=.
        os.environ["CREDENTIALS_DIRECTORY"] = folder.name
        self.addCleanup(os.environ.pop, "CREDENTIALS_DIRECTORY")

    def new_key(self):
        key = openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout")
        (self.folder / "private.pem").write_bytes(key)
        (self.folder / "issuer.pem").write_bytes(openssl("ec", "-pubout", input=key))

    def token(self, user, seconds):
        parts = [{"alg": "ES256", "typ": "JWT"}, {"sub": user, "exp": int(time.time()) + seconds}]
        signed = ".".join(base64url(json.dumps(part).encode()) for part in parts)
        signature = openssl("dgst", "-sha256", "-sign", self.folder / "private.pem", input=signed.encode())
        return f"{signed}.{base64url(integers(signature))}"

    def test_a_token_lets_its_user_in_until_it_expires_or_the_key_changes(self):
        config = '[authentication.jwt]\nalgorithm = "ES256"\nkey_file = "$CREDENTIALS_DIRECTORY/issuer.pem"\n'
        with Broker(config=config) as broker:
            good, old = self.token("ann", 600), self.token("ann", -600)
            for version in ("mqttv5", "mqttv311"):
                self.assertEqual(publish(broker.port, "-u", "any", "-P", good, version=version), "")
                refused = publish(broker.port, "-u", "any", "-P", old, version=version)
                self.assertIn("bad user name or password", refused.lower())
            self.assertEqual(publish(broker.port, "-D", "connect", "authentication-method", "JWT",
                                     "-D", "connect", "authentication-data", good), "")
            self.new_key()
            other = self.token("ann", 600)
            wait_until(lambda: publish(broker.port, "-u", "any", "-P", other) == "", "the key is read anew")
            self.assertNotEqual(publish(broker.port, "-u", "any", "-P", good), "")
            log = broker.read_log()
            self.assertIn("the token has expired", log)
            for token in (good, old, other):
                for part in token.split("."):
                    self.assertNotIn(part, log)

    def test_a_subscriber_is_sent_away_when_its_token_expires(self):
        config = '[authentication.jwt]\nalgorithm = "ES256"\nkey_file = "$CREDENTIALS_DIRECTORY/issuer.pem"\nleeway_s = 0\n'
        with Broker(config=config) as broker:
            token = self.token("ann", 3)
            command = ["mosquitto_sub", "-p", str(broker.port), "-V", "mqttv5", "-t", "t", "-u", "ann", "-P", token, "-d"]
            started = time.monotonic()
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS)
            self.assertGreater(time.monotonic() - started, 1)
            self.assertIn("Subscribed", done.stdout)
            self.assertIn("DISCONNECT (135)", done.stdout)


class Hook(unittest.TestCase):
    def test_a_web_service_of_python_decides(self):
        class Service(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                is_known = (question["username"], question["password"]) == ("ann", "s\u00e4ge")
                is_trusted = self.headers["Authorization"] == "Bearer of the gateway"
                body = json.dumps({"result": "allow" if is_known and is_trusted else "deny"}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
        self.addCleanup(service.server_close)
        threading.Thread(target=service.serve_forever, daemon=True).start()
        os.environ["HOOK_SECRET"] = "Bearer of the gateway"
        self.addCleanup(os.environ.pop, "HOOK_SECRET")
        config = (
            f'[authentication.http]\nurl = "http://127.0.0.1:{service.server_port}/auth"\ndialect = "emqx"\n'
            'authorization_env = "HOOK_SECRET"\ncache_s = 0\n'
        )
        with Broker(config=config) as broker:
            self.assertEqual(publish(broker.port, "-u", "ann", "-P", "s\u00e4ge"), "")
            self.assertNotEqual(publish(broker.port, "-u", "ann", "-P", "other"), "")
            service.shutdown()
            service.server_close()
            self.assertIn("unavailable", publish(broker.port, "-u", "ann", "-P", "s\u00e4ge").lower())
            for secret in ("s\u00e4ge", "Bearer"):
                self.assertNotIn(secret, broker.read_log())
