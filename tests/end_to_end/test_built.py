"""The scripts of the tests use the program that was just built, wherever the target directory is."""

import os
import subprocess
import tempfile
import unittest
import unittest.mock
from pathlib import Path

from built import ROOT, built

MANIFEST = '[package]\nname = "small"\nversion = "0.1.0"\nedition = "2024"\n\n[workspace]\n'


class Built(unittest.TestCase):
    def test_a_target_directory_in_the_environment_is_used_and_a_stale_program_is_not(self):
        """With CARGO_TARGET_DIR set, the scripts looked into `target/`, and found no program, or an old one."""
        folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="goldcrest-")))
        (folder / "src").mkdir()
        (folder / "Cargo.toml").write_text(MANIFEST)
        source = folder / "src/main.rs"
        elsewhere = {"CARGO_TARGET_DIR": str(folder / "elsewhere")}
        self.enterContext(unittest.mock.patch.dict(os.environ, elsewhere))
        manifest = ["--manifest-path", folder / "Cargo.toml"]
        source.write_text("fn main() {}")
        subprocess.run(["cargo", "generate-lockfile", "--offline", "--quiet", *manifest], check=True)

        for number, way in enumerate((built, built_by_shell)):
            source.write_text(f'fn main() {{ println!("{number}") }}')
            os.utime(source, times=(number + 2**31,) * 2)
            program = way("--quiet", *manifest)

            self.assertTrue(Path(program).is_relative_to(folder / "elsewhere"), program)
            self.assertEqual(subprocess.run([program], capture_output=True, text=True).stdout, f"{number}\n")


def built_by_shell(*arguments):
    command = ["bash", "-c", '. tests/common.sh; built "$@"', "built", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
