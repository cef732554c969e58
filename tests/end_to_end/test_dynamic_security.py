"""Dynamic security by `mosquitto_ctrl dynsec`, as it is installed, and files of Mosquitto."""

import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from broker import SECONDS, Broker

MOSQUITTO = "/usr/sbin/mosquitto"
PLUGIN = next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"))


class Control:
    """Administers a broker as a user."""

    def __init__(self, port, user, password):
        self.command = ["mosquitto_ctrl", "-h", "127.0.0.1", "-p", str(port), "-u", user, "-P", password, "dynsec"]

    def __call__(self, *arguments):
        """Runs a command. Returns what it prints, errors too; empty lines and the warning about TLS are left out."""
        done = subprocess.run(
            [*self.command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS
        )
        lines = done.stdout.splitlines()
        warnings = ("Warning: You are running", "This means all of the configuration")
        # Later versions end errors with a full stop.
        return "\n".join(line for line in lines if line and not line.startswith(warnings)).rstrip(".")


def publish(port, user, password, topic="t"):
    """Publishes with mosquitto_pub. Returns what it complains of; empty if all is well."""
    command = ["mosquitto_pub", "-p", str(port), "-V", "mqttv5", "-q", "1", "-t", topic, "-m", "m"]
    if user is not None:
        command += ["-u", user, "-P", password]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS)
    # Nobody subscribes, and mosquitto_pub says so.
    return "".join(line for line in done.stdout.splitlines() if "No matching subscribers" not in line)


def subscribe(port, user, password, topic):
    """Subscribes with mosquitto_sub. Returns what it complains of; empty if the subscription is granted."""
    command = ["mosquitto_sub", "-p", str(port), "-V", "mqttv5", "-q", "1", "-E", "-t", topic, "-u", user, "-P", password]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS)
    return done.stdout


