"""Many clients in one process, none of which waits for another.

A client is a generator. It yields what it does next, and goes on when that is done:

    bytes            send them all
    Await(kind, n)   until n more Control Packets of that kind have come
    Pause(seconds)
    DEAF             from now on it reads nothing
    SLOW             from now on it reads a little ten times a second
    CLOSE            closes its connection, without DISCONNECT

One that has nothing more to do keeps its connection until the crowd goes.
"""

import collections
import errno
import heapq
import itertools
import os
import resource
import select
import signal
import socket
import struct
import time

import packets

DEAF, SLOW, CLOSE = object(), object(), object()
Await = collections.namedtuple("Await", "kind count", defaults=[1])
Pause = collections.namedtuple("Pause", "seconds")

AT_ONCE = 16
"""The writes of one client before other clients have their turn."""
OPENING = 256
"""The connections that a process opens at the same time."""
SLOW_BYTES, SLOW_EVERY = 4096, 0.1
RESET = struct.pack("ii", 1, 0)


def raise_descriptors():
    """Raises the limit of file descriptors of this process as far as the system allows. Returns the limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def be_nice(more):
    """Lowers the priority of this process by `more`, or raises it where that is allowed."""
    try:
        os.nice(more)
    except OSError:
        pass


class Client:
    __slots__ = "socket", "script", "output", "input", "came", "awaited", "mode", "mask", "opened"

    def __init__(self, sock, script):
        self.socket, self.script = sock, script
        self.output, self.input = None, bytearray()
        self.came = collections.Counter()
        self.awaited = None
        self.mode = None
        self.mask = 0
        self.opened = False


class Crowd:
    def __init__(self, address, scripts, at_once, sources=1, buffers=None):
        """`scripts` is an iterator of clients; `at_once` of them are connected at the same time. They connect from `sources`
        addresses. `buffers` bounds the buffers of each socket."""
        self.address, self.scripts, self.at_once = address, iter(scripts), at_once
        self.sources = itertools.cycle(range(1, sources + 1)) if sources > 1 else None
        self.buffers = buffers
        self.epoll = select.epoll()
        self.clients = {}
        self.ready = collections.deque()
        self.pauses, self.ticket = [], itertools.count()
        self.slow = set()
        self.slow_at = 0
        self.opening = 0
        self.busy = 0
        """How many clients have something to do."""
        self.has_more = True
        self.counts = collections.Counter()

    def run(self, done, stop):
        """Runs until `stop()`. Calls `done` once no client has anything more to do."""
        told = False
        while not stop():
            self.open_more()
            self.work()
            if not told and not self.has_more and not self.busy:
                told = True
                done()
            for descriptor, events in self.epoll.poll(0 if self.ready else self.patience(), 1024):
                client = self.clients.get(descriptor)
                if client:
                    self.happened(client, events)
            self.wake()
            self.read_slowly()

    def patience(self):
        next_at = self.pauses[0][0] - time.monotonic() if self.pauses else 1
        return max(0, min(next_at, 0.02 if self.slow or not self.has_more else 0.005))

    def open_more(self):
        while self.has_more and self.opening < OPENING and len(self.clients) < self.at_once:
            script = next(self.scripts, None)
            if script is None:
                self.has_more = False
                return
            try:
                self.open(script)
            except OSError as error:
                self.counts[f"not opened: {errno.errorcode.get(error.errno)}"] += 1
                if error.errno == errno.EMFILE:
                    self.has_more = False
                return

    def open(self, script):
        sock = socket.socket()
        sock.setblocking(False)
        if self.buffers:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffers)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.buffers)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Closing with a reset leaves no entry in the tables of the system.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        try:
            if self.sources:
                sock.bind((f"127.0.1.{next(self.sources)}", 0))
            code = sock.connect_ex(self.address)
        except OSError:
            sock.close()
            raise
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            self.counts["not connected"] += 1
            return
        client = Client(sock, script)
        self.clients[sock.fileno()] = client
        client.mask = select.EPOLLOUT
        self.epoll.register(sock, client.mask)
        self.opening += 1
        self.busy += 1

    def happened(self, client, events):
        if not client.opened:
            self.opening -= 1
            client.opened = True
            code = client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self.counts["not connected"] += 1
                return self.forget(client)
            self.counts["connections"] += 1
            self.ready.append(client)
            self.watch(client)
            return
        if events & select.EPOLLIN and client.mode is None:
            self.read(client, 1 << 17)
        elif events & (select.EPOLLHUP | select.EPOLLERR) or events & select.EPOLLRDHUP and client.mode is not None:
            self.counts["closed by the broker"] += 1
            return self.forget(client)
        if events & select.EPOLLOUT and client.output is not None:
            self.write(client)

    def read(self, client, size):
        try:
            data = client.socket.recv(size)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.counts["closed by the broker"] += 1
            return self.forget(client)
        client.input += data
        for first, body in packets.cut(client.input):
            kind = first >> 4
            client.came[kind] += 1
            for code in packets.failures(kind, body):
                self.counts[f"{packets.NAMES[kind]} 0x{code:02X}"] += 1
        self.check(client)

    def check(self, client):
        wanted = client.awaited
        if wanted and client.came[wanted.kind] >= wanted.count:
            client.came[wanted.kind] -= wanted.count
            client.awaited = None
            self.ready.append(client)

    def work(self):
        for _ in range(len(self.ready)):
            client = self.ready.popleft()
            if client.socket is not None:
                self.advance(client)

    def advance(self, client):
        for _ in range(AT_ONCE):
            action = next(client.script, None)
            if action is None:
                self.busy -= 1
                client.script = None
                return
            if action is DEAF or action is SLOW:
                client.mode = action
                if action is SLOW:
                    self.slow.add(client)
                self.watch(client)
            elif action is CLOSE:
                return self.forget(client)
            elif isinstance(action, Await):
                client.awaited = action
                self.check(client)
                return
            elif isinstance(action, Pause):
                heapq.heappush(self.pauses, (time.monotonic() + action.seconds, next(self.ticket), client))
                return
            else:
                client.output = memoryview(action)
                if not self.write_some(client):
                    return
        self.ready.append(client)

    def write(self, client):
        if self.write_some(client):
            self.watch(client)
            self.ready.append(client)

    def write_some(self, client):
        """Writes some bytes. Returns whether all are written."""
        try:
            while client.output:
                sent = client.socket.send(client.output)
                self.counts["bytes"] += sent
                client.output = client.output[sent:]
        except BlockingIOError:
            self.watch(client)
            return False
        except OSError:
            self.counts["closed by the broker"] += 1
            self.forget(client)
            return False
        client.output = None
        return True

    def watch(self, client):
        mask = select.EPOLLIN if client.mode is None else select.EPOLLRDHUP
        mask |= select.EPOLLOUT if client.output is not None else 0
        if mask != client.mask:
            client.mask = mask
            self.epoll.modify(client.socket, mask)

    def wake(self):
        now = time.monotonic()
        while self.pauses and self.pauses[0][0] <= now:
            client = heapq.heappop(self.pauses)[2]
            if client.socket is not None:
                self.ready.append(client)

    def read_slowly(self):
        now = time.monotonic()
        if now < self.slow_at:
            return
        self.slow_at = now + SLOW_EVERY
        for client in list(self.slow):
            try:
                if not client.socket.recv(SLOW_BYTES):
                    self.counts["closed by the broker"] += 1
                    self.forget(client)
            except BlockingIOError:
                pass
            except OSError:
                self.forget(client)

    def forget(self, client):
        self.busy -= client.script is not None
        self.slow.discard(client)
        del self.clients[client.socket.fileno()]
        client.socket.close()
        client.socket = client.script = client.output = None


def run(address, scripts, at_once, options, done, stop, answers):
    """The process of a crowd. At the end it sends its counts to `answers`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # In the field attackers have processors of their own. If the broker could not be given priority, the attackers get less.
    be_nice(0 if os.geteuid() == 0 else 10)
    raise_descriptors()
    orphan = os.getppid()
    crowd = Crowd(address, scripts, at_once, **options)
    try:
        crowd.run(done.set, lambda: stop.is_set() or os.getppid() != orphan)
    finally:
        answers.put(crowd.counts)
        # All sockets close at once, with the process.
