"""Runs the firmware example in QEMU, with each UART on a TCP port of its own."""

import os
import socket
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMAGE = Path(
    os.environ.get("FIRMWARE", ROOT / "target/bare-metal/thumbv7m-none-eabi/release/goldcrest-firmware-example")
)
UARTS = 3
WHOLE_LIFE_SECONDS = 300
"""After this QEMU is ended, whatever became of those who started it."""


class Machine:
    """A board that has started, to be used in a `with` statement."""

    def __init__(self):
        # All are held until all are chosen, so that they differ.
        holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(UARTS)]
        self.ports = [holder.getsockname()[1] for holder in holders]
        for holder in holders:
            holder.close()
        command = ["timeout", "--kill-after=5", str(WHOLE_LIFE_SECONDS)]
        command += ["qemu-system-arm", "-machine", "lm3s6965evb", "-display", "none", "-monitor", "none"]
        for port in self.ports:
            command += ["-serial", f"tcp:127.0.0.1:{port},server=on,wait=off,nodelay=on"]
        command += ["-semihosting-config", "enable=on,target=native", "-kernel", IMAGE]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = ""
        while "goldcrest:" not in said:
            line = self.process.stdout.readline()
            if not line:
                raise AssertionError(f"the firmware did not start: {said}")
            said += line

    def __enter__(self):
        return self

    def __exit__(self, *_):
        ended = self.process.poll()
        self.process.terminate()
        said, _ = self.process.communicate()
        if ended is not None:
            raise AssertionError(f"the firmware ended with {ended}: {said}")
