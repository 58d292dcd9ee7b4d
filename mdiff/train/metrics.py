"""What training tells the world: metrics.jsonl, TensorBoard, the attempt's progress file, lines of log."""

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from mdiff.recipe.exchange import JobActivity, Progress
from mdiff.run_dir import AttemptDir, RunDir, replace_file
from mdiff.units import utc_now

PROGRESS_SECONDS = 1.0


def log(message: str) -> None:
    """One line with its time, at once: somebody may be following the log."""
    print(f"{datetime.now():%H:%M:%S} {message}", flush=True)


class MetricsLog:
    """Rows of numbers; on processes other than the main one it does nothing."""

    def __init__(self, run_dir: RunDir, enabled: bool) -> None:
        self._file = None
        self._board: Any = None
        if enabled:
            # TensorBoard takes a second to import, and only this process needs it.
            from torch.utils.tensorboard import SummaryWriter

            run_dir.path.mkdir(parents=True, exist_ok=True)
            self._file = run_dir.metrics.open("a", buffering=1)
            self._board = SummaryWriter(str(run_dir.tensorboard))

    def write(self, row: dict[str, float | int]) -> None:
        """`row` has stage, step and images_seen, and whatever was measured."""
        if self._file is None:
            return
        self._file.write(json.dumps(row) + "\n")
        for name, value in row.items():
            if name not in ("stage", "step", "images_seen"):
                # The clock is images, so that stages with other batch sizes stand on one axis.
                self._board.add_scalar(name, value, global_step=row["images_seen"])

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._board.close()


class ProgressFile:
    """Keeps the attempt's progress.json; without an attempt it does nothing."""

    def __init__(self, attempt: AttemptDir | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._attempt = attempt
        self._clock = clock
        self._written_at = float("-inf")
        self._fields: dict[str, Any] = {"step": 0, "stage_images": 0, "images_seen": 0, "activity": "startup"}

    def remember(self, **fields: Any) -> None:
        """Fields of Progress that the next update writes."""
        self._fields |= fields

    def close(self) -> None:
        """What was remembered last must be seen; a job that had nothing to do has nothing to tell."""
        if "stage" in self._fields:
            self.update("shutdown")

    def update(self, activity: JobActivity, **fields: Any) -> None:
        """Fields of Progress; written about once a second, and when the activity changes."""
        changed = activity != self._fields["activity"]
        self._fields |= fields | {"activity": activity}
        if self._attempt is not None and (changed or self._clock() - self._written_at >= PROGRESS_SECONDS):
            self._written_at = self._clock()
            progress = Progress(**self._fields, updated_at=utc_now().isoformat())
            replace_file(self._attempt.progress, progress.model_dump_json())
