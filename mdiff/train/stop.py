"""Whether somebody asked this job to save its work and leave."""

import time
from collections.abc import Callable

from mdiff.run_dir import AttemptDir

POLL_SECONDS = 0.5


class StopFlag:
    """Looks for the stop request of this attempt, at most twice a second: the file system may be a network one."""

    def __init__(self, attempt: AttemptDir | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._attempt = attempt
        self._clock = clock
        self._next_look = 0.0
        self._raised = False

    def is_raised(self) -> bool:
        if self._attempt is None or self._raised or self._clock() < self._next_look:
            return self._raised
        self._next_look = self._clock() + POLL_SECONDS
        self._raised = self._attempt.stop.exists()
        return self._raised
