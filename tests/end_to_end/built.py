"""Builds programs of this repository, and says where they are."""

import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def built(*arguments):
    """Runs `cargo build` with these arguments, which must choose one program, and returns the path of that program.

    The path is cargo's own word: the target directory and the target may be set in the environment or in cargo's
    configuration. A program that was built before and is older than its sources is built again.
    """
    command = ["cargo", "build", "--locked", "--message-format=json-render-diagnostics", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    (program,) = {message["executable"] for message in messages if message.get("executable")}
    return program
