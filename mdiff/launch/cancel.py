"""Ends a run's job before its time."""

from mdiff.budget.ledger import read_ledger
from mdiff.errors import LaunchError
from mdiff.launch.backend import open_backend
from mdiff.launch.status import find_submission
from mdiff.run_dir import RunDir


def cancel_job(run_dir: RunDir, now: bool = False) -> str:
    """Ask the newest job of the run to save its work and leave, or end it `now`; a sentence that says what happens now.

    Raises:
        LaunchError: there is no job, or it has ended.
    """
    ledger = read_ledger(run_dir)
    submission = find_submission(run_dir, ledger)
    backend = open_backend(submission.job.backend)
    state = backend.look(submission, ledger).state
    if state.is_final:
        raise LaunchError(f"run {run_dir.name} has no job to cancel: job {submission.scheduler_job} is {state}")
    return backend.cancel(run_dir, submission, ledger, now)
