"""The addresses that the broker listens on: on a machine without IPv6, with addresses that appear later, and with interfaces
that disappear and return.

Each test has a network of its own, a namespace of Linux. Where no namespace can be made the tests are skipped, and say so.
"""

import json
import re
import shlex
import subprocess
import sys
import unittest

from broker import BINARY, Broker, wait_until

GET = """
import json, sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=5)
except urllib.error.HTTPError as error:
    answer = error
except urllib.error.URLError as error:
    sys.exit(str(error))
print(json.dumps([answer.status, answer.read().decode()]))
"""
LISTEN = """
import socket, sys, time
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), family=socket.AF_INET6)
print("listening", flush=True)
time.sleep(3600)
"""


class Network:
    """A network namespace with nothing but `lo`, to be used in a `with` statement."""

    def __init__(self):
        # Without root, a namespace of users makes this process root inside it.
        holder = ["unshare", "--net", "--user", "--map-root-user", "sh", "-c", "echo ready && exec sleep 3600"]
        self.process = subprocess.Popen(holder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.problem = None
        self.under = ["nsenter", f"--target={self.process.pid}", "--net", "--user", "--preserve-credentials"]
        if self.process.stdout.readline() != "ready\n":
            self.problem = self.process.stderr.read().strip()

    def run(self, *command, check=True):
        done = subprocess.run([*self.under, *command], capture_output=True, text=True)
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.stderr}")
        return done

    def goldcrest(self, *arguments):
        return self.run("timeout", "10", BINARY, *arguments, check=False)

    def get(self, url):
        """Status and body of a response; `None` if there is no answer."""
        done = self.run(sys.executable, "-c", GET, url, check=False)
        return tuple(json.loads(done.stdout)) if done.returncode == 0 else None

    def add_interface(self, name, *addresses):
        """Adds an interface that leads nowhere. The kind does not matter, and not every system has each kind."""
        kinds = ["dummy", "ifb", "bridge", "veth"]
        if not any(self.run("ip", "link", "add", name, "type", kind, check=False).returncode == 0 for kind in kinds):
            raise AssertionError(f"no interface of any of these kinds can be made: {kinds}")
        for address in addresses:
            nodad = ["nodad"] if ":" in address else []
            self.run("ip", "address", "add", address, "dev", name, *nodad)
        self.run("ip", "link", "set", name, "up")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


