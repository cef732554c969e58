"""Starts the real binary, and stops it."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

BINARY = Path(os.environ["GOLDCREST"]) if "GOLDCREST" in os.environ else None
"""The gateway's program. The script `run` builds it and passes its path."""
SECONDS = 30
"""The longest wait for anything, in seconds."""


def shards():
    """The number of shards of the brokers in this run."""
    return os.environ["GOLDCREST_SHARDS"]


def wait_until(condition, what):
    """Asks again and again until a condition holds. For conditions that no event announces."""
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"after {SECONDS} s still not: {what}")
        time.sleep(0.005)


class Broker:
    """A broker on a port that the system chose, to be used in a `with` statement."""

    def __init__(self, *arguments, config=None, listen=("127.0.0.1:0",), preexec_fn=None, under=()):
        """Without `--data-dir` in `arguments` the broker keeps nothing on disk. `listen` are addresses, or the number of
        listeners in `config`. `under` is a command that runs the broker, like strace."""
        self.expected_code = 0
        self.folder = tempfile.TemporaryDirectory(prefix="goldcrest-")
        command = [*under, BINARY]
        if "--log" not in arguments:
            command += ["--log", "warn"]
        if "--shards" not in arguments:
            command += ["--shards", shards()]
        if "--data-dir" not in arguments:
            command.append("--memory-only")
        if config is not None:
            file = Path(self.folder.name) / "goldcrest.toml"
            file.write_text(config)
            command += ["--config", file]
        addresses = () if isinstance(listen, int) else listen
        for address in addresses:
            command += ["--listen", address]
        self.log = open(Path(self.folder.name) / "log", "w+")
        self.process = subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            preexec_fn=preexec_fn,
        )
        self.ports = []
        self.http_port = None
        """The port of `--http 127.0.0.1:0`."""
        while len(self.ports) < (len(addresses) or listen):
            line = self.process.stdout.readline()
            if not line:
                raise AssertionError(f"the broker did not start: {self.read_log()}")
            if line.startswith("listening on "):
                # A line may end with the transport, as in "listening on 127.0.0.1:8883 with TLS".
                self.ports.append(int(line.rsplit(":", 1)[1].split()[0]))
            if " on http://" in line:
                self.http_port = int(line.rsplit(":", 1)[1].rstrip("/\n"))
        self.port = self.ports[0]

    def read_log(self):
        """The broker's standard error so far."""
        self.log.seek(0)
        return self.log.read()

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        """Waits until the broker has ended, and returns the exit code."""
        return self.process.wait(SECONDS)

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        log = self.read_log()
        self.process.stdout.close()
        self.log.close()
        self.folder.cleanup()
        if failure is not None:
            print(log)
        elif code != self.expected_code or "panicked" in log:
            raise AssertionError(f"the broker ended with {code}: {log}")
