"""Bounds the memory of one process: by a memory cgroup of its own or, where none can be made, by its private address space."""

import os
import re
import subprocess
import time
from pathlib import Path

MIB = 1 << 20
V1 = Path("/sys/fs/cgroup/memory")
V2 = Path("/sys/fs/cgroup")
MOVED = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
BOUNDED = 'ulimit -d "$0" && exec "$@"'


class Cgroup:
    """A memory cgroup without swap, of version 1 or 2. Only the broker is in it, so the kernel can't kill another process
    for the broker's memory."""

    is_cgroup = True

    def __init__(self, parent, limit):
        self.limit = limit
        self.folder = parent / f"goldcrest-memory-{os.getpid()}-{time.monotonic_ns()}"
        self.folder.mkdir()
        try:
            self.is_v1 = (self.folder / "memory.limit_in_bytes").exists()
            for name in ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"] if self.is_v1 else ["memory.max"]:
                if (self.folder / name).exists() or "memsw" not in name:
                    (self.folder / name).write_text(str(limit))
            if not self.is_v1 and (self.folder / "memory.swap.max").exists():
                (self.folder / "memory.swap.max").write_text("0")
        except OSError:
            self.folder.rmdir()
            raise

    def under(self):
        """The command that runs another command in this cgroup."""
        return ["/bin/sh", "-c", MOVED, str(self.folder)]

    def peak(self):
        """The most memory that the cgroup was ever charged for, cache of files included. None with version 2 on kernels
        before 5.19, which do not tell."""
        file = self.folder / ("memory.max_usage_in_bytes" if self.is_v1 else "memory.peak")
        return int(file.read_text()) if file.exists() else None

    def killed(self):
        """How many processes of the cgroup the kernel has killed."""
        file = self.folder / ("memory.oom_control" if self.is_v1 else "memory.events")
        words = dict(line.split() for line in file.read_text().splitlines())
        return int(words.get("oom_kill", 0))

    def close(self):
        for _ in range(100):
            try:
                return self.folder.rmdir()
            except OSError:
                # A killed process may still be there.
                time.sleep(0.05)
        print(f"{self.folder} is left behind")


class AddressSpace:
    """Stands in for a cgroup: a limit on the private writable memory that the process may reserve (RLIMIT_DATA). It is `limit`,
    and the memory that the process reserves without clients and does not use, like stacks of threads.

    This is no full bound of memory: code, files and the kernel's memory for sockets do not count.
    """

    is_cgroup = False

    def __init__(self, unused, limit):
        self.limit, self.reserved = limit, unused + limit

    def under(self):
        return ["/bin/sh", "-c", BOUNDED, str(self.reserved // 1024)]

    def peak(self):
        return None

    def killed(self):
        return 0

    def close(self):
        pass


def parent_of_cgroups():
    """Where memory cgroups can be made: (folder, None), or (None, reason) if nowhere."""
    reasons = []
    for parent in candidates():
        try:
            Cgroup(parent, 64 * MIB).close()
            # The test also moves a process into it.
            trial = Cgroup(parent, 64 * MIB)
            try:
                subprocess.run([*trial.under(), "true"], check=True, stderr=subprocess.DEVNULL)
            finally:
                trial.close()
            return parent, None
        except (OSError, subprocess.CalledProcessError) as error:
            reasons.append(f"{parent}: {getattr(error, 'strerror', None) or 'no process can be moved there'}")
    return None, "; ".join(reasons) or "no memory controller is mounted"


def candidates():
    """First the root of the hierarchy, where a limit on this script's own group has no effect; then that group."""
    if (V1 / "memory.limit_in_bytes").exists() or (V1 / "memory.usage_in_bytes").exists():
        yield V1
    if not (V2 / "cgroup.controllers").exists():
        return
    own = next((line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")), "/")
    for parent in dict.fromkeys([V2, V2 / own.strip("/")]):
        try:
            # Child groups have the controller only if their parent enables it.
            (parent / "cgroup.subtree_control").write_text("+memory")
        except OSError:
            pass
        yield parent


def sockets():
    """The bytes in all TCP buffers of this machine, at both ends. With version 2 a cgroup is charged for its own."""
    file = Path("/proc/net/sockstat")
    found = re.search(r"^TCP: .* mem (\d+)", file.read_text(), re.MULTILINE) if file.exists() else None
    return int(found[1]) * os.sysconf("SC_PAGE_SIZE") if found else 0


def unused(pid):
    """The private writable memory that a process has reserved and never touched, in bytes."""
    return max(0, status(pid, "VmData") - status(pid, "RssAnon"))


def status(pid, name):
    """A line of /proc/PID/status in bytes, or None if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":")), None)
