"""One run of an attack: a broker under a bound of memory, an honest pair of clients, and the attacking crowds."""

import ctypes
import itertools
import multiprocessing
import re
import signal
import socket
import tempfile
import time
from pathlib import Path

import crowd
import honest
from broker import Broker
from certificates import Authority
from confined import AddressSpace, Cgroup, sockets, status, unused

fork = multiprocessing.get_context("fork")

START, STOP = 45, 10
"""The seconds that a start and a stop may take."""
PAIR_STARTS = 20
ATTACKERS_GO = 10
EACH = 0.02
"""The seconds between two measurements of the broker's memory. Each reads the highest mark so far."""
METRICS_EACH = 1
PR_SET_PDEATHSIG = 1
DISK = "/var/tmp"
"""A folder on a disk even where /tmp is in memory, which would count as memory of the broker."""


class Died(Exception):
    """The broker has ended."""


def first_and_bound_to_parent():
    """For the process of the broker: it gets priority over others on this machine, where that is allowed, and ends with this
    process."""
    crowd.be_nice(-10)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Confined(Broker):
    """The gateway's program under a bound of memory."""

    def __init__(self, *arguments, **how):
        def too_slow(*_):
            raise AssertionError(f"the broker did not start within {START} s")

        signal.signal(signal.SIGALRM, too_slow)
        signal.alarm(START)
        try:
            super().__init__("--http", "127.0.0.1:0", *arguments, preexec_fn=first_and_bound_to_parent, **how)
        except BaseException:
            if hasattr(self, "process"):
                self.kill()
            raise
        finally:
            signal.alarm(0)

    def kill(self):
        """Kills the broker at once. Returns how it had ended before, if it had."""
        self.process.poll()
        self.process.kill()
        return self.process.wait()

    def stop(self):
        """Stops the broker, and returns its exit code, or None if it had to be killed."""
        self.signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP)
        except Exception:
            self.kill()
            return None

    def close(self):
        self.process.stdout.close()
        self.log.close()
        self.folder.cleanup()