class DynamicSecurity(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="dynamic-security-")
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name) / "dynamic-security.json"

    def broker(self):
        config = f'[dynamic_security]\nfile = "{self.file}"\n'
        config += '[[listener]]\naddress = "127.0.0.1:0"\nallow_anonymous = false\n'
        return Broker("--log", "info", config=config, listen=1)

    def init(self):
        """Makes a file with the user admin by mosquitto_ctrl."""
        command = ["mosquitto_ctrl", "dynsec", "init", self.file, "admin", "adminpass"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=SECONDS)
        self.assertIn("The client 'admin' has been created", done.stdout)

    def test_users_groups_and_roles_are_changed_and_each_change_holds_at_once(self):
        self.init()
        with self.broker() as broker:
            port = broker.port
            control = Control(port, "admin", "adminpass")
            denied, wrong = "All subscription requests were denied", "bad user name or password"

            def may_publish(topic="a/b", password="secret"):
                complaint = publish(port, "bob", password, topic)
                self.assertIn(complaint and "authorized", complaint.lower())
                return not complaint

            self.assertIn(wrong, publish(port, "bob", "secret").lower())
            self.assertEqual(control("createClient", "bob", "-p", "secret", "-c", "bobid"), "")
            self.assertEqual(control("createClient", "bob", "-p", "x"), "createClient: Error: Client already exists")
            self.assertIn(wrong, publish(port, "bob", "secret").lower(), "the Client Identifier is another one")
            self.assertEqual(control("setClientId", "bob"), "")
            self.assertFalse(may_publish())
            self.assertEqual(control("setClientPassword", "bob", "newsecret"), "")
            self.assertIn(wrong, publish(port, "bob", "secret").lower())
            self.assertFalse(may_publish(password="newsecret"))
            self.assertEqual(control("setClientPassword", "bob", "secret"), "")

            self.assertEqual(control("createRole", "writer"), "")
            self.assertEqual(control("addRoleACL", "writer", "publishClientSend", "a/#", "allow", "5"), "")
            self.assertEqual(control("addRoleACL", "writer", "publishClientSend", "a/secret", "deny", "6"), "")
            again = control("addRoleACL", "writer", "publishClientSend", "a/#", "allow", "5")
            self.assertEqual(again, "addRoleACL: Error: ACL with this topic already exists")
            bad = control("addRoleACL", "writer", "publishClientSend", "a#", "allow")
            self.assertEqual(bad, "addRoleACL: Error: Invalid ACL topic")
            self.assertFalse(may_publish())
            self.assertEqual(control("addClientRole", "bob", "writer", "3"), "")
            self.assertTrue(may_publish())
            self.assertFalse(may_publish("a/secret"))
            self.assertFalse(may_publish("b"))
            self.assertEqual(control("addClientRole", "bob", "writer", "3"), "addClientRole: Error: Internal error")
            self.assertEqual(control("addClientRole", "bob", "none"), "addClientRole: Error: Role not found")
            role = "Rolename: writer\n"
            role += "ACLs:     publishClientSend    : deny  : a/secret (priority: 6)\n"
            role += "          publishClientSend    : allow : a/# (priority: 5)"
            self.assertEqual(control("getRole", "writer"), role)

            self.assertIn(denied, subscribe(port, "bob", "secret", "a/#"))
            self.assertEqual(control("createRole", "reader"), "")
            self.assertEqual(control("addRoleACL", "reader", "subscribePattern", "a/#", "allow"), "")
            self.assertEqual(control("createGroup", "staff"), "")
            self.assertEqual(control("addGroupRole", "staff", "reader"), "")
            self.assertIn(denied, subscribe(port, "bob", "secret", "a/#"))
            self.assertEqual(control("addGroupClient", "staff", "bob", "7"), "")
            self.assertEqual(subscribe(port, "bob", "secret", "a/#"), "")
            self.assertIn(denied, subscribe(port, "bob", "secret", "#"))
            again = control("addGroupClient", "staff", "bob")
            self.assertEqual(again, "addGroupClient: Error: Client is already in this group")
            client = "Username: bob\nClientid:\nRoles:    writer (priority: 3)\nGroups:   staff (priority: 7)"
            self.assertEqual(control("getClient", "bob"), client)
            self.assertEqual(control("getGroup", "staff"), "Groupname: staff\nRoles:     reader (priority: -1)\nClients:   bob")
            self.assertEqual(control("listClients"), "admin\nbob")
            self.assertEqual(control("listClients", "1", "1"), "bob")
            self.assertEqual(control("listGroups"), "staff")
            self.assertEqual(control("listRoles"), "admin\nreader\nwriter")
            self.assertEqual(control("removeGroupClient", "staff", "bob"), "")
            self.assertIn(denied, subscribe(port, "bob", "secret", "a/#"))
            self.assertEqual(control("removeGroupRole", "staff", "reader"), "")

            access = "publishClientSend    : deny\npublishClientReceive : allow\nsubscribe            : deny\nunsubscribe          : allow"
            self.assertEqual(control("getDefaultACLAccess"), access)
            self.assertEqual(control("setDefaultACLAccess", "subscribe", "allow"), "")
            self.assertEqual(subscribe(port, "bob", "secret", "#"), "")
            self.assertIn(denied, subscribe(port, "bob", "secret", "$CONTROL/#"))
            self.assertEqual(control("setAnonymousGroup", "staff"), "")
            self.assertEqual(control("getAnonymousGroup"), "staff")
            # Mosquitto 2.0 crashes here.
            forbidden = "deleteGroup: Error: Deleting the anonymous group is forbidden"
            self.assertEqual(control("deleteGroup", "staff"), forbidden)

            self.assertEqual(control("removeRoleACL", "writer", "publishClientSend", "a/secret"), "")
            self.assertTrue(may_publish("a/secret"))
            self.assertEqual(control("disableClient", "bob"), "")
            self.assertIn(wrong, publish(port, "bob", "secret").lower())
            self.assertIn("Disabled: true", control("getClient", "bob"))
            self.assertEqual(control("enableClient", "bob"), "")
            self.assertTrue(may_publish())
            self.assertEqual(control("removeClientRole", "bob", "writer"), "")
            self.assertFalse(may_publish())
            self.assertEqual(control("deleteRole", "writer"), "")
            self.assertEqual(control("getRole", "writer"), "getRole: Error: Role not found")
            self.assertEqual(control("deleteClient", "bob"), "")
            self.assertIn(wrong, publish(port, "bob", "secret").lower())
            for command, kind in [("getClient", "Client"), ("getGroup", "Group"), ("deleteClient", "Client")]:
                self.assertEqual(control(command, "nobody"), f"{command}: Error: {kind} not found")
            log = broker.read_log()
            self.assertIn("createClient", log)
            for secret in ["adminpass", "secret\"", "newsecret", "$7$"]:
                self.assertNotIn(secret, log)
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)

    def test_a_user_who_may_not_administer_gets_nowhere(self):
        self.init()
        with self.broker() as broker:
            admin = Control(broker.port, "admin", "adminpass")
            self.assertEqual(admin("createClient", "bob", "-p", "secret"), "")
            self.assertEqual(admin("setDefaultACLAccess", "subscribe", "allow"), "")
            self.assertEqual(admin("setDefaultACLAccess", "publishClientSend", "allow"), "")
            self.assertEqual(Control(broker.port, "bob", "secret")("listClients"), "Subscribe error: Not authorized")
            self.assertIn("authorized", publish(broker.port, "bob", "secret", "$CONTROL/dynamic-security/v1"))
            self.assertEqual(admin("listClients"), "admin\nbob")

    def test_what_was_answered_is_there_after_kill_9(self):
        self.init()
        names = []
        for crash in range(4):
            with self.broker() as broker:
                broker.expected_code = -signal.SIGKILL
                control = Control(broker.port, "admin", "adminpass")
                self.assertEqual(control("listClients"), "\n".join(["admin", *names]))
                for name, password in [(f"u{crash}a", "one"), (f"u{crash}b", "two")]:
                    self.assertEqual(control("createClient", name, "-p", password), "")
                    names.append(name)
                broker.signal(signal.SIGKILL)
                broker.wait()
        with self.broker() as broker:
            self.assertEqual(Control(broker.port, "admin", "adminpass")("listClients"), "\n".join(["admin", *names]))
            self.assertIn("authorized", publish(broker.port, "u3b", "two").lower())
            self.assertIn("bad user name", publish(broker.port, "u3b", "one").lower())

    def test_a_missing_file_is_made_with_an_administrator(self):
        with self.broker() as broker:
            password_file = Path(f"{self.file}.pw")
            self.assertEqual(password_file.stat().st_mode & 0o777, 0o600)
            user, password = password_file.read_text().split()
            control = Control(broker.port, user, password)
            self.assertEqual(control("listClients"), "admin")
            roles = ["broker-admin", "client", "dynsec-admin", "super-admin", "sys-notify", "sys-observe", "topic-observe"]
            self.assertEqual(control("listRoles").splitlines(), roles)
            self.assertEqual(control("createClient", "bob", "-p", "secret"), "")
            self.assertEqual(control("addClientRole", "bob", "client"), "")
            self.assertEqual(publish(broker.port, "bob", "secret"), "")
            self.assertNotIn(password, broker.read_log())

    def test_mosquitto_and_we_read_what_the_other_has_written(self):
        self.init()
        self.file.chmod(0o666)
        self.file.parent.chmod(0o777)
        with self.broker() as broker:
            control = Control(broker.port, "admin", "adminpass")
            self.assertEqual(control("createClient", "ours", "-p", "secret"), "")
            self.assertEqual(control("createRole", "r"), "")
            self.assertEqual(control("addRoleACL", "r", "publishClientSend", "t", "allow"), "")
            self.assertEqual(control("addClientRole", "ours", "r"), "")
        # Mosquitto gives its rights up, and could not read a file of ours.
        self.file.chmod(0o666)
        with Mosquitto(self.file) as port:
            control = Control(port, "admin", "adminpass")
            self.assertEqual(control("listClients"), "admin\nours")
            self.assertEqual(publish(port, "ours", "secret"), "")
            self.assertIn("authorized", publish(port, "ours", "secret", "u").lower())
            self.assertEqual(control("createClient", "theirs", "-p", "secret"), "")
            self.assertEqual(control("addClientRole", "theirs", "r", "4"), "")
            ours_by_mosquitto = control("getClient", "theirs")
        with self.broker() as broker:
            control = Control(broker.port, "admin", "adminpass")
            self.assertEqual(control("listClients"), "admin\nours\ntheirs")
            self.assertEqual(control("getClient", "theirs"), ours_by_mosquitto)
            for user in ("ours", "theirs"):
                self.assertEqual(publish(broker.port, user, "secret"), "")
                self.assertIn("authorized", publish(broker.port, user, "secret", "u").lower())


class Mosquitto:
    """Mosquitto with its plugin. The context is the port."""

    def __init__(self, file):
        self.folder = tempfile.TemporaryDirectory(prefix="mosquitto-")
        config = Path(self.folder.name) / "mosquitto.conf"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\nplugin {PLUGIN}\nplugin_opt_config_file {file}\n"
        )
        self.process = subprocess.Popen([MOSQUITTO, "-c", config], stderr=subprocess.DEVNULL)

    def __enter__(self):
        end = time.monotonic() + SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                break
            except ConnectionRefusedError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        return self.port

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(SECONDS)
        self.folder.cleanup()
