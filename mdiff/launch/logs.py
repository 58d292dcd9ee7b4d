"""The log of a run's newest job, as it stands and as it grows."""

import codecs
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mdiff.attempt.exit_codes import EXIT_CODES, START_AGAIN
from mdiff.budget.ledger import read_ledger
from mdiff.errors import LaunchError
from mdiff.launch.backend import open_backend
from mdiff.launch.state import JobState
from mdiff.launch.status import find_submission
from mdiff.recipe.job import Submission
from mdiff.run_dir import RunDir

LOOK_SECONDS = 0.3
BLOCK_BYTES = 65_536


def tail(path: Path, num_lines: int) -> tuple[str, int]:
    """The last lines of a file, and the offset at which they end."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        begin, block = end, b""
        while begin > 0 and block.count(b"\n") <= num_lines:
            begin = max(0, begin - BLOCK_BYTES)
            file.seek(begin)
            block = file.read(end - begin)
    lines = block.splitlines(keepends=True)[-num_lines:] if num_lines else []
    return b"".join(lines).decode(errors="replace"), end


class GrowingLog:
    """Hands out what has been appended since the last look."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self._offset = offset
        # A look may come in the middle of a character.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read(self) -> str:
        with self.path.open("rb") as file:
            file.seek(self._offset)
            block = file.read()
        self._offset += len(block)
        return self._decoder.decode(block)


def follow(run_dir: RunDir, num_lines: int, submission_id: str = "", sleep: Callable[[float], None] = time.sleep) -> Iterator[str]:
    """Text of the newest attempt's log and of those that come after it, until the job has ended."""
    submission = find_submission(run_dir, read_ledger(run_dir), submission_id)
    log: GrowingLog | None = None
    while True:
        state, newest = _look(run_dir, submission)
        if log is not None:
            yield log.read()
        if newest is not None and log is None:
            text, offset = tail(newest, num_lines)
            log = GrowingLog(newest, offset)
            yield text
        elif newest is not None and log is not None and newest != log.path:
            log = GrowingLog(newest)
            yield f"--- attempt {newest.parent.name}\n{log.read()}"
        if state.is_final:
            return
        sleep(LOOK_SECONDS)


def newest_log(run_dir: RunDir, submission_id: str = "") -> Path:
    """
    Raises:
        LaunchError: no attempt of the job has begun.
    """
    submission = find_submission(run_dir, read_ledger(run_dir), submission_id)
    _, log = _look(run_dir, submission)
    if log is None:
        raise LaunchError(f"job {submission.scheduler_job or submission.id} of run {run_dir.name} has not begun yet; wait for it with -f")
    return log


def exit_code_of(run_dir: RunDir, submission_id: str = "") -> int:
    """Of the job's end, as a shell would like it: 0 only if it did what it was for or what the budget allowed."""
    ledger = read_ledger(run_dir)
    records = ledger.records_of(find_submission(run_dir, ledger, submission_id).id)
    reason = records[-1].reason if records else None
    code = EXIT_CODES[reason] if reason else 1
    return 1 if code == START_AGAIN else code


def _look(run_dir: RunDir, submission: Submission) -> tuple[JobState, Path | None]:
    """State first: what the log gets before a final state is then read for sure."""
    ledger = read_ledger(run_dir)
    state = open_backend(submission.job.backend).state(submission, ledger)
    records = ledger.records_of(submission.id)
    log = run_dir.attempt(records[-1].attempt).log if records else None
    return state, log if log is not None and log.is_file() else None
