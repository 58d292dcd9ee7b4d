"""What every place that runs jobs must be able to do."""

from typing import Protocol

from mdiff.budget.ledger import Ledger
from mdiff.budget.sync import Reading
from mdiff.errors import LaunchError
from mdiff.launch.kubernetes.backend import KubernetesBackend
from mdiff.launch.local import LocalBackend
from mdiff.launch.prepared import Look, Prepared
from mdiff.launch.slurm.backend import SlurmBackend
from mdiff.launch.state import JobState
from mdiff.recipe.job import JobSpec, Submission
from mdiff.recipe.site import BackendName
from mdiff.run_dir import RunDir


class Backend(Protocol):
    """Renders purely and submits thinly: what `render` shows is what `start` hands over."""

    def prepare(self, job: JobSpec, dry_run: bool) -> Prepared:
        """The job with what only its place knows, and what a real submission would warn of.

        Raises:
            LaunchError: it cannot run there. In a dry run, what is merely missing on this machine is a warning.
        """

    def render(self, run_dir: RunDir, submission: Submission) -> str:
        """The submission as text: what would be started, ready to be pasted into a shell."""

    def start(self, run_dir: RunDir, submission: Submission) -> str:
        """The scheduler's id of the job.

        Raises:
            LaunchError: it did not start.
        """

    def look(self, submission: Submission, ledger: Ledger) -> Look:
        """What the job is doing now.

        Raises:
            LaunchError: the scheduler does not answer.
        """

    def read(self, submission: Submission, ledger: Ledger) -> Reading | None:
        """What the scheduler's own account says of the job; None where there is no scheduler.

        Raises:
            LaunchError: the scheduler does not answer.
        """

    def catch_up(self, run_dir: RunDir, submission: Submission, ledger: Ledger) -> bool:
        """Bring into the run directory what the job wrote where this machine cannot see it; whether there was anything new.

        Raises:
            LaunchError: its place does not answer.
        """

    def cancel(self, run_dir: RunDir, submission: Submission, ledger: Ledger, now: bool) -> str:
        """Ask the job to save its work and leave, or end it `now`; a sentence that says what happens.

        Raises:
            LaunchError: it cannot be asked.
        """


def open_backend(name: BackendName) -> Backend:
    backends: dict[BackendName, type[Backend]] = {"local": LocalBackend, "slurm": SlurmBackend, "kubernetes": KubernetesBackend}
    return backends[name]()


def look_at(submission: Submission, ledger: Ledger) -> Look:
    """What the job is doing; UNKNOWN, and why, while its scheduler does not answer."""
    try:
        return open_backend(submission.job.backend).look(submission, ledger)
    except LaunchError as error:
        return Look(JobState.UNKNOWN, str(error).splitlines()[0])
