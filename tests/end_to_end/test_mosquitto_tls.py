"""The options that mosquitto_pub and mosquitto_sub have for TLS: what the broker speaks works, and what it does not speak fails with
a line in its log that says why."""

import itertools
import os
import subprocess
import time
import unittest

from broker import SECONDS, Broker, wait_until
from certificates import Authority

VERSIONS = """openssl_conf = start
[start]
ssl_conf = modules
[modules]
system_default = defaults
[defaults]
MinProtocol = {0}
MaxProtocol = {0}
CipherString = DEFAULT@SECLEVEL={1}
"""
"""A configuration of OpenSSL for one version of TLS. For mosquitto_pub --tls-version is only the oldest one; and at the usual level
of security OpenSSL speaks none before 1.2."""


class MosquittoTls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.authority = cls.enterClassContext(Authority())
        cls.stranger = cls.enterClassContext(Authority())
        cls.client = cls.authority.issue("client")
        own = cls.authority.issue("server", "127.0.0.1", rsa=True)
        named = cls.authority.issue("named", "broker.example")
        asking = f'client_certificate = "required"\nclient_ca = "{cls.authority.certificate}"\n'
        tables = [
            cls.authority.table("tls", own),
            cls.authority.table("tls", named),
            cls.authority.table("tls", own) + asking,
            cls.authority.table("tls", own) + 'min_version = "1.3"\nalpn = ["mqtt"]\n',
        ]
        cls.broker = cls.enterClassContext(Broker(config="".join(tables), listen=len(tables)))
        cls.plain, cls.named, cls.mutual, cls.newest = cls.broker.ports
        cls.trust = ["--cafile", str(cls.authority.certificate)]
        cls.sources = itertools.count(2)
        cls.versions = {}
        for version, level in (("TLSv1.1", 0), ("TLSv1.2", 2), ("TLSv1.3", 2)):
            file = cls.authority.path / version
            file.write_text(VERSIONS.format(version, level))
            cls.versions[version] = {"OPENSSL_CONF": str(file)}

    def run_client(self, program, port, options, **environment):
        """Runs a client that ends after a message. Returns it with what it printed."""
        topic = ["-t", f"tls/{self.id()}", "-q", "1"]
        command = [program, "-h", "127.0.0.1", "-p", str(port), *topic, *options]
        environment = {**os.environ, **environment}
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment)

    def passes(self, port, options, **environment):
        """A message goes to the broker and back, each over a connection with these options."""
        published = self.run_client("mosquitto_pub", port, [*options, "-r", "-m", "kept"], **environment)
        self.assertEqual(published.returncode, 0, published.stderr)
        received = self.run_client("mosquitto_sub", port, [*options, "-C", "1", "-W", str(SECONDS)], **environment)
        self.assertEqual(received.stdout, "kept\n", received.stderr)

    def fails(self, port, options, reason=None, **environment):
        """No connection is made with these options; the log of the broker says the reason."""
        before = len(self.broker.read_log())

        def is_told():
            # The log has one line a minute for each address and ten lines a second, so each client that is refused has an address
            # of its own, and one whose line was left out is followed by another.
            number = next(self.sources)
            source = ["-A", f"127.0.{number // 250}.{number % 250 + 1}"]
            published = self.run_client("mosquitto_pub", port, [*options, *source, "-m", "lost"], **environment)
            self.assertNotEqual(published.returncode, 0, published)
            if reason is None or reason in self.broker.read_log()[before:]:
                return True
            time.sleep(0.2)
            return reason in self.broker.read_log()[before:]

        wait_until(is_told, f"the log says {reason!r}")

    def test_a_ca_is_trusted_from_a_file_a_folder_or_the_store_of_the_system(self):
        self.passes(self.plain, self.trust)
        self.passes(self.plain, ["--capath", str(self.authority.by_hash())])
        self.passes(self.plain, ["--tls-use-os-certs"], SSL_CERT_FILE=str(self.authority.certificate))

    def test_each_version_of_tls_that_a_listener_speaks_works_and_an_older_one_does_not(self):
        older = "it speaks only versions of TLS that are older than min_version"
        for version in ("TLSv1.2", "TLSv1.3"):
            self.passes(self.plain, self.trust, **self.versions[version])
        self.passes(self.plain, [*self.trust, "--tls-version", "tlsv1.3"])
        self.passes(self.newest, self.trust, **self.versions["TLSv1.3"])
        self.fails(self.newest, self.trust, older, **self.versions["TLSv1.2"])
        self.fails(self.plain, [*self.trust, "--tls-version", "tlsv1.1"], older, **self.versions["TLSv1.1"])

    def test_a_client_with_a_certificate_is_let_in_where_one_is_wanted_and_others_are_not(self):
        certificate, key = map(str, self.client)
        for version in ("TLSv1.2", "TLSv1.3"):
            self.passes(self.mutual, [*self.trust, "--cert", certificate, "--key", key], **self.versions[version])
        self.fails(self.mutual, self.trust, 'it has no certificate, and client_certificate = "required" wants one')
        certificate, key = map(str, self.stranger.issue("stranger"))
        reason = "its certificate is signed by no CA in client_ca"
        self.fails(self.mutual, [*self.trust, "--cert", certificate, "--key", key], reason)

    def test_a_client_that_does_not_trust_the_server_gives_up_and_the_log_says_so(self):
        reason = "it does not trust the certificate of this listener"
        self.fails(self.plain, ["--cafile", str(self.stranger.certificate)], reason)

    def test_a_certificate_for_another_name_is_accepted_with_insecure_alone(self):
        self.fails(self.named, self.trust)
        self.passes(self.named, [*self.trust, "--insecure"])

    def test_a_client_may_name_a_protocol_where_the_listener_names_none(self):
        self.passes(self.plain, [*self.trust, "--tls-alpn", "mqtt"])

    def test_a_client_that_names_another_protocol_than_the_listener_is_refused(self):
        self.passes(self.newest, [*self.trust, "--tls-alpn", "mqtt"])
        self.passes(self.newest, self.trust)
        self.fails(self.newest, [*self.trust, "--tls-alpn", "h2"], "none of them is in alpn")

    def test_ciphers_with_forward_secrecy_and_authentication_work_and_others_do_not(self):
        in_1_2 = self.versions["TLSv1.2"]
        for cipher in ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"):
            self.passes(self.plain, [*self.trust, "--ciphers", cipher], **in_1_2)
        for cipher in ("AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "DHE-RSA-AES128-GCM-SHA256"):
            self.fails(self.plain, [*self.trust, "--ciphers", cipher], "it offers no cipher suite of this listener", **in_1_2)

    def test_a_pre_shared_key_is_refused_with_the_reason(self):
        shared = ["--psk", "0123456789abcdef0123456789abcdef", "--psk-identity", "device"]
        # Without this choice mosquitto_pub offers ciphers with certificates too, and checks no certificate.
        shared += ["--ciphers", "PSK"]
        self.fails(self.plain, shared, "pre-shared key (PSK)", **self.versions["TLSv1.2"])
