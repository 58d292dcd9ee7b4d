"""What a run is doing: one object, for the table and for --json."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from pydantic import Field

from mdiff.attempt.job_files import read_progress
from mdiff.budget.estimate import remaining_work
from mdiff.budget.ledger import Ledger, is_open, read_ledger
from mdiff.budget.pace import images_done, measured_images_per_second
from mdiff.budget.record import AttemptRecord
from mdiff.budget.report import Amount, budget_report
from mdiff.errors import LaunchError
from mdiff.launch.backend import look_at
from mdiff.launch.scheduler import refresh
from mdiff.launch.state import JobState
from mdiff.recipe.exchange import Progress
from mdiff.recipe.job import Submission
from mdiff.recipe.load import parse_settings
from mdiff.recipe.recipe import Recipe
from mdiff.recipe.settings import Settings
from mdiff.recipe.site import BackendName
from mdiff.run_dir import RunDir
from mdiff.units import SECONDS_PER_HOUR, utc_now


class StageStatus(Settings):
    """Where training stands."""

    stage: int = Field(description="Counted from 1.")
    name: str
    step: int
    steps: int
    images_seen: int
    """Over all stages."""
    loss: float | None
    images_per_second: float | None
    """Of one device."""
    mfu: float | None
    stage_seconds_left: float | None
    job_seconds_left: float | None
    """Of all stages of the job; those that have not begun at an estimated speed."""


class RunStatus(Settings):
    """The newest job of a run, and the run's money."""

    run: str
    run_dir: str
    submission: str
    job: str
    """The scheduler's id."""
    backend: BackendName
    state: JobState
    detail: str
    """Why it waits or has ended, in one line."""
    stages: tuple[int, int] | None
    attempts: int
    requeued_after: tuple[str, ...]
    """Why each earlier attempt ended."""
    host: str
    unit: str
    """What is billed: GPU or process."""
    progress: StageStatus | None
    spent_usd: Amount
    """Of the whole run."""
    may_lack: bool
    """What was spent is a lower bound: pods may have run that nobody saw."""
    limit_usd: Amount
    forecast_usd: Amount | None
    newest_checkpoint: str
    newest_checkpoint_at: str
    newest_samples: str
    """Path."""


def read_status(run_dir: RunDir, submission_id: str = "") -> RunStatus:
    """Status of a job; of the run's newest one unless told otherwise.

    Raises:
        LaunchError: there is no such job.
    """
    ledger = current_books(run_dir)
    submission = find_submission(run_dir, ledger, submission_id)
    records = ledger.records_of(submission.id)
    progress = newest_progress(run_dir, records)
    recipe = parse_settings(Recipe, submission.recipe_toml, str(run_dir.recipe))
    report = budget_report(recipe, ledger, submission.job.hardware, submission.job.price, utc_now(), run_dir.path.parent, run=run_dir.name)
    state, note = look_at(submission, ledger)
    return RunStatus(
        run=run_dir.name,
        run_dir=str(run_dir.path),
        submission=submission.id,
        job=submission.scheduler_job or (records[-1].scheduler_job if records else submission.id),
        backend=submission.job.backend,
        state=state,
        detail=_detail(state, records, note),
        stages=submission.job.stages,
        attempts=len(records),
        requeued_after=tuple(record.reason or "killed" for record in records[:-1]),
        host=records[-1].host if records else "",
        unit=report.unit,
        progress=stage_status(recipe, submission, ledger, progress) if progress else None,
        spent_usd=report.total.spent_usd,
        may_lack=report.may_lack,
        limit_usd=report.limit_usd,
        forecast_usd=report.total.forecast_usd,
        newest_checkpoint=progress.newest_checkpoint if progress else "",
        newest_checkpoint_at=progress.newest_checkpoint_at if progress else "",
        newest_samples=str(Path(submission.job.run_dir) / progress.newest_samples) if progress and progress.newest_samples else "",
    )


