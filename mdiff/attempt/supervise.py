"""One attempt of a job, as node 0 sees it: checked, started, metered, stopped in time, and its end written down."""

import os
from collections.abc import Callable

from pydantic import Field

from mdiff.attempt.admission import EarlierAttempts, earlier_attempts, refusal, settle_alone
from mdiff.attempt.bookkeeping import Bookkeeper
from mdiff.attempt.exit_codes import EXIT_CODES, START_AGAIN, End, JobEnd, end_of, without_progress
from mdiff.attempt.job_files import newest_checkpoint, read_outcome, read_progress
from mdiff.attempt.log import AttemptLog
from mdiff.attempt.meter import Meter
from mdiff.attempt.node import Node
from mdiff.attempt.peers import end_with_peers, watch_followers
from mdiff.attempt.requeue import ask_for_requeue, may_start_again
from mdiff.attempt.stop import SignalWatch
from mdiff.attempt.watch import Watch
from mdiff.budget.liveness import boot_id
from mdiff.budget.record import AttemptRecord, EndReason
from mdiff.errors import LaunchError
from mdiff.recipe.job import Submission, recipe_file
from mdiff.recipe.load import parse_settings
from mdiff.recipe.recipe import Recipe
from mdiff.recipe.settings import Settings
from mdiff.run_dir import AttemptDir, RunDir, create_file
from mdiff.units import utc_now

MAY_LACK_PROGRESS: tuple[EndReason, ...] = ("failed", "preempted", "peer_lost", "time_limit")
"""Ends that become `no_progress` when they come twice in a row without a newer checkpoint."""


class Rhythm(Settings):
    """How often the supervisor looks and writes, in seconds."""

    poll_seconds: float = Field(default=0.5, gt=0)
    heartbeat_seconds: float = Field(default=30.0, gt=0)


def supervise(run_dir: RunDir, submission: Submission, rhythm: Rhythm, node: Node) -> int:
    """Carry out one attempt; the exit code for whoever started us."""
    job, earlier = submission.job, earlier_attempts(run_dir, submission, node.attempt)
    attempt = open_attempt(run_dir, submission, node)
    log = AttemptLog(attempt.log)
    meter = Meter(node.hardware(job).num_devices, job.kind, earlier.images_done)
    recipe = parse_settings(Recipe, submission.recipe_toml, str(run_dir.recipe))
    first = first_record(attempt, submission, rhythm, node)
    books = Bookkeeper(attempt, first, [stage.images for stage in recipe.stages], meter, log)
    with SignalWatch(job.backend, job.grace_seconds) as signals:
        watch = Watch(
            attempt=attempt, job=job, node=node, signals=signals, log=log, poll_seconds=rhythm.poll_seconds,
            seconds_used=lambda: earlier.seconds + meter.elapsed_seconds, on_look=_observer(attempt, meter, books),
            peers=watch_followers(attempt, node),
        )  # fmt: skip
        end, stop = refusal(run_dir, submission, earlier, node.attempt), None
        if end is None:
            books.heartbeat()
            end = settle_alone(run_dir, submission, node.attempt)
        if end is None:
            job_end = watch.carry_out()
            stop = job_end.stop
            observe(attempt, meter, books)
            end = judge(run_dir, submission, attempt, earlier, node, job_end, log)
        if node.may_requeue:
            ask_for_requeue(attempt, end, len(earlier.checkpoints) + 1, job, watch.job_seconds_left(), stop, log)
        # Before the record is closed: whoever follows the log stops reading then.
        log.write(f'attempt ends with reason "{end.reason}"' + (f": {end.detail}" if end.detail else ""))
        if not books.close(end):
            log.write("the last ledger record could not be written: the bill ends with the one before, plus one interval")
        is_over = not may_start_again(end, len(earlier.checkpoints) + 1, job, watch.job_seconds_left())
    # Kubernetes' operator goes by the exit code alone, and what it would start would only be refused, and billed.
    over_for_good = job.backend == "kubernetes" and is_over and EXIT_CODES[end.reason] == START_AGAIN
    return EXIT_CODES["attempts_used"] if over_for_good else EXIT_CODES[end.reason]


def open_attempt(run_dir: RunDir, submission: Submission, node: Node) -> AttemptDir:
    """The folder of a new attempt; and the recipes, where this is the first attempt that needs them."""
    attempt = run_dir.attempt(node.attempt)
    if attempt.record.exists():
        raise LaunchError(f"attempt {node.attempt} has run already: {attempt.record}; its scheduler has lost count, so submit again")
    # The folder may be there: somebody cancelled the attempt before it began.
    attempt.path.mkdir(parents=True, exist_ok=True)
    create_file(run_dir.recipe, submission.recipe_toml)
    create_file(recipe_file(run_dir, submission.id), submission.recipe_toml)
    return attempt


def first_record(attempt: AttemptDir, submission: Submission, rhythm: Rhythm, node: Node) -> AttemptRecord:
    job, now = submission.job, utc_now().isoformat()
    return AttemptRecord(
        attempt=attempt.name,
        submission=submission.id,
        scheduler_job=node.scheduler_job,
        kind=job.kind,
        counts=submission.counts,
        backend=job.backend,
        hardware=node.hardware(job),
        price=job.price,
        host=node.host,
        supervisor_pid=os.getpid(),
        # In each pod the same few numbers are given again, and so are the names of their process tables.
        boot_id=boot_id() if job.backend != "kubernetes" else "",
        started_at=now,
        heartbeat_at=now,
        heartbeat_interval_seconds=rhythm.heartbeat_seconds,
    )


def observe(attempt: AttemptDir, meter: Meter, books: Bookkeeper) -> None:
    """Read what the job says, and charge the time to it."""
    progress = read_progress(attempt)
    if progress is not None:
        meter.observe(progress.stage, progress.activity, progress.stage_images)
        books.note(progress)
    if read_outcome(attempt) is not None:
        meter.shut_down()


def _observer(attempt: AttemptDir, meter: Meter, books: Bookkeeper) -> Callable[[], None]:
    def look() -> None:
        observe(attempt, meter, books)
        books.heartbeat()

    return look


def judge(
    run_dir: RunDir, submission: Submission, attempt: AttemptDir, earlier: EarlierAttempts, node: Node, job_end: JobEnd, log: AttemptLog
) -> End:
    """Why the attempt ended, seen together with the other nodes and with the attempts before."""
    end = end_with_peers(end_of(job_end), job_end.exit_code, attempt, node, log)
    checkpoints = [*earlier.checkpoints, newest_checkpoint(run_dir, attempt)]
    if submission.job.kind == "train" and end.reason in MAY_LACK_PROGRESS and without_progress(earlier.newest_before_job, checkpoints):
        return End("no_progress", f"{len(checkpoints)} attempts, the last two without a newer checkpoint; {end.detail or end.reason}")
    return end
