"""A run's job, followed until it ends: moving bars on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Callable

from mdiff.budget.policy import amount_text
from mdiff.launch.state import JobState
from mdiff.launch.status import RunStatus, read_status
from mdiff.run_dir import RunDir

from .status_text import numbers

LOOK_SECONDS = 0.5
ASK_SECONDS = 5.0
"""A scheduler has other users."""
LINE_SECONDS = 10.0
"""Without a terminal: how often a line is printed; also at each new stage."""

View = Callable[[RunStatus], None]


def follow_job(run_dir: RunDir, submission_id: str = "", sleep: Callable[[float], None] = time.sleep) -> JobState:
    """Show the job until it has ended; its final state. Interrupting this leaves the job alone.

    Args:
        submission_id: empty: the run's newest job.
    """
    if not sys.stdout.isatty():
        return _watch(run_dir, submission_id, LineView(), sleep)
    from .live_bars import BarView

    with BarView() as bars:
        return _watch(run_dir, submission_id, bars, sleep)


def _watch(run_dir: RunDir, submission_id: str, view: View, sleep: Callable[[float], None]) -> JobState:
    while True:
        status = read_status(run_dir, submission_id)
        view(status)
        if status.state.is_final:
            return status.state
        sleep(LOOK_SECONDS if status.backend == "local" else ASK_SECONDS)


class LineView:
    """A line now and then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._printed_at = float("-inf")
        self._printed = (0, "")
        """Stage and state of the last line."""

    def __call__(self, status: RunStatus) -> None:
        here = (status.progress.stage if status.progress else 0, str(status.state))
        if here == self._printed and self._clock() - self._printed_at < LINE_SECONDS:
            return
        self._printed, self._printed_at = here, self._clock()
        print(_line(status), flush=True)


def _line(status: RunStatus) -> str:
    words = [str(status.state).lower()]
    if status.progress:
        progress = status.progress
        words += [f"stage {progress.stage}", f"step {progress.step:,}/{progress.steps:,}", *numbers(progress)]
    return "  ".join([*words, amount_text(status.spent_usd), *([status.detail] if status.detail else [])])
