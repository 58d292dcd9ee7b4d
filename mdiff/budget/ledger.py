"""The ledger: what was promised and what was spent. Totals are a fold over small files that have one writer each.

An attempt is billed by its meter, which counts device-seconds on a monotonic clock up to the last heartbeat, or by the scheduler's own
account where that says more. Without such an account, a supervisor that died without a reason is billed one interval more: that much may
have passed unseen. One that is alive will count that time itself at its next heartbeat.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import ValidationError

from mdiff.budget.liveness import PidAlive, pid_alive_here, supervisor_is_alive
from mdiff.budget.record import RESTARTED_REASONS, AttemptRecord, device_time_usd
from mdiff.budget.sync import UNMETERED, Reading, ReadingFile, SchedulerAttempt
from mdiff.errors import MdiffError
from mdiff.recipe.job import Submission
from mdiff.recipe.settings import Settings
from mdiff.run_dir import RunDir

START_SECONDS = 60.0
"""A local job that has not begun an attempt this long after its submission never will."""

UNSEEN = "unseen"
"""Activity of what the meter did not see: before its first and after its last heartbeat."""

File = TypeVar("File", bound=Settings)


class BilledTime(NamedTuple):
    """Part of an attempt's bill."""

    stage: int
    activity: str
    device_seconds: float
    usd: Decimal


@dataclass(frozen=True)
class Ledger:
    """Everything that a run's directory says about money, as it was read."""

    submissions: tuple[Submission, ...] = ()
    """In order of submission."""
    records: tuple[AttemptRecord, ...] = ()
    """In order of start."""
    readings: Mapping[str, Reading] = field(default_factory=dict)
    """Submission -> what its scheduler said last."""

    def records_of(self, submission_id: str) -> Sequence[AttemptRecord]:
        """Attempts of one job, in order of start."""
        return self._by_submission.get(submission_id, ())

    @property
    def newest_submission(self) -> Submission | None:
        """The one whose limit counts. A withdrawn one never took effect."""
        return next((submission for submission in reversed(self.submissions) if not submission.withdrawn), None)

    @property
    def newest_training(self) -> Submission | None:
        """The newest one that trains: what remains would run as it did."""
        return next((s for s in reversed(self.submissions) if s.job.kind == "train" and not s.withdrawn), None)

    @property
    def may_lack(self) -> bool:
        """Something may have been spent that nobody saw: sums are lower bounds."""
        return any(reading.may_lack for reading in self.readings.values())

    @cached_property
    def _by_submission(self) -> dict[str, list[AttemptRecord]]:
        groups = defaultdict(list)
        for record in self.records:
            groups[record.submission].append(record)
        return groups


def read_ledger(run_dir: RunDir) -> Ledger:
    """
    Raises:
        MdiffError: a file cannot be read or understood; nothing is counted then, rather than too little.
    """
    submissions = (_read(path, Submission) for path in run_dir.submissions.glob("*.json"))
    records = (_read(attempt.record, AttemptRecord) for attempt in run_dir.attempt_dirs())
    return with_readings(Ledger(tuple(filter(None, submissions)), tuple(filter(None, records))), newest_readings(run_dir))


def with_readings(ledger: Ledger, readings: Mapping[str, Reading]) -> Ledger:
    """The ledger with what schedulers say of its jobs."""
    submissions = {submission.id: submission for submission in ledger.submissions}
    records = {record.attempt: record for record in ledger.records}
    for reading in readings.values():
        submission = submissions.get(reading.submission)
        if submission is not None:
            submissions[submission.id] = submission.model_copy(update={"ended": reading.ended})
            known = [told for told in reading.attempts if not _was_heard_since(told.attempt, records)]
            records |= {told.attempt: _told_by_scheduler(told, records.get(told.attempt), submission, reading) for told in known}
    return Ledger(
        tuple(sorted(submissions.values(), key=lambda submission: submission.id)),
        tuple(sorted(records.values(), key=lambda record: (record.started_at, record.attempt))),
        {**ledger.readings, **readings},
    )


def _was_heard_since(attempt: str, records: Mapping[str, AttemptRecord]) -> bool:
    """Kubernetes: the supervisor of a pod has spoken after the scheduler's account was read, and its attempt has a record of its own."""
    job, _, uid = attempt.rpartition(f".{UNMETERED}")
    return bool(job) and any(name.startswith(f"{job}.") and name.endswith(f".{uid}") for name in records)


def newest_readings(run_dir: RunDir) -> dict[str, Reading]:
    """Submission -> what its scheduler said last. The files' names begin with their time."""
    files = (_read(path, ReadingFile) for path in sorted(run_dir.sync.glob("*.json")))
    return {reading.submission: reading for file in files if file for reading in file.readings}


