"""Jobs that should have come back and did not: found, and started again.

The last resort. A requeue is normally the batch script's, or the controller's; here a person's machine looks after what both have missed,
because the host had no `scontrol`, or the controller was down at that moment.
"""

from dataclasses import dataclass
from pathlib import Path

from mdiff.budget.ledger import Ledger, read_ledger
from mdiff.budget.record import RESTARTED_REASONS
from mdiff.errors import MdiffError
from mdiff.launch.scheduler import refresh
from mdiff.launch.slurm_cluster import run_slurm
from mdiff.recipe.job import Submission
from mdiff.run_dir import RunDir


@dataclass(frozen=True)
class Finding:
    """What was seen of one run, and done about it."""

    run: str
    text: str
    is_quiet: bool = False
    """Nothing to tell a person."""


def look_after(run_dir: RunDir) -> Finding:
    """Start the run's newest job again if it ended in a way after which it should have come back.

    Raises:
        LaunchError: the scheduler does not answer.
    """
    ledger = refresh(run_dir, read_ledger(run_dir))
    submission = ledger.newest_training
    if submission is None or submission.job.backend != "slurm":
        return Finding(run_dir.name, "no SLURM job", is_quiet=True)
    reason = why_revive(submission, ledger)
    if not reason:
        return Finding(run_dir.name, f"job {submission.scheduler_job}: nothing to do", is_quiet=True)
    ended = f"job {submission.scheduler_job} ended ({reason})"
    try:
        run_slurm("scontrol", "requeue", submission.scheduler_job)
    except MdiffError as error:
        first, last = submission.job.stages or (1, 1)
        again = f"mdiff submit --stage {first}-{last} --backend slurm --run {run_dir.name}"
        return Finding(run_dir.name, f"{ended} and cannot be requeued ({error}); submit again: {again}")
    return Finding(run_dir.name, f"{ended} and did not come back: requeued")


def why_revive(submission: Submission, ledger: Ledger) -> str:
    """Why the job should run again, though its scheduler says that it has ended; "" if it should not."""
    records = ledger.records_of(submission.id)
    reading = ledger.readings.get(submission.id)
    if not submission.ended or not records or len(records) >= submission.job.max_attempts:
        return ""
    word = reading.attempts[-1].state if reading and reading.attempts else ""
    if word.startswith(("CANCELLED", "COMPLETED")):
        return ""
    newest = records[-1]
    return newest.reason if newest.reason in RESTARTED_REASONS else ""


def runs_of(runs_root: Path) -> list[RunDir]:
    return [RunDir(path.parent) for path in sorted(runs_root.glob("*/submissions"))]
