"""The wall clock is set back and forth, while the broker runs and while it is down. Sessions and messages expire when their
time has passed, and not because the clock was set.

The broker runs with libfaketime, which adds the number in a file to the time of day. The monotonic clock is not changed.
"""

import datetime
import json
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from broker import BINARY, SECONDS, Broker, wait_until
from client import V5, Client, properties, unique
from paho.mqtt.packettypes import PacketTypes

MINUTE, HOUR, DAY = 60, 3600, 86400
YEARS = 10 * 365 * DAY
BEFORE_1970 = -60
LONGEST = 0xFFFFFFFE
"""In seconds. One more would mean "never", and then the store would not record when a client left."""
LONG = "[store]\nlongest_downtime_days = 36500\n"


class Machine:
    """A data directory and a clock, for one broker after the other; to be used in a `with` statement."""

    def __init__(self, config=None):
        self.config = config
        self.folder = tempfile.TemporaryDirectory(prefix="goldcrest-clock-")
        self.data = Path(self.folder.name) / "data"
        self.offset = Path(self.folder.name) / "offset"
        self.jump(0)
        self.broker = None

    def jump(self, seconds):
        """Sets the clock this many seconds ahead of the right time."""
        new = self.offset.with_suffix(".new")
        new.write_text(f"{seconds:+.0f}\n")
        new.rename(self.offset)

    def jump_to_1970(self, seconds=MINUTE):
        self.jump(seconds - time.time())

    def start(self):
        library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        clock = [f"LD_PRELOAD={library}", f"FAKETIME_TIMESTAMP_FILE={self.offset}", "FAKETIME_NO_CACHE=1"]
        under = ["env", *clock, "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1"]
        self.broker = Broker("--data-dir", self.data, config=self.config, under=under)
        return self.broker

    def stop(self, number):
        """Stops the broker, and returns its log."""
        broker, self.broker = self.broker, None
        broker.expected_code = -number if number == signal.SIGKILL else 0
        broker.signal(number)
        broker.wait()
        log = broker.read_log()
        # libfaketime leaves a file of a killed process, which would disturb a later process with the same id.
        for left in Path("/dev/shm").glob(f"*faketime*_{broker.process.pid}"):
            left.unlink()
        broker.__exit__(None)
        return log

    def restart(self, number=signal.SIGKILL):
        log = self.stop(number)
        self.start()
        return log

    def store(self, command):
        """The output of a `goldcrest store` command."""
        done = [BINARY, "store", command, "--data-dir", self.data]
        return subprocess.run(done, stdout=subprocess.PIPE, text=True, check=True).stdout

    def wait_until_recorded(self):
        """Waits until the store was last written at the time that the clock shows now."""
        shows = time.time() + float(self.offset.read_text())

        def is_recorded():
            recorded = re.search(r"written last +(\S+),", self.store("stats"))[1]
            # A clock before 1970 is recorded as no time at all.
            seconds = 0 if recorded == "never" else datetime.datetime.fromisoformat(recorded).timestamp()
            return abs(seconds - shows) <= MINUTE

        wait_until(is_recorded, "the jump is recorded")

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, failure, *_):
        if self.broker and failure:
            print(self.broker.read_log())
        if self.broker:
            self.stop(signal.SIGTERM if failure is None else signal.SIGKILL)
        self.folder.cleanup()


