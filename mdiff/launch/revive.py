"""Jobs that should have come back and did not: found, and started again.

The last resort. A requeue is normally the batch script's, or the controller's; here a person's machine looks after what both have missed,
because the host had no `scontrol`, or the controller was down at that moment.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mdiff.budget.ledger import Ledger, read_ledger
from mdiff.budget.record import RESTARTED_REASONS
from mdiff.errors import LaunchError
from mdiff.launch.scheduler import refresh
from mdiff.launch.slurm.cluster import run_slurm
from mdiff.recipe.job import Submission
from mdiff.run_dir import RunDir

WANTED = ("COMPLETED", "CANCELLED")
"""Ends that somebody wanted, in SLURM's words."""
LOST = ("NODE_FAIL", "PREEMPTED", "TIMEOUT", "BOOT_FAIL")
"""Ends that befell the job; after a supervisor that could not give a reason they count like one."""


@dataclass(frozen=True)
class Finding:
    """What was seen of one run, and done about it."""

    run: str
    text: str
    is_quiet: bool = False
    """Nothing to tell a person."""


def look_after(run_dir: RunDir) -> Finding:
    """Start the run's newest job, or one that it waits for, again if it ended in a way after which it should have come back.

    Raises:
        MdiffError: the scheduler does not answer, or the run's books cannot be read.
    """
    ledger = refresh(run_dir, read_ledger(run_dir), everything=True)
    for submission in _newest_and_what_it_waits_for(ledger):
        reason = why_revive(submission, ledger)
        if reason:
            return _revive(run_dir, submission, reason)
    return Finding(run_dir.name, "nothing to do", is_quiet=True)


def _newest_and_what_it_waits_for(ledger: Ledger) -> Iterator[Submission]:
    """Older jobs of the run are another matter: the newest one has taken their place."""
    submission = ledger.newest_training
    while submission is not None and submission.job.backend == "slurm":
        yield submission
        after = submission.job.after
        submission = next((job for job in ledger.submissions if after and job.scheduler_job == after), None)


def why_revive(submission: Submission, ledger: Ledger) -> str:
    """Why the job should run again, though its scheduler says that it has ended; "" if it should not."""
    records, reading = ledger.records_of(submission.id), ledger.readings.get(submission.id)
    if not submission.ended or reading is None or not records or len(records) >= submission.job.max_attempts:
        return ""
    if not reading.state or reading.state.startswith(WANTED):
        return ""
    reason = records[-1].reason
    if reason is not None:
        return reason if reason in RESTARTED_REASONS else ""
    return reading.state if reading.state.startswith(LOST) else ""


def _revive(run_dir: RunDir, submission: Submission, reason: str) -> Finding:
    ended = f"job {submission.scheduler_job} ended ({reason})"
    try:
        run_slurm("scontrol", "requeue", submission.scheduler_job)
    except LaunchError as error:
        first, last = submission.job.stages or (1, 1)
        again = f"mdiff submit --stage {first}-{last} --backend slurm --run {run_dir.name}"
        return Finding(run_dir.name, f"{ended} and cannot be requeued ({error}); submit again: {again}")
    # The books must know at once that it may spend again.
    refresh(run_dir, read_ledger(run_dir), everything=True)
    return Finding(run_dir.name, f"{ended} and did not come back: requeued")


def runs_of(runs_root: Path) -> list[RunDir]:
    return [RunDir(path.parent) for path in sorted(runs_root.glob("*/submissions"))]
