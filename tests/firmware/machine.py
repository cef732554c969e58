"""Runs the firmware example in QEMU, with each UART and TCP port 1883 on a port of the host."""

import json
import os
import queue
import re
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

from broker import SECONDS

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "target/bare-metal/thumbv7m-none-eabi/release"
IMAGE = Path(os.environ.get("FIRMWARE", IMAGES / "goldcrest-firmware-example"))
STALL_IMAGE = Path(os.environ.get("FIRMWARE_STALL", IMAGES / "goldcrest-firmware-stall"))
"""The firmware with the feature `stall`."""
UARTS = 3
SOCKETS = 8
"""The TCP clients that the firmware accepts at once."""
WHOLE_LIFE_SECONDS = 300
"""QEMU is ended after this time, even if the test that started it has died."""
STARTED = "MQTT on TCP port 1883"


def hold_port():
    """A socket that reserves a port even while no QEMU runs. A bug of the past: a board lost its port over a reset.

    The socket does not listen and allows its address to be reused, as QEMU does. So QEMU can listen on the port.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


class Machine:
    """A board that has started with an erased flash, to be used in a `with` statement."""

    def __init__(self, image=IMAGE):
        self.image = image
        self.holders = [hold_port() for _ in range(UARTS + 1)]
        *self.ports, self.tcp = [holder.getsockname()[1] for holder in self.holders]
        self.folder = tempfile.TemporaryDirectory(prefix="goldcrest-")
        self.flash = Path(self.folder.name) / "goldcrest.flash"
        """The file with the board's flash, which outlives a reset."""
        self.monitor = f"{self.folder.name}/monitor"
        self.start()

    def start(self, flash_takes=None):
        """Starts QEMU. If `flash_takes` is given, writing or erasing flash at or above this address fails."""
        command = [] if flash_takes is None else ["prlimit", f"--fsize={flash_takes}"]
        command += ["timeout", "--kill-after=5", str(WHOLE_LIFE_SECONDS)]
        command += ["qemu-system-arm", "-machine", "lm3s6965evb", "-display", "none", "-monitor", "none"]
        for port in self.ports:
            command += ["-serial", f"tcp:127.0.0.1:{port},server=on,wait=off,nodelay=on"]
        command += ["-nic", f"user,id=net,model=stellaris,restrict=on,hostfwd=tcp:127.0.0.1:{self.tcp}-:1883"]
        command += ["-qmp", f"unix:{self.monitor},server=on,wait=off"]
        command += ["-semihosting-config", "enable=on,target=native", "-kernel", Path(self.image).resolve()]
        self.process = subprocess.Popen(
            command,
            cwd=self.folder.name,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Python ignores the signal that would end QEMU when the file would grow beyond its limit. QEMU must ignore it too.
            restore_signals=False,
        )
        self.said = []
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        self.expect(STARTED)

    def cut_power(self):
        """Stops the board, whatever it is doing. Its connections are reset."""
        # This kills the process group, which `timeout` leads.
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(SECONDS)
        self.reader.join(SECONDS)
        self.process.stdout.close()
        self.lines = queue.Queue()

    def reset(self, **options):
        """Cuts the power and starts the board again, with the same flash, ports and options."""
        self.cut_power()
        self.start(**options)

    def _read(self):
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            self.lines.put(self.said[-1])
        self.lines.put(None)

    def expect(self, pattern):
        """The next line of the firmware that matches `pattern`, as a match."""
        while True:
            line = self.lines.get(timeout=SECONDS)
            if line is None:
                raise AssertionError(f"the firmware has ended without {pattern!r}: {self.said}")
            if match := re.search(pattern, line):
                return match

    def plug(self, in_place):
        """Plugs the network cable in, or pulls it: then frames are lost both ways."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(SECONDS)
            monitor.connect(self.monitor)
            answers = monitor.makefile()
            for name, arguments in [("qmp_capabilities", {}), ("set_link", {"name": "net", "up": in_place})]:
                monitor.sendall(json.dumps({"execute": name, "arguments": arguments}).encode())
                while "return" not in (answer := json.loads(answers.readline())):
                    assert "error" not in answer, answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        ended = self.process.poll()
        self.process.terminate()
        self.process.wait(SECONDS)
        self.reader.join(SECONDS)
        self.process.stdout.close()
        self.folder.cleanup()
        for holder in self.holders:
            holder.close()
        if ended not in (None, *self.may_end_with):
            raise AssertionError(f"the firmware ended with {ended}: {self.said}")

    may_end_with = ()
