"""One attempt of a job: checked, started, metered, stopped in time, and its end written down."""

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from pydantic import Field

from mdiff.attempt.admission import EarlierAttempts, earlier_attempts, refusal
from mdiff.attempt.bookkeeping import Bookkeeper
from mdiff.attempt.exit_codes import EXIT_CODES, End, JobEnd, end_of, without_progress
from mdiff.attempt.job_files import newest_checkpoint, read_outcome, read_progress
from mdiff.attempt.job_process import JobProcess
from mdiff.attempt.log import AttemptLog, last_words
from mdiff.attempt.meter import Meter
from mdiff.attempt.stop import SignalWatch, read_stop, request_stop, signal_means, stop_request
from mdiff.budget.liveness import boot_id
from mdiff.budget.record import AttemptRecord, EndReason
from mdiff.recipe.exchange import ATTEMPT_VARIABLE, DATASETS_VARIABLE, StopRequest
from mdiff.recipe.job import JobSpec, Submission, recipe_file
from mdiff.recipe.load import parse_settings
from mdiff.recipe.recipe import Recipe
from mdiff.recipe.settings import Settings
from mdiff.run_dir import AttemptDir, RunDir, create_file
from mdiff.units import duration_text, utc_now, utc_stamp

MAY_LACK_PROGRESS: tuple[EndReason, ...] = ("failed", "preempted", "peer_lost", "time_limit")
"""Ends that become `no_progress` when they come twice in a row without a newer checkpoint."""


class Rhythm(Settings):
    """How often the supervisor looks and writes, in seconds."""

    poll_seconds: float = Field(default=0.5, gt=0)
    heartbeat_seconds: float = Field(default=30.0, gt=0)


def supervise(run_dir: RunDir, submission: Submission, rhythm: Rhythm) -> int:
    """Carry out one attempt; the exit code for whoever started us."""
    earlier = earlier_attempts(run_dir, submission)
    attempt = open_attempt(run_dir, submission)
    log = AttemptLog(attempt.log)
    meter = Meter(submission.job.hardware.num_devices, submission.job.kind, earlier.images_done)
    recipe = parse_settings(Recipe, submission.recipe_toml, str(run_dir.recipe))
    books = Bookkeeper(attempt, first_record(attempt, submission, rhythm), [stage.images for stage in recipe.stages], meter, log)
    with SignalWatch() as signals:
        end = refusal(run_dir, submission, earlier)
        if end is None:
            books.heartbeat()
            watch = Watch(
                run_dir=run_dir, attempt=attempt, job=submission.job, earlier=earlier, meter=meter, books=books, signals=signals, log=log,
                poll_seconds=rhythm.poll_seconds,
            )  # fmt: skip
            end = watch.carry_out()
        # Before the record is closed: whoever follows the log stops reading then.
        log.write(f'attempt ends with reason "{end.reason}"' + (f": {end.detail}" if end.detail else ""))
        if not books.close(end):
            log.write("the last ledger record could not be written: the bill ends with the one before, plus one interval")
    return EXIT_CODES[end.reason]


def open_attempt(run_dir: RunDir, submission: Submission) -> AttemptDir:
    """The folder of a new attempt; and the recipes, where this is the first attempt that needs them."""
    attempt = run_dir.attempt(f"{utc_stamp(utc_now())}-{os.getpid()}")
    attempt.path.mkdir(parents=True)
    create_file(run_dir.recipe, submission.recipe_toml)
    create_file(recipe_file(run_dir, submission.id), submission.recipe_toml)
    return attempt


def first_record(attempt: AttemptDir, submission: Submission, rhythm: Rhythm) -> AttemptRecord:
    job, now = submission.job, utc_now().isoformat()
    return AttemptRecord(
        attempt=attempt.name,
        submission=submission.id,
        scheduler_job=submission.scheduler_job or str(os.getpid()),
        kind=job.kind,
        counts=submission.counts,
        backend=job.backend,
        hardware=job.hardware,
        price=job.price,
        host=socket.gethostname(),
        supervisor_pid=os.getpid(),
        boot_id=boot_id(),
        started_at=now,
        heartbeat_at=now,
        heartbeat_interval_seconds=rhythm.heartbeat_seconds,
    )