class Things:
    """Sessions, messages and a Will that expire after some time, and others that never do. All are recorded in the store."""

    MESSAGES = {"2 h": 2 * HOUR, "3 days": 3 * DAY, "100 years": 100 * 365 * DAY, "always": None}
    SESSIONS = {"1-h": HOUR, "2-days": 2 * DAY, "always": LONGEST}
    WILL_DELAY = 90 * MINUTE

    def __init__(self, test, machine):
        self.test, broker = test, machine.broker
        self.begun = time.monotonic()
        with self.session(broker, "watcher", LONGEST) as watcher:
            watcher.subscribe("queued/#", 1)
            watcher.subscribe("will", 1)
        # The client of this Session leaves before messages are sent to it.
        Raw(broker.port, "session-watcher", LONGEST).leave()
        for name, expiry in self.SESSIONS.items():
            Raw(broker.port, f"session-{name}", expiry).leave()
        Raw(broker.port, "session-lost", LONGEST, will_delay=self.WILL_DELAY).leave(with_will=True)
        with Client(broker.port, V5) as publisher:
            for name, expiry in self.MESSAGES.items():
                expires = {} if expiry is None else {"MessageExpiryInterval": expiry}
                publisher.publish(f"queued/{name}", name, qos=1, **expires)
                publisher.publish(f"retained/{name}", name, qos=1, retain=True, **expires)
            publisher.publish("after", "x", qos=1, retain=True)
        wait_until(lambda: self.is_recorded(machine.store("dump")), "it is recorded who is away")

    def is_recorded(self, dump):
        """Whether the store knows that all clients have left. All else was acknowledged."""
        records = map(json.loads, dump.splitlines())
        sessions = {record["client_id"]: record for record in records if record["kind"] == "Session"}
        all_left = all(session["ends"] is not None for session in sessions.values())
        return all_left and len(sessions) == len(self.SESSIONS) + 2 and sessions["session-lost"]["will_due"] is not None

    @staticmethod
    def session(broker, name, expiry):
        return Client(broker.port, V5, f"session-{name}", keep_session=True, SessionExpiryInterval=expiry)

    def check_remaining(self, message, passed):
        """Checks that a message tells the right Message Expiry Interval [MQTT-3.3.2-6]: beside `passed` seconds, the test
        itself took time."""
        expiry = self.MESSAGES[message.payload.decode()]
        remaining = getattr(message.properties, "MessageExpiryInterval", None)
        if expiry is None:
            self.test.assertIsNone(remaining)
        else:
            ran = time.monotonic() - self.begun
            self.test.assertLessEqual(remaining, expiry - passed + 1, message.topic)
            self.test.assertGreaterEqual(remaining, expiry - passed - ran - 1, message.topic)

    def alive(self, passed):
        return [name for name, expiry in self.MESSAGES.items() if expiry is None or expiry > passed]

    def check_retained(self, broker, passed):
        """Checks by retained messages that for the broker `passed` seconds have gone by, beside those that the test took."""
        with Client(broker.port, V5) as reader:
            reader.subscribe("retained/#", 1)
            reader.subscribe("after", 1)
            got = {}
            while (message := reader.next()).topic != "after":
                got[message.payload.decode()] = message
        self.test.assertEqual(sorted(got), sorted(self.alive(passed)))
        for message in got.values():
            self.check_remaining(message, passed)

    def check(self, broker, passed):
        """The same by retained messages, Sessions and the Will. This uses them up."""
        self.check_retained(broker, passed)
        with Client(broker.port, V5) as publisher:
            for name, expiry in self.SESSIONS.items():
                with self.session(broker, name, expiry) as session:
                    self.test.assertEqual(session.session_present, expiry > passed, name)
            with self.session(broker, "watcher", LONGEST) as watcher:
                self.test.assertTrue(watcher.session_present)
                expected = self.alive(passed) + ["gone"] * (passed >= self.WILL_DELAY)
                got = [watcher.next() for _ in expected]
                self.test.assertEqual(sorted(message.payload.decode() for message in got), sorted(expected))
                for message in got:
                    if message.topic != "will":
                        self.check_remaining(message, passed)
                watcher.assert_nothing_for("will", publisher)


class Running(unittest.TestCase):
    def test_jumps_of_the_clock_expire_nothing_while_the_broker_runs(self):
        with Machine() as machine:
            broker = machine.broker
            things = Things(self, machine)
            watcher = Client(broker.port, V5)
            watcher.subscribe("gone/#", 1)
            clients = [Client(broker.port, V5) for _ in range(4)]
            # Both connections are lost at once. The Will of the second client comes when its Session ends.
            since = time.monotonic()
            for name, delay, expiry in (("delay", 3, 3600), ("session", 3600, 4)):
                given = properties(PacketTypes.WILLMESSAGE, WillDelayInterval=delay)
                will = {"topic": f"gone/{name}", "payload": b"x", "qos": 1, "properties": given}
                client = Client(broker.port, V5, unique("lost"), True, SessionExpiryInterval=expiry, will=will)
                client.drop()
            with Client(broker.port, V5, "soon", keep_session=True) as soon:
                soon.subscribe("soon", 1)
            for retain in (False, True):
                clients[0].publish("soon", "x", 1, retain, MessageExpiryInterval=2)
            silent = Raw(broker.port, "silent", 0, keep_alive=1)

            for jump in (DAY, -DAY, YEARS, None, 0, -YEARS, 40 * DAY):
                machine.jump_to_1970() if jump is None else machine.jump(jump)
                for client in clients:
                    client.publish("tick", "x", qos=1, retain=True)
                things.check_retained(broker, 0)

            # Both Wills come, and neither comes early.
            came = {message.topic: message.timestamp - since for message in (watcher.next(), watcher.next())}
            self.assertEqual(sorted(came), ["gone/delay", "gone/session"])
            self.assertGreater(came["gone/delay"], 3 - 0.01)
            self.assertGreater(came["gone/session"], 4 - 0.01)
            lived, said = silent.wait_for_end()
            self.assertEqual(said[:3], b"\xe0" + said[1:2] + b"\x8d", "Keep Alive timeout")
            self.assertGreater(lived, 1.5 - 0.01)
            with Client(broker.port, V5, "soon", keep_session=True) as soon:
                self.assertTrue(soon.session_present)
                soon.assert_nothing_for("soon", clients[0])
            with Client(broker.port, V5) as reader:
                reader.subscribe("soon", 1)
                reader.assert_nothing_for("soon", clients[0])
            for client in (watcher, *clients):
                self.assertTrue(client.ends.empty() and client.paho.is_connected(), "nobody is disconnected")
                client.__exit__()
            things.check(broker, 0)

    def test_a_jump_of_the_clock_does_not_count_as_time_at_the_next_start(self):
        """A bug of the past: a broker that wrote nothing between the jump and its end took the jump for time that had passed."""
        for number in (signal.SIGKILL, signal.SIGTERM):
            with self.subTest(signal=number), Machine() as machine:
                things = Things(self, machine)
                machine.jump(DAY)
                machine.wait_until_recorded()
                machine.restart(number)
                things.check(machine.broker, 0)


