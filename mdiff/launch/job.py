"""From a recipe and a place to a job: pure data, nothing is started or written."""

import sys

from mdiff.attempt.node import JOIN_SECONDS, NUM_NODES, RDZV_ENDPOINT, RDZV_ID, RDZV_IS_HOST, RECIPE_FILE
from mdiff.launch.kubernetes.names import first_name
from mdiff.launch.place import Place, threads_per_process
from mdiff.recipe.job import Elastic, JobSpec, recipe_file
from mdiff.recipe.recipe import Recipe
from mdiff.recipe.slurm_settings import SlurmSettings
from mdiff.run_dir import RunDir
from mdiff.units import SECONDS_PER_HOUR


def train_job(
    recipe: Recipe,
    place: Place,
    stages: range,
    run_dir: RunDir,
    submission_id: str,
    time_limit_seconds: float | None = None,
    after: str = "",
) -> JobSpec:
    """The job that trains `stages` (counted from 1) of a run."""
    text = f"{stages[0]}-{stages[-1]}" if len(stages) > 1 else str(stages[0])
    site, folder = place.site, job_run_dir(place, run_dir)
    recipe_path = f"${RECIPE_FILE}" if place.backend == "kubernetes" else str(recipe_file(run_dir, submission_id))
    return JobSpec(
        kind="train",
        run=run_dir.name,
        name=first_name(run_dir.name, (stages[0], stages[-1])) if place.backend == "kubernetes" else "",
        run_dir=folder,
        stages=(stages[0], stages[-1]),
        argv=torchrun(place, ("-m", "mdiff.train", recipe_path, folder, "--stage", text)),
        backend=place.backend,
        hardware=place.hardware,
        time_limit_seconds=time_limit_seconds,
        attempt_limit_seconds=_attempt_limit(place, time_limit_seconds),
        grace_seconds=site.grace_seconds,
        environment=job_environment(place),
        datasets={name: str(site.dataset_folder(name)) for name in dataset_names(recipe, stages)},
        price=place.price,
        limit_usd=recipe.budget.limit_usd,
        allowance_seconds=site.allowance_seconds if place.backend != "local" else 0.0,
        max_attempts=site.max_attempts,
        after=after,
        container=site.container,
        slurm=site.slurm if place.backend == "slurm" else None,
        kubernetes=site.kubernetes if place.backend == "kubernetes" else None,
        elastic=elasticity(place),
    )


def elasticity(place: Place) -> Elastic | None:
    """None: every attempt needs all nodes."""
    settings = place.site.kubernetes
    if place.backend != "kubernetes" or settings.least_nodes is None or settings.least_nodes >= place.hardware.nodes:
        return None
    return Elastic(least_nodes=settings.least_nodes, rejoin_after_seconds=settings.rejoin_after_seconds)


def job_run_dir(place: Place, run_dir: RunDir) -> str:
    """The run directory as the job sees it. On Kubernetes it lies on a volume, and here only what the cluster tells of it."""
    return f"{place.site.kubernetes.runs_mount.rstrip('/')}/{run_dir.name}" if place.backend == "kubernetes" else str(run_dir.path)


def torchrun(place: Place, command: tuple[str, ...]) -> tuple[str, ...]:
    """One node's command line; also for a single process, so that every job goes the same way."""
    # Always a fixed number: which nodes take part is the supervisor's to say, not torchrun's.
    nodes = f"${NUM_NODES}" if elasticity(place) else str(place.hardware.nodes)
    processes = place.hardware.devices_per_node
    # Stop requests are files: a signal that reaches torchrun must not make it end its workers.
    size = ("--nnodes", nodes, "--nproc-per-node", str(processes), "--signals-to-handle", "SIGQUIT")
    launcher = (job_python(place), "-m", "torch.distributed.run")
    if place.backend == "local":
        return (*launcher, "--standalone", *size, *command)
    rendezvous = (
        "--rdzv-backend", "c10d", "--rdzv-id", f"${RDZV_ID}", "--rdzv-endpoint", f"${RDZV_ENDPOINT}",
        "--rdzv-conf", f"is_host=${RDZV_IS_HOST},join_timeout={JOIN_SECONDS}",
    )  # fmt: skip
    return (*launcher, *size, *rendezvous, *command)


def job_python(place: Place) -> str:
    """The interpreter as the job sees it."""
    if place.backend == "local":
        return sys.executable
    if place.backend == "kubernetes" or place.site.container.runtime != "none":
        return place.site.container.python
    return place.site.slurm.python or sys.executable


def job_environment(place: Place) -> dict[str, str]:
    """The site's variables; on this machine's CPU also how many threads each process may have, or torchrun would give it one."""
    site = dict(place.site.environment)
    if place.backend != "local":
        # Compute nodes rarely reach the internet, and a library that tries hangs for minutes.
        site = {"HF_HUB_OFFLINE": "1", **site}
    if place.hardware.device != "cpu":
        return site
    # A job that is billed as processes must not take GPUs that happen to be there.
    threads = {"OMP_NUM_THREADS": str(threads_per_process(place.hardware))} if place.backend == "local" else {}
    return {**threads, "CUDA_VISIBLE_DEVICES": "", **site}


def dataset_names(recipe: Recipe, stages: range) -> list[str]:
    """Each once, in the order in which the stages name them."""
    return list(dict.fromkeys(use.name for number in stages for use in recipe.stages[number - 1].datasets))


def _attempt_limit(place: Place, time_limit_seconds: float | None) -> float | None:
    """As far as the site says it; the cluster may allow less."""
    if place.backend != "slurm":
        return None
    slurm: SlurmSettings = place.site.slurm
    asked = slurm.time_limit_hours * SECONDS_PER_HOUR if slurm.time_limit_hours else None
    return min((limit for limit in (time_limit_seconds, asked) if limit is not None), default=None)
