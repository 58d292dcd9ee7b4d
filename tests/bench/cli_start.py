"""How long `mdiff` needs to answer."""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.harness import record, seconds_of

COMMANDS = (["--help"], ["recipe", "list"], ["budget", "report"])


def run() -> None:
    mdiff = Path(sys.executable).with_name("mdiff")
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS:
            values = seconds_of(
                lambda command=command: subprocess.run([mdiff, *command], cwd=folder, capture_output=True, check=True), 2, 15
            )
            record("cli_start", f"mdiff {' '.join(command)}", values, "seconds", warmup=2)
