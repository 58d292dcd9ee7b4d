"""What every pod of a PyTorchJob starts: `python -m mdiff.attempt.kubernetes`, the supervisor of this pod's node.

Everything that it needs travels in the environment: a job that somebody applied by hand is held to the budget as well. The pod ends when
its attempt ends, with an exit code that says whether the operator shall make it anew (restartPolicy ExitCode).
"""

import math
import os
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from types import FrameType

from mdiff.attempt import pre_stop
from mdiff.attempt.admission import wait_until_alone
from mdiff.attempt.exit_codes import START_AGAIN
from mdiff.attempt.follow import follow
from mdiff.attempt.gather import gather, read_members
from mdiff.attempt.join import Applicant, living_record, takes_place
from mdiff.attempt.node import JOIN_SECONDS
from mdiff.attempt.pod import Pod, attempts_of, job_variables, next_attempt, open_run_dir, pod_node, read_pod
from mdiff.attempt.supervise import Rhythm, supervise
from mdiff.attempt.tell import Telling, tell_books, tell_totals
from mdiff.budget.ledger import Ledger, is_open, read_ledger
from mdiff.budget.policy import withdraw
from mdiff.budget.record import RESTARTED_REASONS, AttemptRecord
from mdiff.budget.sync import Reading, write_readings
from mdiff.errors import LaunchError, MdiffError, UsageError
from mdiff.recipe.carried import SUBMISSION_ID, unpack
from mdiff.recipe.job import JobSpec, Submission, read_submission
from mdiff.recipe.load import frozen_differences, load_recipe, parse_settings
from mdiff.recipe.recipe import Recipe
from mdiff.run_dir import AttemptDir, RunDir, create_file
from mdiff.units import utc_now, utc_stamp

LOOK_SECONDS = 0.5


def main() -> int:
    """The exit code; a user's mistake is one line in the log."""
    # The first process of a container ignores what it has no handler for.
    signal.signal(signal.SIGTERM, _leave)
    variables = dict(os.environ)
    try:
        pod = read_pod(variables)
        now = utc_now()
        told = unpack(variables, variables.get(SUBMISSION_ID) or _new_id(now), now.isoformat())
        run_dir = open_run_dir(told.job)
        os.environ.clear()
        os.environ.update(job_variables(variables))
        return lead(run_dir, told, pod, variables) if pod.index == 0 else join(run_dir, told.job, pod)
    except MdiffError as error:
        print(f"error: {error}", flush=True)
        return error.exit_code
    except OSError as error:
        print(f"error: {error.filename or 'the volume of the run directories'}: {error.strerror}", flush=True)
        return LaunchError.exit_code


def lead(run_dir: RunDir, told: Submission, pod: Pod, variables: Mapping[str, str]) -> int:
    """Node 0: it keeps the books."""
    submission = register(run_dir, told, pod, has_id=SUBMISSION_ID in variables)
    try:
        require_same_settings(run_dir, submission)
        wait_until_alone(run_dir, submission)
    except MdiffError:
        # Nobody shall count on it, and its limit is not the run's.
        if not read_ledger(run_dir).records_of(submission.id):
            withdraw(run_dir, submission)
        raise
    ledger = read_ledger(run_dir)
    close_lost_jobs(run_dir, submission, ledger)
    attempt = run_dir.attempt(next_attempt(run_dir, pod))
    members = gather(attempt, submission.job, pod_node(pod, attempt.name, run_dir, submission).is_superseded)
    node = pod_node(pod, attempt.name, run_dir, submission, members)
    pre_stop.note_attempt(attempt)
    # While it runs, the supervisor hears signals itself; what it has to say at its end is not to be cut off by one.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with Telling(attempt, 0, submission.id):
        tell_books(run_dir, ledger)
        code = supervise(run_dir, submission, Rhythm(), node)
    tell_totals(run_dir, submission)
    return code


