"""A run's jobs, asked after at their scheduler until it says that they have ended; what is new goes into `sync/`."""

from collections.abc import Sequence

from mdiff.budget.ledger import Ledger, read_ledger, with_readings
from mdiff.budget.sync import same_facts, write_readings
from mdiff.errors import LaunchError
from mdiff.launch.backend import open_backend
from mdiff.launch.kubernetes.adopt import adopt_jobs
from mdiff.launch.stage_rules import open_training_jobs
from mdiff.recipe.job import Submission
from mdiff.recipe.site import BackendName, Site
from mdiff.run_dir import RunDir


def refresh(run_dir: RunDir, ledger: Ledger, *, everything: bool = False, keep: bool = True, only: BackendName | None = None) -> Ledger:
    """The ledger with what the schedulers say now.

    Args:
        everything: ask again after jobs, too, whose end the scheduler has told before.
        only: jobs of this backend.
        keep: write what is new into `sync/`; without, only the answer has it.

    Raises:
        LaunchError: a scheduler does not answer.
    """
    ledger = catch_up(run_dir, ledger, _asked(ledger, everything, only))
    fresh = [reading for job in _asked(ledger, everything, only) if (reading := open_backend(job.job.backend).read(job, ledger))]
    news = [reading for reading in fresh if not same_facts(ledger.readings.get(reading.submission), reading)]
    if news and keep:
        write_readings(run_dir, news)
    return with_readings(ledger, {reading.submission: reading for reading in news}) if news else ledger


def catch_up(run_dir: RunDir, ledger: Ledger, jobs: Sequence[Submission]) -> Ledger:
    """The ledger with what jobs wrote where this machine cannot see it.

    Raises:
        LaunchError: a scheduler does not answer.
    """
    news = [open_backend(job.job.backend).catch_up(run_dir, job, ledger) for job in jobs]
    return read_ledger(run_dir) if any(news) else ledger


def has_scheduler(submission: Submission) -> bool:
    return submission.job.backend != "local" and not submission.withdrawn


def _asked(ledger: Ledger, everything: bool, only: BackendName | None) -> list[Submission]:
    jobs = [job for job in ledger.submissions if has_scheduler(job) and only in (None, job.job.backend)]
    return [job for job in jobs if everything or not job.ended or _was_revived(job, ledger)]


def _was_revived(submission: Submission, ledger: Ledger) -> bool:
    """Somebody has requeued a job after we had read its end."""
    records, reading = ledger.records_of(submission.id), ledger.readings.get(submission.id)
    return bool(records) and reading is not None and records[-1].started_at > reading.read_at


def current_ledger(run_dir: RunDir, dry_run: bool, site: Site) -> tuple[Ledger, tuple[str, ...]]:
    """The ledger, with what schedulers say of jobs that it takes for open, since they may have ended.

    On Kubernetes also with the jobs that others have submitted: each of them knows of no other's.

    In a dry run also without that, and with a warning.

    Raises:
        LaunchError: a scheduler does not answer.
    """
    if site.backend == "kubernetes" and not dry_run:
        adopt_jobs(run_dir.path.parent, site.kubernetes, run_dir.name)
    ledger = read_ledger(run_dir)
    if not open_training_jobs(ledger):
        return ledger, ()
    try:
        return refresh(run_dir, ledger, keep=not dry_run), ()
    except LaunchError as error:
        if not dry_run:
            raise
        return ledger, (f"jobs of this run count as open: {error}",)