class Restarting(unittest.TestCase):
    def test_the_time_while_the_broker_is_down_counts(self):
        for number in (signal.SIGKILL, signal.SIGTERM):
            with self.subTest(signal=number), Machine() as machine:
                things = Things(self, machine)
                machine.stop(number)
                machine.jump(80 * MINUTE)
                machine.start()
                things.check_retained(machine.broker, 80 * MINUTE)
                machine.stop(number)
                machine.jump(5 * HOUR)
                machine.start()
                things.check(machine.broker, 5 * HOUR)

    def test_after_many_days_everything_with_an_expiry_has_expired(self):
        with Machine() as machine:
            things = Things(self, machine)
            machine.stop(signal.SIGKILL)
            machine.jump(300 * DAY)
            machine.start()
            things.check(machine.broker, 300 * DAY)

    def test_a_clock_that_is_behind_at_the_start_expires_nothing(self):
        """The clock is behind at the start. When it is set right while the broker runs, and at the next starts, nothing
        expires either; from then on the time between stop and start counts again."""
        for behind in (None, BEFORE_1970, -DAY, -YEARS):
            with self.subTest(behind=behind), Machine() as machine:
                things = Things(self, machine)
                machine.stop(signal.SIGKILL)
                if behind in (None, BEFORE_1970):
                    machine.jump_to_1970(behind or MINUTE)
                else:
                    machine.jump(behind)
                broker = machine.start()
                self.assert_told(broker, "behind")
                self.go_on(machine, things)

    def test_a_clock_that_is_years_ahead_at_the_start_expires_nothing(self):
        with Machine() as machine:
            things = Things(self, machine)
            machine.stop(signal.SIGKILL)
            machine.jump(YEARS)
            self.assert_told(machine.start(), "longest_downtime_days")
            things.check_retained(machine.broker, 0)
            # The clock is still as wrong as before.
            machine.restart()
            self.go_on(machine, things)

    def test_the_longest_believable_downtime_can_be_configured(self):
        with Machine(config=LONG) as machine:
            things = Things(self, machine)
            machine.stop(signal.SIGKILL)
            machine.jump(YEARS)
            machine.start()
            things.check(machine.broker, YEARS)
        for days in (0, 2):
            with self.subTest(days=days), Machine(config=f"[store]\nlongest_downtime_days = {days}\n") as machine:
                things = Things(self, machine)
                machine.stop(signal.SIGKILL)
                machine.jump((days + 1) * DAY)
                machine.start()
                things.check(machine.broker, 0)

    def go_on(self, machine, things):
        """The clock is wrong here. It is set right while the broker runs, to two and a half hours after the last time when
        it was right."""
        things.check_retained(machine.broker, 0)
        right = 150 * MINUTE
        machine.jump(right)
        machine.wait_until_recorded()
        things.check_retained(machine.broker, 0)
        machine.restart()
        things.check_retained(machine.broker, 0)
        machine.stop(signal.SIGKILL)
        machine.jump(right + 100 * MINUTE)
        machine.start()
        things.check(machine.broker, 100 * MINUTE)

    def assert_told(self, broker, why):
        log = broker.read_log()
        self.assertIn("the clock of this machine is not trusted", log)
        self.assertIn(why, log)


class Raw:
    """A client that closes its connection when the broker has received its last packet. CONNECT has no Clean Start."""

    def __init__(self, port, client_id, expiry, keep_alive=0, will_delay=None):
        given = properties(PacketTypes.CONNECT, SessionExpiryInterval=expiry).pack()
        flags, payload = 0, text(client_id)
        if will_delay is not None:
            flags |= 0x0C
            payload += properties(PacketTypes.WILLMESSAGE, WillDelayInterval=will_delay).pack() + text("will") + text("gone")
        body = text("MQTT") + bytes([5, flags]) + keep_alive.to_bytes(2) + given + payload
        self.since = time.monotonic()
        self.socket = socket.create_connection(("127.0.0.1", port), SECONDS)
        self.socket.sendall(bytes([0x10, len(body)]) + body)
        connack = self.socket.recv(100)
        assert connack[0] == 0x20 and connack[3] == 0, connack

    def leave(self, with_will=False):
        self.socket.sendall(b"\xe0\1\4" if with_will else b"\xe0\0")
        self.wait_for_end()

    def wait_for_end(self):
        """Waits until the broker closes the connection. Returns after how many seconds, and the last bytes."""
        said = b""
        while more := self.socket.recv(100):
            said += more
        self.socket.close()
        return time.monotonic() - self.since, said


def text(value):
    return len(value).to_bytes(2) + value.encode()