def join(run_dir: RunDir, job: JobSpec, pod: Pod) -> int:
    """The others: they wait for node 0."""
    found = Applicant(run_dir, pod, job.elastic).wait() if job.elastic else wait_for_attempt(run_dir, pod)
    if found is None:
        print(f"error: the master of job {pod.job} began no attempt within {JOIN_SECONDS} s", flush=True)
        return START_AGAIN
    attempt, record = found
    submission = read_submission(run_dir, record.submission)
    pre_stop.note_attempt(attempt)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with Telling(attempt, pod.index, submission.id):
        return follow(run_dir, submission, Rhythm(), pod_node(pod, attempt.name, run_dir, submission, read_members(attempt) or ()))


def register(run_dir: RunDir, told: Submission, pod: Pod, has_id: bool) -> Submission:
    """The submission in the run's books: made when its job starts for the first time, found again when it is started again.

    A job that was applied by hand has no name of its own submission. It is the one that its books know under its job's name, as long as
    that one may still be started again; otherwise somebody has applied it anew.
    """
    if not has_id:
        ledger = read_ledger(run_dir)
        for known in reversed(ledger.submissions):
            if known.scheduler_job == pod.job and known.job == told.job and _may_go_on(known, ledger):
                return known
    submission = told.model_copy(update={"scheduler_job": pod.job})
    create_file(run_dir.submission(submission.id), submission.model_dump_json(indent=2))
    return read_submission(run_dir, submission.id)


def require_same_settings(run_dir: RunDir, submission: Submission) -> None:
    """
    Raises:
        UsageError: the run has begun with another model, other data or other stages.
    """
    if not run_dir.recipe.is_file():
        return
    recipe = parse_settings(Recipe, submission.recipe_toml, "the job's recipe")
    differences = frozen_differences(load_recipe(str(run_dir.recipe)), recipe)
    if differences:
        raise UsageError(f"run {run_dir.name} has begun with other settings; submit under another --run NAME ({differences[0]})")


def close_lost_jobs(run_dir: RunDir, submission: Submission, ledger: Ledger) -> None:
    """Only one job trains a run at a time. Another one that was started and does not live was deleted: its reservation is free again."""
    now = utc_now()
    others = [job for job in ledger.submissions if job.id != submission.id and job.job.kind == "train"]
    # One without a record may be about to begin: of two at that moment the budget counts both, and one gives way (settle_alone).
    begun = [job for job in others if (records := ledger.records_of(job.id)) and is_open(job, records, now)]
    if begun and submission.job.kind == "train":
        write_readings(run_dir, [_closed(job, ledger, now.isoformat()) for job in begun])


def _closed(job: Submission, ledger: Ledger, read_at: str) -> Reading:
    """What its scheduler has said of it stays."""
    known = ledger.readings.get(job.id)
    reading = known or Reading(submission=job.id, scheduler_job=job.scheduler_job, read_at=read_at, ended=True, has_accounting=False)
    return reading.model_copy(update={"state": "superseded", "ended": True, "read_at": read_at})


def wait_for_attempt(run_dir: RunDir, pod: Pod) -> tuple[AttemptDir, AttemptRecord] | None:
    """The first living attempt of this job that has no other pod in this one's place."""
    deadline = time.monotonic() + JOIN_SECONDS
    while time.monotonic() < deadline:
        for attempt in attempts_of(run_dir, pod.job)[-1:]:
            record = living_record(attempt)
            if record and takes_place(attempt, pod):
                return attempt, record
        time.sleep(LOOK_SECONDS)
    return None


def _may_go_on(submission: Submission, ledger: Ledger) -> bool:
    records, job = ledger.records_of(submission.id), submission.job
    used = sum(record.device_seconds / record.hardware.num_devices for record in records)
    is_used_up = len(records) >= job.max_attempts or (job.time_limit_seconds or math.inf) - used <= job.grace_seconds
    has_ended = submission.ended or submission.withdrawn or (bool(records) and records[-1].reason not in (None, *RESTARTED_REASONS))
    return not has_ended and not is_used_up


def _new_id(now: datetime) -> str:
    return f"{utc_stamp(now)}-{secrets.token_hex(2)}"


def _leave(number: int, frame: FrameType | None) -> None:
    """Nothing has begun that would have to be saved."""
    raise SystemExit(START_AGAIN)


if __name__ == "__main__":
    sys.exit(main())
