"""From a recipe and a place to a job: pure data, nothing is started or written."""

import sys

from mdiff.launch.place import Place, threads_per_process
from mdiff.recipe.job import JobSpec, recipe_file
from mdiff.recipe.recipe import Recipe
from mdiff.recipe.site import Hardware
from mdiff.run_dir import RunDir


def train_job(
    recipe: Recipe, place: Place, stages: range, run_dir: RunDir, submission_id: str, time_limit_seconds: float | None = None
) -> JobSpec:
    """The job that trains `stages` (counted from 1) of a run."""
    text = f"{stages[0]}-{stages[-1]}" if len(stages) > 1 else str(stages[0])
    command = ("-m", "mdiff.train", str(recipe_file(run_dir, submission_id)), str(run_dir.path), "--stage", text)
    return JobSpec(
        kind="train",
        run=run_dir.name,
        run_dir=str(run_dir.path),
        stages=(stages[0], stages[-1]),
        argv=torchrun(place.hardware, command),
        backend=place.backend,
        hardware=place.hardware,
        time_limit_seconds=time_limit_seconds,
        environment=job_environment(place),
        datasets={name: str(place.site.dataset_folder(name)) for name in dataset_names(recipe, stages)},
        price=place.price,
        limit_usd=recipe.budget.limit_usd,
        allowance_seconds=place.site.allowance_seconds if place.backend != "local" else 0.0,
    )


def torchrun(hardware: Hardware, command: tuple[str, ...]) -> tuple[str, ...]:
    """One node's command line; also for a single process, so that every job goes the same way."""
    return (
        sys.executable, "-m", "torch.distributed.run",
        "--standalone", "--nnodes", "1", "--nproc-per-node", str(hardware.devices_per_node),
        *command,
    )  # fmt: skip


def job_environment(place: Place) -> dict[str, str]:
    """The site's variables; on a CPU also how many threads each process may have, or torchrun would give it one."""
    if place.hardware.device != "cpu":
        return dict(place.site.environment)
    # A job that is billed as processes must not take GPUs that happen to be there.
    return {"OMP_NUM_THREADS": str(threads_per_process(place.hardware)), "CUDA_VISIBLE_DEVICES": "", **place.site.environment}


def dataset_names(recipe: Recipe, stages: range) -> list[str]:
    """Each once, in the order in which the stages name them."""
    return list(dict.fromkeys(use.name for number in stages for use in recipe.stages[number - 1].datasets))
