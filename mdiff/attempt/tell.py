"""What a pod says to those who see nothing but its log: the job's own words and, in lines of their own, its books.

Whoever submitted the job may see neither the volume nor the pods that ran yesterday. So node 0 tells its ledger record while it runs
and, at its end, those of all attempts of the run.
"""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TextIO

from pydantic import Field, ValidationError

from mdiff.attempt.job_files import read_progress
from mdiff.budget.ledger import Ledger, read_ledger, spent_usd
from mdiff.budget.policy import amount_text, limit_in_force
from mdiff.budget.record import AttemptRecord
from mdiff.errors import MdiffError
from mdiff.recipe.exchange import Progress
from mdiff.recipe.job import Submission
from mdiff.recipe.settings import Settings
from mdiff.run_dir import PLAIN_NAME, AttemptDir, RunDir
from mdiff.units import usd_text, utc_now

MARK = "::mdiff "
TELL_SECONDS = 30.0
LOOK_SECONDS = 0.3


class Bulletin(Settings):
    """One line of the books."""

    attempt: str = Field(pattern=PLAIN_NAME)
    """Becomes the name of a folder, so it is nothing else than a name."""
    node: int = 0
    """Who speaks; the lines that follow are that node's."""
    submission: str = ""
    """As the job's own books call it; told once, at the beginning."""
    record: AttemptRecord | None = None
    progress: Progress | None = None
    is_last: bool = False
    """Told at the end of an attempt, when its record is closed: perhaps of an earlier one."""

    def line(self) -> str:
        return MARK + self.model_dump_json(exclude_defaults=True)


def read_bulletin(line: str) -> Bulletin | None:
    """None: it is no such line, or one from another version."""
    if not line.startswith(MARK):
        return None
    try:
        return Bulletin.model_validate_json(line.removeprefix(MARK))
    except ValidationError:
        return None


class LogCopy:
    """Hands on what is appended to a file, line by line, so that other lines may stand between."""

    def __init__(self, path: Path, output: TextIO) -> None:
        self._path = path
        self._output = output
        self._offset = 0

    def copy(self, to_the_end: bool = False) -> None:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                block = file.read()
        except OSError:
            return
        whole = block if to_the_end else block[: block.rfind(b"\n") + 1]
        if not whole:
            return
        self._offset += len(whole)
        text = whole.decode(errors="replace")
        self._output.write(text if text.endswith("\n") else f"{text}\n")
        self._output.flush()


class Telling:
    """Speaks from `with` to its end, in a thread: the supervisor itself must never wait for a log that nobody takes."""

    def __init__(
        self, attempt: AttemptDir, node: int, submission: str, output: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._attempt, self._node, self._submission = attempt, node, submission
        self._output = output or sys.stdout
        self._clock = clock
        self._log = LogCopy(attempt.log_of(node), self._output)
        self._told_at = float("-inf")
        self._told = ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._speak, name="telling", daemon=True)

    def __enter__(self) -> "Telling":
        self.say(Bulletin(attempt=self._attempt.name, node=self._node, submission=self._submission))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()
        self._log.copy(to_the_end=True)

    def say(self, bulletin: Bulletin) -> None:
        self._output.write(bulletin.line() + "\n")
        self._output.flush()

    def _speak(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            self._log.copy()
            if self._node == 0:
                self._tell()

    def _tell(self) -> None:
        """The record whenever it was replaced, but not more often than people's logs can bear; a change of activity at once."""
        try:
            record = AttemptRecord.model_validate_json(self._attempt.record.read_bytes())
        except (OSError, ValueError):
            return
        activity = f"{record.stage} {len(record.slices)} {record.reason}"
        if activity == self._told and self._clock() - self._told_at < TELL_SECONDS:
            return
        self._told, self._told_at = activity, self._clock()
        self.say(Bulletin(attempt=record.attempt, record=record, progress=read_progress(self._attempt)))


def tell_books(run_dir: RunDir, ledger: Ledger, output: TextIO | None = None) -> None:
    """The records of all attempts of the run so far: whoever reads this may have missed the pods of some."""
    for record in ledger.records:
        bulletin = Bulletin(attempt=record.attempt, record=record, progress=read_progress(run_dir.attempt(record.attempt)), is_last=True)
        print(bulletin.line(), file=output or sys.stdout, flush=True)


def tell_totals(run_dir: RunDir, submission: Submission, output: TextIO | None = None) -> None:
    """The last lines of the log: the books of the whole run, and their sum for people."""
    output = output or sys.stdout
    try:
        ledger, now = read_ledger(run_dir), utc_now()
    except MdiffError as error:
        print(f"error: {error}", file=output, flush=True)
        return
    tell_books(run_dir, ledger, output)
    own = ledger.records_of(submission.id)
    if own and own[-1].reason not in ("completed", "budget"):
        # Kubernetes keeps the last lines of a log that ended with a failure.
        print(f"error: {own[-1].reason}: {own[-1].detail}", file=output)
    spent, limit = amount_text(spent_usd(ledger, now)), usd_text(limit_in_force(submission, ledger))
    count = len(ledger.records)
    print(f"spent {spent} of {limit} in {count} attempt{'s' if count != 1 else ''} of run {run_dir.name}", file=output, flush=True)
