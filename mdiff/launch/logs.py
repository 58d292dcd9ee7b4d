"""The log of a run's newest job, as it stands and as it grows."""

import codecs
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mdiff.attempt.exit_codes import EXIT_CODES, START_AGAIN
from mdiff.budget.ledger import read_ledger
from mdiff.errors import LaunchError
from mdiff.launch.backend import look_at
from mdiff.launch.state import JobState
from mdiff.launch.status import current_books, find_submission
from mdiff.recipe.job import Submission
from mdiff.run_dir import AttemptDir, RunDir

LOOK_SECONDS = 0.3
ASK_SECONDS = 3.0
"""How often a scheduler is asked for a job's state: it has other users."""
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


class AttemptLogs:
    """The logs of one attempt: node 0's, and those of other nodes once they have said something."""

    def __init__(self, attempt: AttemptDir, num_lines: int | None, node: int | None = None) -> None:
        """
        Args:
            num_lines: of each log that is there already; None: all of them.
            node: the only node that is wanted, counted from 0; None: all of them.
        """
        self.attempt = attempt
        self._node = node
        self._num_lines = num_lines
        self._logs: dict[Path, GrowingLog] = {}

    def read(self) -> str:
        """What is new in all of them; nodes other than node 0 are named before their lines."""
        return "".join(self._read(path) for path in self.attempt.logs() if self._node is None or path == self.attempt.log_of(self._node))

    def _read(self, path: Path) -> str:
        text = ""
        if path not in self._logs:
            text, offset = ("", 0) if self._num_lines is None else tail(path, self._num_lines)
            self._logs[path] = GrowingLog(path, offset)
        text += self._logs[path].read()
        return f"--- {path.name}\n{text}" if text and path != self.attempt.log and self._node is None else text


def follow(
    run_dir: RunDir, num_lines: int, submission_id: str = "", node: int | None = None, sleep: Callable[[float], None] = time.sleep
) -> Iterator[str]:
    """Text of the newest attempt's logs and of those that come after it, until the job has ended."""
    submission = find_submission(run_dir, read_ledger(run_dir), submission_id)
    logs: AttemptLogs | None = None
    while True:
        state, newest = _look(run_dir, submission)
        if logs is not None:
            yield logs.read()
        if newest is not None and (logs is None or newest != logs.attempt):
            heading = f"--- attempt {newest.name}\n" if logs is not None else ""
            logs = AttemptLogs(newest, num_lines if logs is None else None, node)
            yield heading + logs.read()
        if state.is_final:
            return
        sleep(LOOK_SECONDS if submission.job.backend == "local" else ASK_SECONDS)


def newest_logs(run_dir: RunDir, num_lines: int, submission_id: str = "", node: int | None = None) -> str:
    """The last lines of the newest attempt's logs.

    Raises:
        LaunchError: no attempt of the job has begun, or it has no such node.
    """
    submission = find_submission(run_dir, read_ledger(run_dir), submission_id)
    state, newest = _look(run_dir, submission)
    if newest is None and state.is_final:
        why = look_at(submission, read_ledger(run_dir)).note
        raise LaunchError(f"job {submission.scheduler_job or submission.id} of run {run_dir.name} never began: {why or state}")
    if newest is None:
        raise LaunchError(f"job {submission.scheduler_job or submission.id} of run {run_dir.name} has not begun yet; wait for it with -f")
    if node is not None and not newest.log_of(node).is_file():
        nodes = ", ".join(path.stem.removeprefix("log").removeprefix("-") or "0" for path in newest.logs())
        raise LaunchError(f"--node {node}: attempt {newest.name} has logs of these nodes: {nodes}")
    return AttemptLogs(newest, num_lines, node).read()


def exit_code_of(run_dir: RunDir, submission_id: str = "") -> int:
    """Of the job's end, as a shell would like it: 0 only if it did what it was for or what the budget allowed."""
    ledger = read_ledger(run_dir)
    records = ledger.records_of(find_submission(run_dir, ledger, submission_id).id)
    reason = records[-1].reason if records else None
    code = EXIT_CODES[reason] if reason else 1
    return 1 if code == START_AGAIN else code


def _look(run_dir: RunDir, submission: Submission) -> tuple[JobState, AttemptDir | None]:
    """State first: what the log gets before a final state is then read for sure."""
    state = look_at(submission, read_ledger(run_dir)).state
    records = current_books(run_dir).records_of(submission.id)
    attempt = run_dir.attempt(records[-1].attempt) if records else None
    return state, attempt if attempt is not None and attempt.logs() else None
