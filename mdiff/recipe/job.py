"""What is submitted: pure data that backends render, supervisors carry out, and the ledger counts."""

from pathlib import Path

from pydantic import Field, ValidationError

from mdiff.errors import LaunchError
from mdiff.recipe.container import Container
from mdiff.recipe.kubernetes_settings import KubernetesSettings
from mdiff.recipe.price import Price, Usd
from mdiff.recipe.recipe import JobKind
from mdiff.recipe.settings import Settings
from mdiff.recipe.site import BackendName, Hardware
from mdiff.recipe.slurm_settings import SlurmSettings
from mdiff.run_dir import RunDir


class Elastic(Settings):
    """How a job may begin with fewer nodes than it asks for; see KubernetesSettings."""

    least_nodes: int = Field(ge=1)
    rejoin_after_seconds: float = Field(ge=0)


class JobSpec(Settings):
    """One job, complete: nothing that runs it looks anywhere else."""

    kind: JobKind
    run: str
    name: str = ""
    """Of the job, where its scheduler lets us choose it: Kubernetes."""
    run_dir: str
    """Absolute, as the job sees it."""
    stages: tuple[int, int] | None = None
    """First and last stage, counted from 1; training only."""
    argv: tuple[str, ...]
    """The job's own command, which the supervisor starts on every node: torchrun and its arguments, or any other program.
    `$MDIFF_...` in it is known only there, and put in by the supervisor (mdiff.attempt.node)."""
    backend: BackendName
    hardware: Hardware
    time_limit_seconds: float | None = None
    """Of the whole job, all attempts together."""
    attempt_limit_seconds: float | None = None
    """After which the scheduler kills an attempt."""
    grace_seconds: float = Field(default=120.0, gt=0)
    """How long a job that was asked to stop may take for its checkpoint before it is killed."""
    environment: dict[str, str] = {}
    datasets: dict[str, str] = {}
    """Folder of each data set, as the job sees it."""
    price: Price
    limit_usd: Usd
    """The budget of the whole run when this job was submitted."""
    allowance_seconds: float = 60.0
    max_attempts: int = Field(default=100, ge=1)
    after: str = ""
    """The scheduler's id of a job that must have completed before."""
    container: Container = Container()
    slurm: SlurmSettings | None = None
    kubernetes: KubernetesSettings | None = None
    elastic: Elastic | None = None
    """None: an attempt needs all nodes of `hardware`."""


class Submission(Settings):
    """A job and its place in the budget: `submissions/<id>.json`."""

    id: str
    """<UTC stamp>-<4 random hexadecimal digits>: sorts by time."""
    submitted_at: str
    """ISO, UTC."""
    job: JobSpec
    recipe_toml: str
    """The resolved recipe, so that the run directory can be made where the job runs."""
    reservation_usd: Usd
    """The estimate: what this job is expected to cost."""
    counts: bool = True
    """Whether this kind of job counts against the limit ([budget] covers)."""
    over_budget_reason: str = ""
    scheduler_job: str = ""
    """The scheduler's id of the job; empty until the scheduler has answered. On Kubernetes the job's name."""
    withdrawn: bool = False
    """The reservation did not hold, or the scheduler refused the job: nothing will run."""
    ended: bool = False
    """The scheduler says that nothing of it will run again. Never in the file: `read_ledger` knows it from `sync/`."""


def recipe_file(run_dir: RunDir, submission_id: str) -> Path:
    """The recipe that the job of this submission reads: tables that are not frozen may differ from the run's first recipe."""
    return run_dir.submission(submission_id).with_suffix(".toml")


def read_submission(run_dir: RunDir, submission_id: str) -> Submission:
    """
    Raises:
        LaunchError: there is no such submission, or its file is damaged.
    """
    path = run_dir.submission(submission_id)
    try:
        return Submission.model_validate_json(path.read_bytes())
    except OSError as error:
        raise LaunchError(f"{path}: cannot read this submission: {error.strerror}") from error
    except ValidationError as error:
        raise LaunchError(f"{path}: damaged: {error.errors()[0]['msg']}; submit again") from error
