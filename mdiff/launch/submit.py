"""A submission, from flags to a running job. What is wrong is found in the order in which the user can act on it."""

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from mdiff.budget.estimate import Estimate, estimate
from mdiff.budget.ledger import Ledger, committed_usd, read_ledger, spent_usd
from mdiff.budget.pace import measured_images_per_second
from mdiff.budget.policy import Admission, admit, reserve, withdraw
from mdiff.errors import DataError, UsageError
from mdiff.launch.backend import Backend, open_backend
from mdiff.launch.data_check import look_at_data
from mdiff.launch.job import train_job
from mdiff.launch.kubernetes.backend import KubernetesBackend
from mdiff.launch.place import Place, open_run, resolve_place
from mdiff.launch.scheduler import current_ledger
from mdiff.launch.stage_rules import chain, check_after, check_stages, open_training_jobs
from mdiff.recipe.checkpoints import checkpoint_place, list_checkpoints
from mdiff.recipe.job import JobSpec, Submission
from mdiff.recipe.load import load_recipe, to_toml
from mdiff.recipe.recipe import Recipe
from mdiff.recipe.site import BackendName
from mdiff.recipe.stages import parse_stages
from mdiff.run_dir import RunDir, replace_file
from mdiff.units import SECONDS_PER_HOUR, utc_now, utc_stamp

TIME_LIMIT_FACTOR = 1.5
LEAST_TIME_LIMIT_SECONDS = 1800.0


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the user asked for."""

    stages: str
    """1, 2-4 or all."""
    recipe: str
    """Name of a preset, or a file."""
    overrides: Sequence[str] = ()
    run: str = ""
    """Empty: the recipe's name."""
    backend: BackendName | None = None
    site_file: Path | None = None
    runs_dir: Path | None = None
    nodes: int | None = None
    usd_per_gpu_hour: Decimal | None = None
    time_limit_hours: float | None = None
    after: str = ""
    """The scheduler's id of a job of this run that must have completed before."""
    over_budget_reason: str = ""
    again: bool = False
    dry_run: bool = False
    on_cpu: bool = False
    """Local backend: leave GPUs alone."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A submission that has passed all checks; nothing is written yet."""

    recipe: Recipe
    place: Place
    run_dir: RunDir
    stages: range
    estimate: Estimate
    admission: Admission
    backend: Backend
    images: int
    """In the data sets of the first stage; 0 where they cannot be seen from here."""
    warnings: tuple[str, ...]
    """What a real submission would refuse."""
    submission: Submission
    again: bool

    @property
    def job(self) -> JobSpec:
        return self.submission.job

    def render(self) -> str:
        """What would be started: a script or a manifest."""
        return self.backend.render(self.run_dir, self.submission)

    def try_out(self) -> str:
        """What the cluster's own check says.

        Raises:
            UsageError: this backend has none.
            LaunchError: it refuses.
        """
        if not isinstance(self.backend, KubernetesBackend):
            raise UsageError(f"--dry-run=server: {self.place.backend} has no server that would check it; take --dry-run")
        return self.backend.try_out(self.submission)


def plan_submission(order: Order) -> Plan:
    """Check everything: usage, recipe and site, the run, the budget, the backend, the data.

    Raises:
        MdiffError: the first thing that is wrong.
    """
    recipe = load_recipe(order.recipe, order.overrides)
    stages = parse_stages(order.stages, len(recipe.stages), recipe.name)
    gpus = (lambda: ()) if order.on_cpu else None
    place = resolve_place(order.backend, order.site_file, nodes=order.nodes, usd_per_gpu_hour=order.usd_per_gpu_hour, gpus=gpus)
    check_processes(recipe, place)
    run_dir = open_run(order.run or recipe.name, order.runs_dir, place.site)
    check_after(order.after, place.backend, order.again)
    now, (ledger, troubles) = utc_now(), current_ledger(run_dir, order.dry_run, place.site)
    progress = check_stages(recipe, run_dir, stages, ledger, order.again, order.after, place.backend)
    speeds = measured_images_per_second(ledger.records, place.hardware.device)
    cost = estimate(recipe, place.hardware, place.price, stages, progress.images_done, speeds)
    counts = "train" in recipe.budget.covers
    admission = weigh(cost, ledger, recipe.budget.limit_usd, now, must_fit=counts and not order.over_budget_reason)
    backend = open_backend(place.backend)
    images, problems = look_at_data(recipe, place, [number for number in stages if number not in progress.stages_done])
    if problems and not order.dry_run:
        raise DataError(problems[0])
    submission_id = f"{utc_stamp(now)}-{secrets.token_hex(2)}"
    job, warnings = backend.prepare(
        train_job(recipe, place, stages, run_dir, submission_id, time_limit(order, place, cost), order.after), order.dry_run
    )
    submission = Submission(
        id=submission_id,
        submitted_at=now.isoformat(),
        job=job,
        recipe_toml=to_toml(recipe),
        reservation_usd=cost.usd,
        counts=counts,
        over_budget_reason=order.over_budget_reason,
    )
    return Plan(
        recipe=recipe, place=place, run_dir=run_dir, stages=stages, estimate=cost, admission=admission, backend=backend, images=images,
        warnings=(*problems, *troubles, *warnings), submission=submission, again=order.again,
    )  # fmt: skip