def _told_by_scheduler(told: SchedulerAttempt, record: AttemptRecord | None, submission: Submission, reading: Reading) -> AttemptRecord:
    """The attempt's record with the scheduler's figure; a record is made where the attempt died before its meter started."""
    if record is not None:
        return record.model_copy(update={"scheduler_device_seconds": told.device_seconds, "scheduler_read_at": reading.read_at})
    job = submission.job
    return AttemptRecord(
        attempt=told.attempt, submission=submission.id, scheduler_job=submission.scheduler_job, kind=job.kind, counts=submission.counts,
        backend=job.backend, hardware=job.hardware, price=job.price, host="", supervisor_pid=0, boot_id="", started_at=told.started_at,
        heartbeat_at=told.started_at, heartbeat_interval_seconds=0.0, scheduler_device_seconds=told.device_seconds,
        scheduler_read_at=reading.read_at,
        detail=f"its meter never started; the scheduler says {told.state}",
    )  # fmt: skip


def _read(path: Path, kind: type[File]) -> File | None:
    """None while the file is not there: an attempt's folder is made before its record."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MdiffError(f"cannot read {path}, so spending cannot be counted: {error.strerror}") from error
    except ValidationError as error:
        finding = error.errors(include_url=False)[0]
        problem = ": ".join([*(str(part) for part in finding["loc"]), finding["msg"]])
        raise MdiffError(
            f"{path} is damaged, so spending cannot be counted ({problem})\n"
            "  Restore it from a backup, or move it out of the run directory: what it holds is then not counted."
        ) from error


def billed_times(record: AttemptRecord, now: datetime, *, pid_alive: PidAlive = pid_alive_here) -> Iterator[BilledTime]:
    """The parts of an attempt's bill."""
    for part in record.slices:
        yield BilledTime(part.stage, part.activity, part.device_seconds, device_time_usd(part.device_seconds, record.price))
    seconds = _unseen_device_seconds(record, now, pid_alive)
    if seconds > 0:
        yield BilledTime(record.stage, UNSEEN, seconds, device_time_usd(seconds, record.price))


def _unseen_device_seconds(record: AttemptRecord, now: datetime, pid_alive: PidAlive) -> float:
    told = record.scheduler_device_seconds
    more = max(0.0, told - record.device_seconds) if told is not None else 0.0
    knows_better = told is not None and record.scheduler_read_at >= record.heartbeat_at
    if knows_better or record.reason is not None or supervisor_is_alive(record, now, pid_alive):
        return more
    return max(more, record.heartbeat_interval_seconds * record.hardware.num_devices)


def billed_usd(record: AttemptRecord, now: datetime, *, pid_alive: PidAlive = pid_alive_here) -> Decimal:
    """The bill of one attempt."""
    return sum((time.usd for time in billed_times(record, now, pid_alive=pid_alive)), Decimal(0))


def spent_usd(ledger: Ledger, now: datetime, counted: bool = True, *, pid_alive: PidAlive = pid_alive_here) -> Decimal:
    """Spent on jobs that count against the limit or, with `counted` False, on the others."""
    return sum((billed_usd(record, now, pid_alive=pid_alive) for record in ledger.records if record.counts is counted), Decimal(0))


def committed_usd(ledger: Ledger, now: datetime, *, excluding: str = "", before: str = "", pid_alive: PidAlive = pid_alive_here) -> Decimal:
    """What open jobs are still expected to spend: max(0, reservation - billed) of each.

    Args:
        excluding: id of a submission that is left out.
        before: only submissions with a smaller id, which came earlier, are counted.
    """
    counted = (
        submission
        for submission in ledger.submissions
        if submission.counts and submission.id != excluding and (not before or submission.id < before)
    )
    return sum((_remaining_usd(submission, ledger, now, pid_alive) for submission in counted), Decimal(0))


def _remaining_usd(submission: Submission, ledger: Ledger, now: datetime, pid_alive: PidAlive) -> Decimal:
    attempts = ledger.records_of(submission.id)
    if not is_open(submission, attempts, now, pid_alive=pid_alive):
        return Decimal(0)
    billed = sum((billed_usd(record, now, pid_alive=pid_alive) for record in attempts), Decimal(0))
    return max(Decimal(0), submission.reservation_usd - billed)


def is_open(submission: Submission, attempts: Sequence[AttemptRecord], now: datetime, *, pid_alive: PidAlive = pid_alive_here) -> bool:
    """Whether the job may still spend. `attempts` are its own, in order of start.

    A scheduler may start a job long after its submission, and again after an attempt was lost; the local backend does neither.
    """
    has_scheduler = submission.job.backend != "local"
    if submission.withdrawn or submission.ended:
        return False
    if not attempts:
        waited = now - datetime.fromisoformat(submission.submitted_at)
        return has_scheduler or waited.total_seconds() <= START_SECONDS
    newest = attempts[-1]
    if newest.reason is None:
        return has_scheduler or supervisor_is_alive(newest, now, pid_alive)
    return has_scheduler and newest.reason in RESTARTED_REASONS and len(attempts) < submission.job.max_attempts
