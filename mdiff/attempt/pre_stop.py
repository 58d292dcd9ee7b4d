"""`python -m mdiff.attempt.pre_stop`: what a pod does before it is ended. Asks the job to save its work, and waits until it has.

A hook of the container (https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/). Only when it has returned, the
container gets its signal; both share the pod's grace time.
"""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from mdiff.attempt.stop import request_stop, stop_request
from mdiff.run_dir import AttemptDir, read_json

LOOK_SECONDS = 0.5


def note_attempt(attempt: AttemptDir) -> None:
    """Leave word in the container of the attempt that it is part of."""
    _note().write_text(str(attempt.path))


def main() -> int:
    try:
        attempt = AttemptDir(Path(_note().read_text()))
    except OSError:
        return 0  # It waits to begin, and there is nothing to save.
    with suppress(OSError):
        request_stop(attempt, stop_request("preempted", f"preStop of {os.environ.get('MDIFF_POD_NAME', 'a pod')}"))
    # The cluster cuts this off at the end of the grace time.
    while not (read_json(attempt.record) or {}).get("reason"):
        time.sleep(LOOK_SECONDS)
    return 0


def _note() -> Path:
    return Path(os.environ.get("HOME", "/tmp")) / ".mdiff-attempt"


if __name__ == "__main__":
    sys.exit(main())