class Arena:
    """The broker, the honest pair and the tools of an attack."""

    def __init__(self, attack, limit, shards, store, parent, short, config):
        self.attack, self.shards, self.short = attack, shards, short
        self.seconds = 3 if short else attack.seconds
        self.hold_seconds = 0.5 if short else 2
        self.folder = tempfile.TemporaryDirectory(prefix="goldcrest-memory-", dir=DISK if Path(DISK).is_dir() else None)
        self.arguments = ["--shards", str(shards)]
        if store == "disk":
            self.arguments += ["--data-dir", str(Path(self.folder.name) / "store")]
        self.config = config
        self.bounds = Cgroup(parent, limit) if parent else AddressSpace(unused_without_clients(self.arguments, config), limit)
        self.broker = None
        self.crowds, self.counts = [], {}
        self.leave_now = fork.Event()
        self.pair = self.latencies = None
        self.largest, self.sockets, self.samples = 0, 0, {}
        self.metrics_at = 0
        self.is_restarted = False
        self.authority = None
        self.notes = []

    def scaled(self, number):
        """Scales a number of the full version down to the version of this run."""
        return max(1, number // 4) if self.short else number

    # Functions for the broker.

    def start(self, listen="127.0.0.1:0"):
        config, listen = self.config, (listen,)
        if self.attack.transports:
            tables = [f'[[listener]]\naddress = "{listen[0]}"\n', *map(self.table, self.attack.transports)]
            config, listen = "".join([config or "", *tables]), len(tables)
        self.broker = Confined(*self.arguments, config=config, listen=listen, under=self.bounds.under())
        places = [("127.0.0.1", port) for port in self.broker.ports]
        self.address, self.over = places[0], dict(zip(self.attack.transports, places[1:]))
        """Where MQTT over TCP is spoken, and where the other transports of the attack."""
        self.http = ("127.0.0.1", self.broker.http_port)

    def table(self, transport):
        """A listener of the configuration with this transport."""
        if transport == "ws":
            return '[[listener]]\naddress = "127.0.0.1:0"\ntransport = "ws"\n'
        self.authority = self.authority or Authority()
        return self.authority.table(transport, self.authority.issue("server", "localhost"))

    def restart(self):
        """Kills the broker and starts it again under the same bound. Returns how long the start took."""
        self.look()
        self.broker.kill()
        self.broker.close()
        started = time.monotonic()
        self.is_restarted = True
        self.start(f"127.0.0.1:{self.address[1]}")
        self.notes.append(f"started again in {time.monotonic() - started:.1f} s")

    def look(self):
        """Notes the broker's memory, and raises `Died` if the broker has ended."""
        largest = status(self.broker.process.pid, "VmHWM")
        self.largest = max(self.largest, largest or 0)
        self.sockets = max(self.sockets, sockets())
        if self.broker.process.poll() is not None:
            raise Died
        now = time.monotonic()
        if now >= self.metrics_at:
            self.read_metrics(0.3)
            self.metrics_at = time.monotonic() + METRICS_EACH

    def read_metrics(self, seconds):
        """Reads the metrics. Returns whether the broker answered."""
        try:
            self.samples = metrics(self.http, seconds)
            return True
        except OSError:
            return False

    # Functions for attackers.

    def crowd(self, client, count=None, processes=2, at_once=None, to=None, **options):
        """Starts clients: `client(number)` is a generator as crowd.py describes. There are `count` clients or, without a
        count, a new one whenever one has ended. `at_once` clients are connected at the same time, by default all."""
        at_once = at_once or count
        processes = min(processes, at_once)
        share = -(-at_once // processes)
        for first in range(processes):
            numbers = range(first, count, processes) if count else itertools.count(first, processes)
            done, answers = fork.Event(), fork.SimpleQueue()
            work = (to or self.address, map(client, numbers), share, options, done, self.leave_now, answers)
            process = fork.Process(target=crowd.run, args=work, daemon=True)
            process.start()
            self.crowds.append((process, done, answers))

    def wait(self, seconds=None):
        """Waits until all attackers have nothing more to do, or for this many seconds, by default those of the attack."""
        end = time.monotonic() + (seconds or self.seconds)
        while time.monotonic() < end and not all(done.is_set() for _, done, _ in self.crowds):
            self.look()
            time.sleep(EACH)

    def hold(self):
        end = time.monotonic() + self.hold_seconds
        while time.monotonic() < end:
            self.look()
            time.sleep(EACH)

    def leave(self):
        """Closes all attackers at once without DISCONNECT, and notes their counts."""
        self.leave_now.set()
        end = time.monotonic() + ATTACKERS_GO
        for process, _, answers in self.crowds:
            while process.is_alive() and answers.empty() and time.monotonic() < end:
                time.sleep(0.005)
            if not answers.empty():
                for name, count in answers.get().items():
                    self.counts[name] = self.counts.get(name, 0) + count
            process.join(1)
            if process.is_alive():
                process.kill()
                process.join()
        self.crowds = []
        self.leave_now = fork.Event()

    # Functions for the honest pair.

    def start_pair(self):
        ready, stop, broken, answers = fork.Event(), fork.Event(), fork.Event(), fork.SimpleQueue()
        process = fork.Process(target=honest.run, args=(self.address, self.shards, ready, stop, broken, answers), daemon=True)
        process.start()
        self.pair = process, stop, broken, answers
        end = time.monotonic() + PAIR_STARTS
        while not ready.is_set():
            self.look()
            if time.monotonic() > end:
                self.notes.append("the honest pair could not connect")
                return
            time.sleep(EACH)

    def stop_pair(self):
        """Stops the pair when its last messages have arrived, or at once if the broker has ended, and notes its latencies."""
        if not self.pair:
            return
        process, stop, broken, answers = self.pair
        stop.set()
        end = time.monotonic() + honest.DRAIN + 5
        while process.is_alive() and answers.empty() and time.monotonic() < end:
            if self.broker.process.poll() is not None:
                broken.set()
            time.sleep(EACH)
        self.pair = None
        self.latencies = None if answers.empty() else answers.get()
        process.kill()
        process.join()

    def close(self):
        self.leave_now.set()
        for process in [each[0] for each in self.crowds] + ([self.pair[0]] if self.pair else []):
            process.kill()
            process.join()
        if self.broker:
            self.broker.kill()
            self.broker.close()
        self.bounds.close()
        self.folder.cleanup()
        if self.authority:
            self.authority.folder.cleanup()


def unused_without_clients(arguments, config):
    """The memory that a broker without clients reserves and does not use. This broker keeps nothing on disk, so that the run
    finds no store."""
    arguments = arguments[: arguments.index("--data-dir")] if "--data-dir" in arguments else arguments
    broker = Confined(*arguments, config=config)
    try:
        return unused(broker.process.pid)
    finally:
        broker.kill()
        broker.close()


def metrics(address, seconds):
    """The metrics by name and labels. Raises OSError if there is no answer in time."""
    end = time.monotonic() + seconds
    with socket.create_connection(address, seconds) as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while True:
            sock.settimeout(max(0.001, end - time.monotonic()))
            some = sock.recv(1 << 16)
            if not some:
                break
            answer += some
    if b"200 OK" not in answer[:40]:
        raise OSError(answer[:40])
    lines = re.findall(r'^(?:goldcrest_)([a-z_]+(?:\{[^}\n]*\})?) ([-+.0-9eE]+)\r?$', answer.decode(), re.MULTILINE)
    return {name: float(value) for name, value in lines}