def submit(plan: Plan) -> Submission:
    """Reserve the money and start the job; the submission as it stands in the run directory.

    Raises:
        BudgetExceededError: somebody else has taken the money meanwhile.
        LaunchError: the job did not start; its reservation is withdrawn.
    """
    reserve(plan.run_dir, plan.submission, stages=plan.estimate.stages)
    try:
        require_only_one(plan)
        if plan.again:
            set_aside(plan.run_dir, plan.stages[0], plan.submission.id)
        scheduler_job = plan.backend.start(plan.run_dir, plan.submission)
    except BaseException:
        withdraw(plan.run_dir, plan.submission)
        raise
    submitted = plan.submission.model_copy(update={"scheduler_job": scheduler_job})
    replace_file(plan.run_dir.submission(submitted.id), submitted.model_dump_json(indent=2))
    return submitted


def time_limit(order: Order, place: Place, cost: Estimate) -> float | None:
    """Seconds for the whole job. On a cluster a job that hangs must end some day, so there it is never unlimited."""
    if order.time_limit_hours:
        return order.time_limit_hours * SECONDS_PER_HOUR
    if place.backend == "local":
        return None
    expected = cost.gpu_hours * SECONDS_PER_HOUR / place.hardware.num_devices
    return max(TIME_LIMIT_FACTOR * expected, LEAST_TIME_LIMIT_SECONDS)


def require_only_one(plan: Plan) -> None:
    """Look again, now that the submission is there for others to see: of two at the same moment the later one gives way.

    Raises:
        UsageError: there is an earlier one.
    """
    ledger = read_ledger(plan.run_dir)
    awaited = {job.id for job in chain(ledger, plan.job.after)}
    earlier = [job for job in open_training_jobs(ledger) if job.id < plan.submission.id and job.id not in awaited]
    if earlier:
        raise UsageError(f"run {plan.run_dir.name} has just been submitted by somebody else, as {earlier[0].id}; see mdiff status")


def check_processes(recipe: Recipe, place: Place) -> None:
    """
    Raises:
        UsageError: the lanes of the recipe cannot be shared out.
    """
    if recipe.data.lanes % place.hardware.num_devices:
        raise UsageError(
            f"{place}: data.lanes = {recipe.data.lanes} must be a multiple of the job's {place.hardware.num_devices} processes; "
            "take other hardware (site file, --nodes), or --set data.lanes=N for a new run"
        )
    if place.backend == "kubernetes" and place.site.kubernetes.least_nodes is not None:
        check_least_nodes(recipe, place, place.site.kubernetes.least_nodes)


def check_least_nodes(recipe: Recipe, place: Place, least: int) -> None:
    """An attempt of an elastic job may have any number of nodes from `least` on.

    Raises:
        UsageError: with one of them the lanes cannot be shared out, or there are not so many nodes.
    """
    lanes, most, each = recipe.data.lanes, place.hardware.nodes, place.hardware.devices_per_node
    if least > most:
        raise UsageError(f"{place}: less than kubernetes.least_nodes = {least}; lower it in the site file, or take --nodes {least}")
    uneven = [nodes for nodes in range(least, most + 1) if lanes % (nodes * each)]
    if not uneven:
        return
    fitting = math.lcm(*(nodes * each for nodes in range(least, most + 1)))
    remedy = f", or --set data.lanes={fitting} for a new run" if not any(stage.batch_size % fitting for stage in recipe.stages) else ""
    raise UsageError(
        f"{place}: data.lanes = {lanes} must be a multiple of the processes of every number of nodes from kubernetes.least_nodes = {least} "
        f"on, and {uneven[0]} nodes have {uneven[0] * each}; set least_nodes = {uneven[-1] + 1} in the site file{remedy}"
    )


def weigh(cost: Estimate, ledger: Ledger, limit_usd: Decimal, now: datetime, must_fit: bool) -> Admission:
    """
    Raises:
        BudgetExceededError: it must fit, and does not.
    """
    spent, committed = spent_usd(ledger, now), committed_usd(ledger, now)
    if must_fit:
        return admit(cost.usd, spent, committed, limit_usd, stages=cost.stages)
    return Admission(cost.usd, spent, committed, limit_usd)


def set_aside(run_dir: RunDir, first_stage: int, submission_id: str) -> None:
    """Hide the checkpoints of `first_stage` and later ones from the job; nothing is deleted."""
    hidden = run_dir.checkpoints / f".before-{submission_id}"
    for path in list_checkpoints(run_dir):
        if checkpoint_place(path)[0] >= first_stage:
            hidden.mkdir(exist_ok=True)
            path.rename(hidden / path.name)
