"""The job as the supervisor holds it: start, wait, kill."""

import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mdiff.attempt.process_tree import adopt_orphans, kill_descendants

KILL_SECONDS = 15.0
"""A process that sleeps in the kernel, on a dead network file system for instance, cannot be killed; we do not wait for it longer."""


class JobProcess:
    """A running command behind its guard."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        # If the guard is killed, what it guarded must come to us and not to init.
        adopt_orphans()
        self._tie, far_end = socket.socketpair()
        with log.open("ab") as output, far_end:
            self._guard = subprocess.Popen(
                [sys.executable, "-m", "mdiff.attempt.guard", *command],
                stdin=far_end.fileno(),
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )

    def wait(self, seconds: float) -> int | None:
        """The exit code, as soon as there is one; None after `seconds`."""
        # The guard never writes: its end becomes readable when it closes.
        ready, _, _ = select.select([self._tie], [], [], seconds)
        if not ready:
            return None
        return self._collect()

    def kill(self) -> int:
        """End everything that the job started, at once."""
        self._tie.shutdown(socket.SHUT_RDWR)
        return self._collect()

    def _collect(self) -> int:
        try:
            code = self._guard.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            code = self._guard.wait()
        self._tie.close()
        kill_descendants(os.getpid(), KILL_SECONDS)
        return code if code >= 0 else 128 - code
