"""Starts with a store, and signals to the process: while it reads the store, while it rewrites the store, and while the disk
hangs."""

import os
import pty
import resource
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from broker import BINARY, SECONDS, wait_until
from client import V5, Client

MESSAGES, BYTES = 700, 64 << 10
"""This many retained messages of this size fill a few files of the store."""
SLOW_READS = ["-e", "trace=pread64", "-e", "inject=pread64:delay_enter=20000"]
"""In microseconds. Each file of the store then takes more than a second to read, and all together a few seconds."""
HANGING_READS = ["-e", "trace=pread64", "-e", "inject=pread64:delay_enter=600000000:when=40+"]
SLOW_WRITES = ["-e", "trace=pwrite64,pwritev", "-e", "inject=pwrite64,pwritev:delay_enter=200000"]


class Process:
    """A broker that may never come to listen, to be used in a `with` statement."""

    def __init__(self, folder, *options, strace=None, **how):
        self.log_path = Path(folder) / "log"
        self.port, self.http_port = free_port(), free_port()
        command = [BINARY, "--data-dir", data(folder), "--listen", f"127.0.0.1:{self.port}"]
        command += ["--http", f"127.0.0.1:{self.http_port}", *options]
        if strace:
            command = ["strace", "-f", "-qq", "-o", "/dev/null", *strace, *command]
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(command, **{"stdout": log, "stderr": log, **how})
        self.pid = self.process.pid
        if strace:
            wait_until(lambda: child_of(self.process.pid, "goldcrest"), "strace runs it")
            self.pid = child_of(self.process.pid, "goldcrest")

    @property
    def log(self):
        """The whole log so far."""
        return self.log_path.read_text()

    def says(self, words):
        wait_until(lambda: words in self.log or not self.is_running(), f"it says {words!r}")
        assert words in self.log, self.log

    def signal(self, number):
        os.kill(self.pid, number)

    def is_running(self):
        """False once the main thread has ended, even if other threads hang in a system call."""
        return state(Path(f"/proc/{self.pid}/stat")) not in "ZX"

    def threads(self):
        """The names of the broker's threads."""
        return {name_beside(path) for path in Path(f"/proc/{self.pid}/task").glob("*/stat")} - {None}

    def held(self):
        """The names of the threads that strace has stopped in a system call at this moment."""
        stats = [path for path in Path(f"/proc/{self.pid}/task").glob("*/stat") if state(path) == "t"]
        return {name_beside(stat) for stat in stats}

    def hangs(self):
        """Whether strace keeps one of the broker's threads stopped for more than a moment."""
        looks = []
        for _ in range(20):
            looks.append(self.held())
            time.sleep(0.01)
        return bool(set.intersection(*looks))

    def wait(self):
        """Waits for the end of the process, and returns the exit code."""
        return self.process.wait(SECONDS)

    def accepts(self):
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def get(self, path):
        """Status and body of a response; `None` if there is no answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except urllib.error.URLError:
            return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.is_running():
            self.signal(signal.SIGKILL)
        self.process.kill()
        self.process.wait()


def state(stat):
    """The state of a process or thread as a letter; X once it has ended."""
    try:
        return stat.read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def name_beside(stat):
    """The name of a process or thread."""
    try:
        return stat.with_name("comm").read_text().rstrip()
    except (FileNotFoundError, ProcessLookupError):
        return None


def data(folder):
    return Path(folder) / "data"


def free_port():
    """A port that the system chose a moment ago, and that it chooses again only after many others."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def child_of(parent, name):
    """The process that `parent` runs, once it has the name `name`; before, `None`."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        try:
            if Path(f"/proc/{child}/comm").read_text() == name + "\n":
                return int(child)
        except (FileNotFoundError, ProcessLookupError):
            # strace first tests its abilities in processes that end soon.
            pass
    return None


def check(folder):
    done = subprocess.run([BINARY, "store", "check", "--data-dir", data(folder)], capture_output=True, text=True)
    return done.stdout


class Boot(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="goldcrest-boot-")
        cls.addClassCleanup(cls.folder.cleanup)
        with Process(cls.folder.name, "--shards", "2") as process:
            wait_until(process.accepts, "it listens")
            with Client(process.port, V5) as client:
                for number in range(MESSAGES - 1):
                    client.paho.publish(f"large/{number}", bytes([number % 251]) * BYTES, 1, True)
                client.publish(f"large/{MESSAGES - 1}", bytes([(MESSAGES - 1) % 251]) * BYTES, 1, True)
            # Messages on their way between shards arrive: the number of shards can't be changed before.
            with Client(process.port, V5) as client:
                client.subscribe("large/#", 0)
                client.next_payloads(MESSAGES)
            process.signal(signal.SIGTERM)
            assert process.wait() == 0

    def assert_as_it_was(self):
        """Checks that the store is whole and has two shards."""
        said = check(self.folder.name)
        self.assertIn(" of 2 shards\n", said)
        self.assertTrue(said.endswith("sound\n"), said)
        with Process(self.folder.name) as process:
            wait_until(process.accepts, "it listens")
            with Client(process.port, V5) as client:
                client.subscribe("large/#", 0)
                got = {client.next().topic for _ in range(MESSAGES)}
            self.assertEqual(len(got), MESSAGES)
            process.signal(signal.SIGTERM)
            self.assertEqual(process.wait(), 0)

    def test_while_the_store_is_read_probes_say_so_and_sigterm_ends_the_start(self):
        with Process(self.folder.name, strace=SLOW_READS) as process:
            wait_until(lambda: process.get("/live"), "it answers HTTP")
            self.assertEqual(process.get("/live")[0], 200)
            status, reason = process.get("/ready")
            self.assertEqual(status, 503)
            self.assertIn("the store is read", reason)
            self.assertFalse(process.accepts(), "nobody is served yet")
            process.signal(signal.SIGHUP)
            process.says("SIGHUP is ignored")
            self.assertFalse(process.accepts(), "it reads on")
            process.signal(signal.SIGTERM)
            self.assertEqual(process.wait(), 0)
            self.assertNotIn("listening on", process.log)
        self.assert_as_it_was()

    def test_all_shards_are_restored_at_the_same_time(self):
        with Process(self.folder.name, strace=SLOW_READS) as process:
            wait_until(lambda: process.held() >= {"shard-0", "shard-1"}, "both read at once")
            self.assertFalse(process.accepts(), "nobody is served before all are restored")
            process.signal(signal.SIGTERM)
            self.assertEqual(process.wait(), 0)

    def test_sigterm_ends_a_change_of_the_number_of_shards(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with Process(self.folder.name, "--shards", "3", strace=SLOW_WRITES) as process:
                process.says("shards: 3, as configured; the store has been made for 2, and is written anew")
                process.signal(number)
                self.assertEqual(process.wait(), 0)
                self.assertNotIn("listening on", process.log)
                self.assertNotIn("is one of 3 from now on", process.log)
        self.assert_as_it_was()

    def test_a_second_signal_ends_a_start_with_a_hanging_disk_at_once(self):
        with Process(self.folder.name, strace=HANGING_READS) as process:
            wait_until(process.hangs, "a read hangs")
            process.signal(signal.SIGTERM)
            process.says("a second signal ends at once")
            self.assertTrue(process.is_running())
            process.signal(signal.SIGTERM)
            wait_until(lambda: not process.is_running(), "it has ended")
        self.assert_as_it_was()

    def test_a_second_signal_ends_a_stop_with_a_hanging_disk_at_once(self):
        with tempfile.TemporaryDirectory(prefix="goldcrest-boot-") as folder:
            # New files are made meanwhile. Their syncs are not those of the file that records are written to.
            hangs = ["-P", f"{data(folder)}/00000001.segment", "-e", "trace=fdatasync,fsync"]
            hangs += ["-e", "inject=fdatasync,fsync:delay_enter=600000000:when=3+"]
            with Process(folder, strace=hangs) as process:
                wait_until(process.accepts, "it listens")
                with Client(process.port, V5) as client:
                    # Publishes until an acknowledgement does not come.
                    for number in range(10):
                        info = client.paho.publish("t", str(number), 1, True)
                        info.wait_for_publish(1)
                        if not info.is_published():
                            break
                    self.assertFalse(info.is_published(), "no sync hangs")
                    process.signal(signal.SIGTERM)
                    process.says("a second signal ends at once")
                # All clients have left by then, and only the store is still being closed.
                wait_until(lambda: not any(name.startswith("shard-") for name in process.threads()), "no shard runs")
                self.assertTrue(process.is_running())
                process.signal(signal.SIGINT)
                wait_until(lambda: not process.is_running(), "it has ended")

    def test_a_store_keeps_its_number_of_shards_on_fewer_cores(self):
        one = {next(iter(os.sched_getaffinity(0)))}
        before = {path: path.stat().st_ino for path in data(self.folder.name).glob("*.segment")}
        how = {"preexec_fn": lambda: os.sched_setaffinity(0, one)}
        with Process(self.folder.name, **how) as process:
            wait_until(process.accepts, "it listens")
            self.assertIn("goldcrest_shards 2\n", process.get("/metrics")[1])
            process.signal(signal.SIGTERM)
            self.assertEqual(process.wait(), 0)
            told = "shards: 2, as the store has been made for, and not 1 for the cores that may be used (1)"
            self.assertIn(told, process.log)
        # The files with messages are the same files as before.
        after = {path: path.stat().st_ino for path in data(self.folder.name).glob("*.segment")}
        self.assertGreaterEqual(len(before.items() & after.items()), MESSAGES * BYTES // (16 << 20))
        self.assert_as_it_was()
        with tempfile.TemporaryDirectory(prefix="goldcrest-boot-") as folder:
            # A new store gets a shard for each core, and a broker without a store does so at each start.
            for options, words in (((), "shards: 1, for the cores that may be used (1)"), (("--shards", "5"), "5, as configured")):
                with Process(folder, *options, **how) as process:
                    process.says(words)
                    wait_until(process.accepts, "it listens")
                    process.signal(signal.SIGTERM)
                    self.assertEqual(process.wait(), 0)
            self.assertIn(" of 5 shards\n", check(folder))

    def test_a_closed_terminal_does_not_end_the_broker(self):
        with tempfile.TemporaryDirectory(prefix="goldcrest-boot-") as folder:
            ours, theirs = pty.openpty()

            def take_terminal():
                os.setsid()
                os.close(os.open(os.ttyname(0), os.O_RDWR))

            how = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "preexec_fn": take_terminal}
            with Process(folder, **how) as process:
                os.close(theirs)
                wait_until(process.accepts, "it listens")
                os.close(ours)
                for _ in range(3):
                    with Client(process.port, V5) as client:
                        client.publish("t", "x", 1, True)
                self.assertTrue(process.is_running())
                process.signal(signal.SIGTERM)
                self.assertEqual(process.wait(), 0)

    def test_a_limit_on_the_size_of_files_is_handled_as_a_full_disk(self):
        """The signal SIGXFSZ once killed the broker."""
        with tempfile.TemporaryDirectory(prefix="goldcrest-boot-") as folder:
            limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
            with Process(folder, preexec_fn=limit) as process:
                wait_until(process.accepts, "it listens")
                wait_until(lambda: process.get("/ready")[0] == 503, "the store has no room")
                self.assertIn("File too large", process.get("/ready")[1])
                with Client(process.port, V5) as client:
                    client.subscribe("t", 0)
                    client.publish("t", "x", 0)
                    self.assertEqual(client.next().payload, b"x")
                process.signal(signal.SIGTERM)
                self.assertEqual(process.wait(), 0)