def job_environment(job: JobSpec, attempt: AttemptDir, inherited: Mapping[str, str]) -> dict[str, str]:
    """Variables of the job's command."""
    return {
        **inherited,
        # Somebody follows the log.
        "PYTHONUNBUFFERED": "1",
        **job.environment,
        DATASETS_VARIABLE: json.dumps(job.datasets),
        ATTEMPT_VARIABLE: str(attempt.path.absolute()),
    }


@dataclass(kw_only=True)
class Watch:
    """Over one running job, from its start to the reason of its end."""

    run_dir: RunDir
    attempt: AttemptDir
    job: JobSpec
    earlier: EarlierAttempts
    meter: Meter
    books: Bookkeeper
    signals: SignalWatch
    log: AttemptLog
    poll_seconds: float
    stop: StopRequest | None = None
    stop_seen_at: float = 0.0
    """Seconds since the attempt began."""
    job_was_asked: bool = False

    def carry_out(self) -> End:
        process = JobProcess(self.job.argv, job_environment(self.job, self.attempt, os.environ), self.attempt.log)
        was_killed = False
        while (code := process.wait(self.poll_seconds)) is None:
            self._observe()
            self._look_for_stop()
            why = self._why_kill()
            if why:
                self.log.write(f"killing the job: {why}")
                code, was_killed = process.kill(), True
                break
            self.books.heartbeat()
        self._observe()
        return self._judge(code, was_killed)

    def _observe(self) -> None:
        """Read what the job says, and charge the time to it."""
        progress = read_progress(self.attempt)
        if progress is not None:
            self.meter.observe(progress.stage, progress.activity, progress.stage_images)
            self.books.note(progress)
        if read_outcome(self.attempt) is not None:
            self.meter.shut_down()

    def _look_for_stop(self) -> None:
        if self.stop is None:
            self.stop = read_stop(self.attempt) or self._own_request()
            if self.stop is None:
                return
            self.stop_seen_at = self.meter.elapsed_seconds
            grace = duration_text(self.job.grace_seconds)
            self.log.write(f"stop: {self.stop.reason}, asked by {self.stop.requested_by}; the job has {grace} for its checkpoint")
        if not self.job_was_asked:
            # On a full disk the job cannot be asked; its grace time runs all the same.
            with suppress(OSError):
                request_stop(self.attempt, self.stop)
                self.job_was_asked = True

    def _own_request(self) -> StopRequest | None:
        """Why this supervisor itself wants the job to leave."""
        if self.signals.names:
            return stop_request(signal_means(self.job.backend), f"signal {self.signals.names[0]}")
        if self._seconds_left() <= self.job.grace_seconds:
            return stop_request("time_limit", f"time limit of {duration_text(self.job.time_limit_seconds or 0)}")
        return None

    def _why_kill(self) -> str:
        """Empty while the job may go on."""
        if len(self.signals.names) > 1:
            return f"second signal ({self.signals.names[-1]})"
        if self.stop is not None and self.meter.elapsed_seconds - self.stop_seen_at >= self.job.grace_seconds:
            return f"it did not leave within {duration_text(self.job.grace_seconds)}"
        return "its time limit is over" if self._seconds_left() <= 0 else ""

    def _seconds_left(self) -> float:
        """Of the time limit of the whole job."""
        limit = self.job.time_limit_seconds
        return float("inf") if limit is None else limit - self.earlier.seconds - self.meter.elapsed_seconds

    def _judge(self, code: int, was_killed: bool) -> End:
        end = end_of(
            JobEnd(
                exit_code=code,
                outcome=read_outcome(self.attempt),
                stop=read_stop(self.attempt) or self.stop,
                was_killed=was_killed,
                last_words=last_words(self.attempt.log),
            )
        )
        checkpoints = [*self.earlier.checkpoints, newest_checkpoint(self.run_dir, self.attempt)]
        if self.job.kind == "train" and end.reason in MAY_LACK_PROGRESS and without_progress(self.earlier.newest_before_job, checkpoints):
            return End("no_progress", f"{len(checkpoints)} attempts, the last two without a newer checkpoint; {end.detail or end.reason}")
        return end
