"""Writes that decide what becomes of a job: a full disk must not end it, so they are tried for a while."""

import time
from collections.abc import Callable

from mdiff.attempt.log import AttemptLog

TRY_SECONDS = 30.0
PAUSE_SECONDS = 2.0


def keep_trying(write: Callable[[], object], what: str, log: AttemptLog, sleep: Callable[[float], None] = time.sleep) -> bool:
    """False, and a line in the log, if the disk does not take it."""
    deadline = time.monotonic() + TRY_SECONDS
    while True:
        try:
            write()
        except OSError as error:
            if time.monotonic() >= deadline:
                log.write(f"{what} cannot be written: {error.strerror or error}")
                return False
            sleep(PAUSE_SECONDS)
        else:
            return True
