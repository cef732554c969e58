"""Runs the firmware example in QEMU, with each UART and TCP port 1883 on a port of its own."""

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
"""Built with the feature `stall`."""
UARTS = 3
SOCKETS = 8
"""Clients that the firmware takes by TCP at once."""
WHOLE_LIFE_SECONDS = 300
"""After this QEMU is ended, whatever became of those who started it."""
STARTED = "MQTT on TCP port 1883"


def hold_port():
    """A socket on a port that the system gives to nobody else, while no QEMU runs either: a board once lost one over a reset.

    It does not listen and, as QEMU does, allows its address to be used again: so QEMU can listen there.
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
        """What outlives a reset: a file of QEMU's folder."""
        self.monitor = f"{self.folder.name}/monitor"
        self.start()

    def start(self, flash_takes=None):
        """The flash takes writes and erases below the address `flash_takes` only, and fails beyond."""
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
            # Python ignores the signal that would end QEMU when the file is to grow beyond its limit, and so shall QEMU.
            restore_signals=False,
        )
        self.said = []
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        self.expect(STARTED)

    def cut_power(self):
        """Whatever the board is doing, it does no more of it. Connections are reset."""
        # All of the process group, which `timeout` leads.
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(SECONDS)
        self.reader.join(SECONDS)
        self.process.stdout.close()
        self.lines = queue.Queue()

    def reset(self, **options):
        """Cuts the power and starts the board again: with the same flash, on the same ports, with the options of `start`."""
        self.cut_power()
        self.start(**options)

    def _read(self):
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            self.lines.put(self.said[-1])
        self.lines.put(None)

    def expect(self, pattern):
        """The next line that the firmware says and in which `pattern` is found, as a match."""
        while True:
            line = self.lines.get(timeout=SECONDS)
            if line is None:
                raise AssertionError(f"the firmware has ended without {pattern!r}: {self.said}")
            if match := re.search(pattern, line):
                return match

    def plug(self, in_place):
        """Puts the network cable in, or pulls it: frames are lost both ways."""
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
