"""Ends a run's job before its time."""

from collections.abc import Callable
from contextlib import suppress

from mdiff.budget.ledger import read_ledger
from mdiff.errors import LaunchError
from mdiff.launch.backend import open_backend
from mdiff.launch.scheduler import refresh
from mdiff.launch.state import JobState
from mdiff.launch.status import find_submission
from mdiff.run_dir import RunDir
from mdiff.units import duration_text


def cancel_job(run_dir: RunDir, now: bool = False, tell: Callable[[str], None] = lambda text: None) -> str:
    """Ask the newest job of the run to save its work and leave, or end it `now`; a sentence that says what happens now.

    Args:
        tell: given a line, should this take a while.

    Raises:
        LaunchError: there is no job, or it has ended.
    """
    ledger = read_ledger(run_dir)
    submission = find_submission(run_dir, ledger)
    backend = open_backend(submission.job.backend)
    state = backend.look(submission, ledger).state
    if state.is_final:
        raise LaunchError(f"run {run_dir.name} has no job to cancel: job {submission.scheduler_job} is {state}")
    if submission.job.backend == "kubernetes" and not now and state is not JobState.PENDING:
        grace = duration_text(submission.job.grace_seconds)
        tell(f"waiting until its work is saved, at most {grace}; Ctrl-C leaves that to the cluster, but the last of its bill may be missed")
    # What a scheduler forgets together with the job is written down before and after; but nothing keeps it from being cancelled.
    with suppress(LaunchError):
        refresh(run_dir, ledger)
    said = backend.cancel(run_dir, submission, ledger, now)
    with suppress(LaunchError):
        refresh(run_dir, read_ledger(run_dir))
    return said
