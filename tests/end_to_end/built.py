"""Builds programs of this repository, and says where they are."""

import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def built(*arguments):
    """Runs `cargo build` with these arguments, which must choose one program, and returns the path of that program.

    Cargo itself tells the path, because environment and configuration may set another target directory and another target. A
    program that is older than its sources is built again.
    """
    command = ["cargo", "build", "--locked", "--message-format=json-render-diagnostics", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    (program,) = {message["executable"] for message in messages if message.get("executable")}
    return program
