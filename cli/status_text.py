"""How a run's status looks."""

import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from mdiff.budget.policy import amount_text
from mdiff.launch.state import JobState
from mdiff.launch.status import RunStatus, StageStatus, seconds_since
from mdiff.units import count_text, duration_text, usd_text

BAR_CELLS = 18
"""So that the widest line has 80 columns."""


def status_lines(status: RunStatus, now: datetime) -> Iterator[str]:
    attempt = f"  attempt {status.attempts} ({_requeues_text(status.requeued_after)})" if status.requeued_after else ""
    host = f"   node {status.host}" if status.host and status.backend != "local" else ""
    yield f"{status.run}    job {status.job}  {status.backend}  {status.state}{attempt}{host}"
    if status.detail:
        yield f"  {'ended' if status.state.is_final else 'now':<9} {status.detail}"
    if status.progress:
        yield f"  stage {status.progress.stage}   {stage_text(status.progress)}"
    if status.progress and status.progress.images_per_second and not status.state.is_final:
        yield f"  speed     {speed_text(status.progress, status.unit)}"
    if status.progress and status.progress.loss is not None:
        yield f"  loss      {status.progress.loss:.4f}"
    yield f"  money     {money_text(status)}"
    yield from newest_lines(status, now)
    yield from next_lines(status)


def _requeues_text(reasons: Sequence[str]) -> str:
    """
    >>> _requeues_text(["time_limit", "time_limit", "preempted"])
    '3 requeues: time limit, preempted'
    """
    kinds = ", ".join(dict.fromkeys(reason.replace("_", " ") for reason in reasons))
    return f"{len(reasons)} requeue{'s' if len(reasons) > 1 else ''}: {kinds}"


def bar(share: float, cells: int = BAR_CELLS) -> str:
    """
    >>> bar(0.25, 8)
    '##......'
    """
    filled = int(share * cells)
    return "#" * filled + "." * (cells - filled)


def stage_text(progress: StageStatus) -> str:
    share = progress.step / progress.steps
    done = f"{progress.step:,} / {progress.steps:,} steps"
    return f"{bar(share)}  {100 * share:.1f} %  {done}  {count_text(progress.images_seen)} images"


def speed_text(progress: StageStatus, unit: str) -> str:
    parts = [f"{progress.images_per_second:,.0f} images/s/{unit}"]
    if progress.mfu is not None:
        parts.append(f"{100 * progress.mfu:.1f} % MFU")
    if progress.stage_seconds_left is not None:
        parts.append(f"stage {progress.stage} done in about {duration_text(progress.stage_seconds_left)}")
    return "   ".join(parts)


def money_text(status: RunStatus) -> str:
    forecast = f"   forecast for all stages {amount_text(status.forecast_usd)}" if status.forecast_usd is not None else ""
    least = "at least " if status.may_lack else ""
    return f"{least}{amount_text(status.spent_usd)} of {usd_text(status.limit_usd)}{forecast}"


def newest_lines(status: RunStatus, now: datetime) -> Iterator[str]:
    if status.newest_checkpoint:
        age = f"{duration_text(seconds_since(status.newest_checkpoint_at, now))} ago" if status.newest_checkpoint_at else ""
        yield f"  newest checkpoint {age} ({status.newest_checkpoint})"
    if status.newest_samples:
        yield f"  newest samples    {shorter(Path(status.newest_samples))}"


def next_lines(status: RunStatus) -> Iterator[str]:
    """The command that comes next, where there is one."""
    if status.state is JobState.FAILED:
        yield f"Next: mdiff logs --run {status.run}"
    elif status.state is JobState.COMPLETED:
        yield f"Next: mdiff budget report --run {status.run}"


def shorter(path: Path) -> Path:
    """Relative to where the reader stands, if that is shorter."""
    relative = Path(os.path.relpath(path))
    return relative if len(str(relative)) < len(str(path)) else path


def numbers(progress: StageStatus) -> list[str]:
    """What is known of loss, speed and time left."""
    known = {
        "loss {:.4f}": progress.loss,
        "{:,.0f} images/s": progress.images_per_second,
    }
    texts = [form.format(value) for form, value in known.items() if value is not None]
    return [*texts, *([f"{duration_text(progress.job_seconds_left)} left"] if progress.job_seconds_left is not None else [])]
