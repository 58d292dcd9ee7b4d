"""What the job writes for its supervisor. Any program may be a job, so a file that cannot be understood is taken as not there."""

from pathlib import Path
from typing import TypeVar

from mdiff.recipe.checkpoints import list_checkpoints
from mdiff.recipe.exchange import Outcome, Progress
from mdiff.recipe.settings import Settings
from mdiff.run_dir import AttemptDir, RunDir

Told = TypeVar("Told", bound=Settings)


def read_progress(attempt: AttemptDir) -> Progress | None:
    return _read(Progress, attempt.progress)


def read_outcome(attempt: AttemptDir) -> Outcome | None:
    return _read(Outcome, attempt.outcome)


def newest_checkpoint(run_dir: RunDir, attempt: AttemptDir) -> str:
    """Name of the newest checkpoint that this attempt wrote; empty if it wrote none."""
    progress = read_progress(attempt)
    on_disk = [path.name for path in list_checkpoints(run_dir)]
    # The job names a checkpoint when it begins to write it; older ones may be gone by now.
    is_published = progress is not None and bool(on_disk) and progress.newest_checkpoint <= on_disk[-1]
    return progress.newest_checkpoint if progress and is_published else ""


def _read(kind: type[Told], path: Path) -> Told | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None