def current_books(run_dir: RunDir) -> Ledger:
    """What can be known here; while a scheduler does not answer, what was known before."""
    ledger = read_ledger(run_dir)
    try:
        return refresh(run_dir, ledger, only="kubernetes")
    except LaunchError:
        return ledger


def find_submission(run_dir: RunDir, ledger: Ledger, submission_id: str = "") -> Submission:
    """
    Raises:
        LaunchError: there is none.
    """
    if submission_id:
        found = next((submission for submission in ledger.submissions if submission.id == submission_id), None)
    else:
        # A job that was refused at its start must not hide the one that runs.
        now = utc_now()
        still_open = (job for job in reversed(ledger.submissions) if is_open(job, ledger.records_of(job.id), now))
        found = next(still_open, ledger.newest_submission)
    if found is None:
        raise LaunchError(f"run {run_dir.name} in {run_dir.path.parent} has no job yet\n  Next: mdiff submit --stage 1")
    return found


def newest_progress(run_dir: RunDir, records: Sequence[AttemptRecord]) -> Progress | None:
    """What the job last told; an attempt that has just begun has told nothing yet."""
    told = (read_progress(run_dir.attempt(record.attempt)) for record in reversed(records))
    return next((progress for progress in told if progress is not None), None)


def stage_status(recipe: Recipe, submission: Submission, ledger: Ledger, progress: Progress) -> StageStatus:
    stage, devices = recipe.stages[progress.stage - 1], submission.job.hardware.num_devices
    rate = progress.images_per_second
    return StageStatus(
        stage=progress.stage,
        name=stage.name,
        step=progress.step,
        steps=progress.steps,
        images_seen=progress.images_seen,
        loss=progress.loss,
        images_per_second=rate / devices if rate else None,
        mfu=progress.mfu,
        stage_seconds_left=(stage.images - progress.stage_images) / rate if rate else None,
        job_seconds_left=_job_seconds_left(recipe, submission, ledger, progress),
    )


def find_run(runs_root: Path, run: str = "") -> RunDir:
    """The run of this name, else the one with the newest job.

    Raises:
        LaunchError: there is no run.
    """
    if run:
        return RunDir(runs_root / run)
    newest = max(_newest_jobs(runs_root), default=None)
    if newest is None:
        raise LaunchError(f"no run in {runs_root} yet; look elsewhere with --runs-dir\n  Next: mdiff submit --stage 1      or mdiff demo")
    return RunDir(newest[1])


def _newest_jobs(runs_root: Path) -> Iterator[tuple[str, Path]]:
    """(id of its newest submission, folder) of each run; ids begin with their time."""
    for path in runs_root.glob("*/submissions"):
        ids = [file.stem for file in path.glob("*.json")]
        if ids:
            yield max(ids), path.parent


def _detail(state: JobState, records: Sequence[AttemptRecord], note: str) -> str:
    newest = records[-1] if records else None
    if not state.is_final:
        return note
    if newest is None:
        return ": ".join(filter(None, ("it never began", note)))
    if newest.reason is None and state.is_final:
        return ": ".join(filter(None, ("its supervisor was killed", note)))
    reason = newest.reason if newest.reason and newest.reason != "completed" else ""
    return ": ".join(part for part in (reason, newest.detail, note) if part)


def _job_seconds_left(recipe: Recipe, submission: Submission, ledger: Ledger, progress: Progress) -> float | None:
    if submission.job.stages is None:
        return None
    hardware = submission.job.hardware
    speeds = measured_images_per_second(ledger.records, hardware.device)
    if progress.images_per_second:
        speeds[progress.stage] = progress.images_per_second / hardware.num_devices
    done = images_done(ledger.records) | {progress.stage: progress.stage_images}
    first, last = submission.job.stages
    works = remaining_work(recipe, hardware, range(max(first, progress.stage), last + 1), done, speeds)
    return sum(work.gpu_hours for work in works) * SECONDS_PER_HOUR / hardware.num_devices


def seconds_since(moment: str, now: datetime) -> float:
    """Age of an ISO time."""
    return max(0.0, (now - datetime.fromisoformat(moment)).total_seconds())