class Addresses(unittest.TestCase):
    def network(self):
        """Skips the test if no network namespace can be made."""
        network = Network()
        self.addCleanup(network.__exit__)
        if network.problem:
            self.skipTest(f"there can be no network of its own here: {network.problem}")
        network.run("ip", "link", "set", "lo", "up")
        return network

    def test_the_default_listeners_are_both_loopbacks_or_ipv4_alone_without_ipv6(self):
        for has_ipv6 in (True, False):
            network = self.network()
            network.run("sh", "-c", f"echo {int(not has_ipv6)} >/proc/sys/net/ipv6/conf/all/disable_ipv6")
            # Without --listen the port is 1883, which is free in each namespace.
            with Default(network) as broker:
                for host, there in (("127.0.0.1", True), ("::1", has_ipv6), ("localhost", True)):
                    sent = network.goldcrest("pub", "-h", host, "-t", "t", "-m", "x", "-q", "1")
                    self.assertEqual(sent.returncode == 0, there, f"{host}: {sent.stderr}")
                self.assertEqual(broker.listening, ["127.0.0.1:1883", *["[::1]:1883"] * has_ipv6])
                for host, there in (("127.0.0.1", True), ("[::1]", has_ipv6)):
                    ready = network.get(f"http://{host}:9883/ready")
                    self.assertEqual(ready, (200, "it is ready\n") if there else None, host)
            self.assertNotIn("cannot listen", broker.log)

    def test_a_port_in_use_on_one_loopback_stops_the_start(self):
        network = self.network()
        command = [*network.under, sys.executable, "-c", LISTEN, "::1", "1883"]
        somebody = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.addCleanup(somebody.communicate)
        self.addCleanup(somebody.kill)
        self.assertEqual(somebody.stdout.readline(), "listening\n")
        for options in (["--listen", "1883"], ["--listen", "0", "--http", "1883"]):
            failed = network.goldcrest("--memory-only", "--log", "error", *options)
            self.assertEqual(failed.returncode, 1)
            self.assertIn("cannot listen on [::1]:1883: Address already in use", failed.stderr)
            self.assertEqual(failed.stdout, "")

    def test_missing_addresses_are_reported_until_they_appear(self):
        network = self.network()
        config = '[http]\nlisten = ["127.0.0.1:0", "10.9.8.7:9884"]\nallow_anonymous = true\n'
        later = ["10.9.8.7:1883", "[fe80::77%later0]:1883"]
        options = [word for address in later for word in ("--listen", address)]
        with Broker(*options, "--allow-anonymous", config=config, under=network.under) as broker:
            http = f"http://127.0.0.1:{broker.http_port}"
            status, reasons = network.get(http + "/ready")
            self.assertEqual(status, 503)
            named = re.findall("it does not listen on (.*) yet: ", reasons)
            self.assertEqual(sorted(named), sorted([*later, "10.9.8.7:9884"]))
            self.assertIn("goldcrest_awaited_listeners 3\n", network.get(http + "/metrics")[1])
            self.assertEqual(network.get(http + "/live")[0], 200)
            # Clients on the existing addresses are served.
            self.assertEqual(network.goldcrest("pub", "-p", str(broker.port), "-t", "t", "-m", "x").returncode, 0)
            network.add_interface("later0", "10.9.8.7/24", "fe80::77/64")
            wait_until(lambda: network.get(http + "/ready")[0] == 200, "all addresses are there")
            self.assertIn("goldcrest_awaited_listeners 0\n", network.get(http + "/metrics")[1])
            for host in ("10.9.8.7", "fe80::77%later0", "[fe80::77%later0]"):
                self.assertEqual(network.goldcrest("pub", "-h", host, "-t", "t", "-m", "x").returncode, 0, host)
            self.assertEqual(network.get("http://10.9.8.7:9884/ready")[0], 200)
            # Each missing address is logged once at first, and again if the reason changes.
            self.assertLessEqual(broker.read_log().count("cannot listen on"), 5)

    def test_the_broker_listens_again_on_an_interface_that_returns_with_another_index(self):
        network = self.network()
        network.add_interface("usb0", "fe80::77/64")
        options = ["--listen", "[fe80::77%usb0]:1883", "--allow-anonymous", "--http", "127.0.0.1:0"]
        publish = ("pub", "-h", "fe80::77%usb0", "-t", "t", "-m", "x", "-q", "1")
        with Broker(*options, under=network.under) as broker:
            ready = f"http://127.0.0.1:{broker.http_port}/ready"
            self.assertEqual(network.goldcrest(*publish).returncode, 0)
            network.run("ip", "link", "del", "usb0")
            wait_until(lambda: "[fe80::77%usb0]:1883 yet" in network.get(ready)[1], "it is missed")
            # Meanwhile another interface takes the index that the old one had.
            network.add_interface("other0")
            network.add_interface("usb0", "fe80::77/64")
            wait_until(lambda: network.get(ready)[0] == 200, "it is listened on")
            self.assertEqual(network.goldcrest(*publish).returncode, 0)

    def test_the_commands_that_the_start_prints_work(self):
        network = self.network()
        network.add_interface("gc0", "fe80::77/64")
        for address in ("[fe80::77%gc0]:1883", "[::1]:1883", "*:1883", "localhost:1883"):
            with Default(network, "--listen", address, "--allow-anonymous") as broker:
                commands = [line.strip() for line in broker.greeting if re.match("  .*pub ", line)]
                self.assertEqual(len(commands), 2, broker.greeting)
                for command in commands:
                    sent = network.run("timeout", "10", "sh", "-c", command, check=False)
                    self.assertEqual((sent.returncode, sent.stderr), (0, ""), command)

    def test_an_unknown_interface_is_named_in_the_error(self):
        for host, words in (
            ("fe80::1", "the network interface is missing: fe80::1%eth0"),
            ("[fe80::1%gone0]", 'there is no network interface "gone0"'),
            ("fe80::1%99999", 'there is no network interface "99999"'),
        ):
            for command in (["pub", "-t", "t", "-m", "x"], ["sub", "-t", "t"]):
                failed = subprocess.run([BINARY, *command, "-h", host], capture_output=True, text=True, timeout=30)
                self.assertEqual(failed.returncode, 1)
                self.assertIn(words, failed.stderr)
        wrong = subprocess.run([BINARY, "--listen", "[fe80::1]:1883"], capture_output=True, text=True, timeout=30)
        self.assertEqual(wrong.returncode, 2)
        self.assertIn("[fe80::1%eth0]:1883", wrong.stderr)


class Default:
    """A broker in a network namespace, with default settings or with the given options, to be used in a `with` statement."""

    def __init__(self, network, *options):
        command = [*network.under, BINARY, "--memory-only", "--http", "9883", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.greeting = []
        while not (self.greeting and self.greeting[-1].startswith("  mosquitto_pub")):
            line = self.process.stdout.readline()
            if not line:
                raise AssertionError(f"{shlex.join(map(str, command))}: {self.process.communicate()}")
            self.greeting.append(line)
        self.listening = [line.split()[-1] for line in self.greeting if line.startswith("listening on ")]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        _, self.log = self.process.communicate()
