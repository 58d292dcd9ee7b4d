"""Whether an attempt may start: checked where the job really runs, whoever started it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from mdiff.attempt.exit_codes import End, without_progress
from mdiff.attempt.job_files import newest_checkpoint, read_progress
from mdiff.budget.ledger import Ledger, read_ledger
from mdiff.budget.liveness import pid_alive_here, supervisor_is_alive
from mdiff.budget.pace import images_done
from mdiff.budget.policy import CHECKPOINT_SECONDS, admit_attempt
from mdiff.budget.record import AttemptRecord
from mdiff.errors import BudgetExceededError, LaunchError
from mdiff.recipe.job import Submission
from mdiff.run_dir import RunDir
from mdiff.units import duration_text, utc_now

LOOK_SECONDS = 2.0
SETTLE_LOOKS = 5


@dataclass(frozen=True)
class EarlierAttempts:
    """What attempts before this one did."""

    images_done: dict[int, int]
    """Stage -> its images that any attempt of the run has done."""
    seconds: float
    """Wall time of this job's earlier attempts."""
    newest_before_job: str
    """Newest checkpoint that attempts of other jobs wrote, by name; "" for none."""
    checkpoints: tuple[str, ...]
    """Of each earlier attempt of this job: the newest checkpoint that it wrote, or ""."""
    checkpoint_seconds: float
    """How long a checkpoint takes: measured by this job, else assumed."""


def earlier_attempts(run_dir: RunDir, submission: Submission, this: str) -> EarlierAttempts:
    """
    Args:
        this: name of the attempt that asks. The scheduler's account may know it before its own record is there.
    """
    ledger = read_ledger(run_dir)
    own = [record for record in ledger.records_of(submission.id) if record.attempt != this]
    attempts = [run_dir.attempt(record.attempt) for record in own]
    others = [
        newest_checkpoint(run_dir, run_dir.attempt(record.attempt)) for record in ledger.records if record.submission != submission.id
    ]
    measured = [progress.checkpoint_seconds for progress in map(read_progress, attempts) if progress and progress.checkpoint_seconds]
    return EarlierAttempts(
        images_done=images_done(ledger.records),
        seconds=sum(record.device_seconds / record.hardware.num_devices for record in own),
        newest_before_job=max(others, default=""),
        checkpoints=tuple(newest_checkpoint(run_dir, attempt) for attempt in attempts),
        checkpoint_seconds=max(measured, default=CHECKPOINT_SECONDS),
    )


def require_alone(submission: Submission, ledger: Ledger) -> None:
    """Two training jobs at the same time would overwrite each other's checkpoints.

    Raises:
        LaunchError: another job of this run trains, or an attempt of this one on this machine; or the submission was withdrawn.
    """
    if submission.withdrawn:
        raise LaunchError(f"submission {submission.id} was withdrawn; submit again")
    running = [record for record in ledger.records if record.kind == "train" and _is_alive(record, submission)]
    if running and submission.job.kind == "train":
        who = f"job {running[-1].scheduler_job}, process {running[-1].supervisor_pid} on {running[-1].host}"
        raise LaunchError(f"run {submission.job.run} is being trained already, by {who}; wait, or cancel it")


def wait_until_alone(run_dir: RunDir, submission: Submission, sleep: Callable[[float], None] = time.sleep) -> None:
    """A supervisor on another machine that was killed looks alive until its heartbeat is old. One that does beat is alive.

    Raises:
        LaunchError: as `require_alone`.
    """
    before: dict[str, str] = {}
    while True:
        ledger = read_ledger(run_dir)
        try:
            return require_alone(submission, ledger)
        except LaunchError:
            beats = {record.attempt: record.heartbeat_at for record in ledger.records if record.reason is None}
            if submission.withdrawn or any(before.get(attempt, beat) != beat for attempt, beat in beats.items()):
                raise
            before = before or beats
        sleep(LOOK_SECONDS)


def settle_alone(run_dir: RunDir, submission: Submission, this: str, sleep: Callable[[float], None] = time.sleep) -> End | None:
    """Look again, now that the record of this attempt is there for others to see. Of two jobs that began at the same moment the later one
    gives way; one that does not had looked before ours was there, and we give way.
    """
    for _ in range(SETTLE_LOOKS):
        ledger = read_ledger(run_dir)
        others = [record for record in ledger.records if record.attempt != this]
        try:
            require_alone(submission, Ledger(ledger.submissions, tuple(others)))
        except LaunchError as error:
            refused = End("failed", str(error))
        else:
            return None
        if any(record.submission < submission.id and _is_alive(record, submission) for record in others):
            break
        sleep(LOOK_SECONDS)
    return refused


def _is_alive(record: AttemptRecord, submission: Submission) -> bool:
    """A scheduler never runs one job twice, so an attempt of this job elsewhere is dead, however fresh its heartbeat is."""
    if record.submission == submission.id:
        return record.reason is None and bool(pid_alive_here(record))
    return supervisor_is_alive(record, utc_now(), pid_alive_here)


def refusal(run_dir: RunDir, submission: Submission, earlier: EarlierAttempts, this: str) -> End | None:
    """Why the job must not start again; None if it may."""
    job = submission.job
    if len(earlier.checkpoints) >= job.max_attempts:
        return End("attempts_used", f"all {job.max_attempts} attempts are used")
    if job.time_limit_seconds is not None and earlier.seconds >= job.time_limit_seconds:
        return End("attempts_used", f"earlier attempts used the time limit of {duration_text(job.time_limit_seconds)}")
    if job.kind == "train" and without_progress(earlier.newest_before_job, earlier.checkpoints):
        return End("no_progress", "the last two attempts left no newer checkpoint")
    try:
        admit_attempt(run_dir, submission, attempt=this, checkpoint_seconds=earlier.checkpoint_seconds)
    except BudgetExceededError as error:
        return End("refused_budget", " ".join(str(error).split()))
    return None
