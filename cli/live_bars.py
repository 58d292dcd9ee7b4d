"""Moving bars, one a stage."""

from types import TracebackType

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from mdiff.budget.policy import amount_text
from mdiff.launch.status import RunStatus

from .status_text import numbers


class BarView:
    """A bar for each stage that the job has reached; a context manager."""

    def __init__(self) -> None:
        note = TextColumn("{task.fields[note]}")
        self._bars = Progress(TextColumn("{task.description}"), BarColumn(bar_width=24), TaskProgressColumn(), note)
        self._tasks: dict[int, TaskID] = {}

    def __enter__(self) -> "BarView":
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def __call__(self, status: RunStatus) -> None:
        progress = status.progress
        if progress is None:
            return
        for stage, task in self._tasks.items():
            if stage < progress.stage:
                # Its last report may have come before its last step.
                self._bars.update(task, completed=self._bars.tasks[task].total, note="")
        if progress.stage not in self._tasks:
            self._tasks[progress.stage] = self._bars.add_task(f"stage {progress.stage}", total=progress.steps, note="")
        note = "  ".join([*numbers(progress), amount_text(status.spent_usd)])
        self._bars.update(self._tasks[progress.stage], completed=progress.step, note=note)
