"""File systems that lack a system call, deny a permission, are full or are read-only. Where this machine has no such file
system strace imitates it: it lets a system call of the broker fail in the same way."""

import errno
import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from broker import BINARY, SECONDS, Broker, shards, wait_until
from client import V5, Client

NOBODY = 65534
CONFIG = """
[limits]
packet_bytes = 65536
[store]
segment_bytes = 1048576
"""


def strace(*injections, path=None):
    """Runs the broker under strace, which lets calls fail: all of them, or those about `path`."""
    only = ["-P", path] if path else []
    options = [option for injection in injections for option in ("-e", f"inject={injection}")]
    calls = ",".join(injection.split(":")[0] for injection in injections)
    return ["strace", "-D", "-f", "-qq", "-o", "/dev/null", *only, "-e", f"trace={calls}", *options]


class FileSystems(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="goldcrest-fs-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        # Another user may have no access to the folder in which the program was built.
        self.binary = shutil.copy(BINARY, self.folder / "goldcrest")

    def needs(self, tool):
        """Skips the test if this tool is missing."""
        if not shutil.which(tool):
            self.skipTest(f"there is no {tool} here")

    def broker(self, *arguments, **options):
        return Broker("--data-dir", self.data, *arguments, config=CONFIG, **options)

    def keep(self, broker, count=1):
        """Publishes retained messages until one is refused. Returns how many were accepted."""
        with Client(broker.port, V5) as client:
            codes = []
            client.paho.on_publish = lambda _c, _u, _mid, code, _p: codes.append(code.value)
            for number in range(count):
                client.paho.publish(f"kept/{number}", bytes(60_000), 1, True)
                wait_until(lambda: len(codes) > number, "it is answered")
                if codes[-1]:
                    return number
            return count

    def refused(self, *command, user=None, under=()):
        """The error of a broker that does not start, or of a store command that fails."""
        if not command:
            command = ["--data-dir", self.data, "--listen", "127.0.0.1:0", "--shards", shards()]
        done = subprocess.run(
            [*under, self.binary, *command], capture_output=True, text=True, timeout=SECONDS, user=user, group=user,
            extra_groups=None if user is None else [],
        )
        self.assertNotEqual(done.returncode, 0, done.stdout)
        lines = [line for line in done.stderr.splitlines() if line.startswith("goldcrest: ")]
        self.assertEqual(len(lines), 1, done.stderr)
        return lines[0]

    def test_a_file_system_without_fallocate_is_used_with_one_warning(self):
        self.needs("strace")
        for error in ("EPERM", "ENODEV", "EINVAL", "EOPNOTSUPP", "ENOSYS"):
            with self.subTest(error), self.broker(under=strace(f"fallocate:error={error}")) as broker:
                self.assertEqual(self.keep(broker, 40), 40)
                log = broker.read_log()
                self.assertEqual(log.count("reserves no room"), 1, log)
                self.assertNotIn("has no room", log)
            shutil.rmtree(self.data)

    def test_a_file_system_that_cannot_sync_directories_is_used_with_one_warning(self):
        self.needs("strace")
        # fsync is used for directories alone, and fdatasync for files.
        for error in ("EINVAL", "EOPNOTSUPP", "ENOSYS"):
            with self.subTest(error):
                with self.broker(under=strace(f"fsync:error={error}")) as broker:
                    self.assertEqual(self.keep(broker, 40), 40)
                    self.assertEqual(broker.read_log().count("syncs no directories"), 1, broker.read_log())
                    broker.expected_code = -signal.SIGKILL
                    broker.signal(signal.SIGKILL)
                with self.broker() as broker, Client(broker.port, V5) as client:
                    client.subscribe("kept/#", 0)
                    topics = {client.next().topic for _ in range(40)}
                    self.assertEqual(len(topics), 40)
            shutil.rmtree(self.data)

    def test_an_io_error_in_the_sync_of_a_directory_is_reported_as_a_device_error(self):
        self.needs("strace")
        with self.broker("--http", "127.0.0.1:0", under=strace("fsync:error=EIO")) as broker:
            self.assertEqual(self.keep(broker), 0)
            self.assertIn(f"{self.data}: Input/output error", get(broker, "/ready"))
            self.assertIn('goldcrest_store_full_cause{cause="device"} 1', get(broker, "/metrics"))
            self.assertNotIn("syncs no directories", broker.read_log())

    def test_gateway_and_backup_name_a_file_system_without_locks(self):
        self.needs("strace")
        with self.broker():
            pass
        for error in ("ENOLCK", "EOPNOTSUPP", "ENOSYS"):
            with self.subTest(error):
                under = strace(f"flock:error={error}")
                said = self.refused(under=under)
                self.assertIn(f"cannot use the store in {self.data}: lock: ", said)
                self.assertIn("has no locks", said)
                copy = self.folder / "copy"
                said = self.refused("store", "backup", copy, "--data-dir", self.data, under=under)
                self.assertIn("recycling: ", said)
                self.assertIn("has no locks", said)

    def test_the_log_ready_and_metrics_tell_why_a_file_cannot_be_made(self):
        self.needs("strace")
        causes = {
            "ENOSPC": "disk", "EDQUOT": "quota", "EMFILE": "descriptors", "ENFILE": "descriptors", "EACCES": "permission",
            "EROFS": "read_only", "EIO": "device",
        }
        for error, cause in causes.items():
            unfinished = self.data / "unfinished"
            # The first few files can be made.
            under = strace(f"openat:error={error}:when=4+", path=unfinished)
            with self.subTest(error), self.broker("--http", "127.0.0.1:0", under=under) as broker:
                self.assertLess(self.keep(broker, 200), 200)
                ready = get(broker, "/ready")
                words = os.strerror(getattr(errno, error))
                self.assertEqual(ready.count(f"{unfinished}: {words}"), 1, ready)
                self.assertNotIn("max_bytes", ready)
                metrics = get(broker, "/metrics")
                set_ones = re.findall(r'goldcrest_store_full_cause{cause="(\w+)"} 1', metrics)
                self.assertEqual(set_ones, [cause], metrics)
                self.assertIn(f"{unfinished}: {words}", broker.read_log())
            shutil.rmtree(self.data)

    def test_a_missing_permission_is_reported_with_file_owner_and_user(self):
        if os.geteuid() != 0:
            self.skipTest("only root may run as somebody else")
        runs = f"this program runs as user {NOBODY}"
        self.data.mkdir(mode=0o700)
        self.assertRegex(self.refused(user=NOBODY), rf"lock: Permission denied .*{self.data} belongs to user 0 .*mode 700.*{runs}")
        with self.broker() as broker:
            self.assertEqual(self.keep(broker), 1)
        shutil.chown(self.data, NOBODY)
        self.assertRegex(self.refused(user=NOBODY), rf": lock: Permission denied .*: it belongs to user 0 .*mode 600.*{runs}")
        for file in self.data.iterdir():
            shutil.chown(file, NOBODY)
        segment = self.data / "00000001.segment"
        shutil.chown(segment, 0)
        for command in [(), ("store", "check", "--data-dir", self.data), ("store", "repair", "--data-dir", self.data)]:
            said = self.refused(*command, user=NOBODY)
            self.assertRegex(said, rf": {segment.name}: Permission denied .*: it belongs to user 0 .*mode 600.*{runs}")
            self.assertEqual(said.count(segment.name), 1, said)
        shutil.chown(segment, NOBODY)
        self.data.chmod(0o600)
        said = self.refused(user=NOBODY)
        self.assertRegex(said, rf"{self.data} belongs to user {NOBODY} .*mode 600, and {runs}")
        self.assertNotIn("mount", said, "the mode is the reason, and nothing else")
        self.data.chmod(0o700)

    def test_a_read_only_directory_is_reported_when_a_file_is_needed(self):
        if os.geteuid() != 0:
            self.skipTest("only root may run as somebody else")
        self.data.mkdir()
        shutil.chown(self.data, NOBODY)
        run_as = ["setpriv", "--reuid", str(NOBODY), "--clear-groups"]
        with Broker(
            "--data-dir", self.data, "--http", "127.0.0.1:0", config=None, under=[*run_as, "env", f"HOME={self.folder}"]
        ) as broker:
            wait_until(lambda: len(list(self.data.glob("*.segment"))) == 3, "segments are prepared")
            self.data.chmod(0o500)
            self.assertLess(self.keep(broker, 2_000), 2_000)
            ready = get(broker, "/ready")
            self.assertIn(f"{self.data}/unfinished: Permission denied", ready)
            self.assertIn(f"its directory {self.data} belongs to user {NOBODY}", ready)
            self.data.chmod(0o700)
            wait_until(lambda: "it is ready" in get(broker, "/ready"), "it is ready again")
            self.assertEqual(self.keep(broker, 1), 1)

    def test_a_data_directory_that_is_a_file_or_a_dangling_link_is_named(self):
        file, link = self.folder / "file", self.folder / "link"
        file.touch()
        link.symlink_to(self.folder / "nowhere")
        for path, words in [
            (file, f"{file} is a file and no directory"),
            (file / "below", f"{file} is a file and no directory"),
            (link, f"{link} is a symbolic link to {self.folder}/nowhere, which is not there"),
            (link / "below", f"{link} is a symbolic link to {self.folder}/nowhere, which is not there"),
        ]:
            self.data = path
            for command in [(), ("store", "check", "--data-dir", path)]:
                with self.subTest(path=path, command=command):
                    self.assertIn(words, self.refused(*command))

    def test_a_full_or_read_only_file_system_is_reported_and_used_again_later(self):
        mount = self.folder / "mount"
        mount.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", mount], capture_output=True, text=True)
        if done.returncode:
            self.skipTest(f"no file system can be mounted here: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", mount], check=True)
        self.data = mount / "data"
        filler = mount / "filler"
        filler.write_bytes(bytes(23 << 20))
        with self.broker("--http", "127.0.0.1:0") as broker:
            self.assertEqual(self.keep(broker), 0)
            self.assertIn(f"{self.data}/unfinished: No space left on device", get(broker, "/ready"))
            filler.unlink()
            wait_until(lambda: "it is ready" in get(broker, "/ready"), "it is ready")
            self.assertEqual(self.keep(broker, 5), 5)
        subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
        self.assertIn("lock: Read-only file system", self.refused())
        done = subprocess.run([BINARY, "store", "check", "--data-dir", self.data], capture_output=True, text=True)
        self.assertTrue(done.returncode == 0 and done.stdout.endswith("sound\n"), done)


def get(broker, path):
    """The body of a response, whatever its status."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{broker.http_port}{path}", timeout=SECONDS) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.read().decode()
