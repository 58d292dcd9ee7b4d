"""The attempt's log: the job's output, and the supervisor's own lines between."""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

TAIL_BYTES = 65_536
ERROR_LINE = re.compile(r"^(?:\[rank\d+\]:\s*)?((?:error: |(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b).*)$")
CHILD_FAILED = "ChildFailedError"
"""torchrun's own end, which tells nothing about its cause."""


class AttemptLog:
    """Appends lines with their time. A full disk must not end a job, so a line that cannot be written is lost."""

    def __init__(self, path: Path, clock: Callable[[], datetime] = datetime.now) -> None:
        self._path = path
        self._clock = clock

    def write(self, message: str) -> None:
        try:
            with self._path.open("a") as file:
                file.write(f"{self._clock():%H:%M:%S} {message}\n")
        except OSError:
            return


def last_words(path: Path) -> str:
    """The last line of a log that names an error; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    found = (ERROR_LINE.match(line.strip()) for line in reversed(lines) if CHILD_FAILED not in line)
    return next((match[1].strip() for match in found if match), "")
