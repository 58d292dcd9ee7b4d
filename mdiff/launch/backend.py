"""What every place that runs jobs must be able to do."""

from typing import Protocol

from mdiff.budget.ledger import Ledger
from mdiff.errors import LaunchError
from mdiff.launch.local import LocalBackend
from mdiff.launch.state import JobState
from mdiff.recipe.job import Submission
from mdiff.recipe.site import BackendName
from mdiff.run_dir import RunDir


class Backend(Protocol):
    """Renders purely and submits thinly: what `render` shows is what `start` hands over."""

    def render(self, run_dir: RunDir, submission: Submission) -> str:
        """The submission as text: what would be started, ready to be pasted into a shell."""

    def start(self, run_dir: RunDir, submission: Submission) -> str:
        """The scheduler's id of the job.

        Raises:
            LaunchError: it did not start.
        """

    def state(self, submission: Submission, ledger: Ledger) -> JobState:
        """What the job is doing now."""

    def cancel(self, run_dir: RunDir, submission: Submission, ledger: Ledger) -> str:
        """Ask the job to save its work and leave; a sentence that says what happens now.

        Raises:
            LaunchError: it cannot be asked.
        """


def open_backend(name: BackendName) -> Backend:
    """
    Raises:
        LaunchError: jobs cannot be sent there.
    """
    if name == "local":
        return LocalBackend()
    raise LaunchError(f"not built yet: jobs on {name}; this version runs them on this machine only (--backend local)")
