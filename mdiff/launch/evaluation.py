"""The job that scores a run of the shapes recipe: metered as any other, and reported beside the training."""

import secrets
import sys
from dataclasses import replace
from decimal import Decimal

from mdiff.budget.estimate import require_device
from mdiff.budget.policy import reserve, withdraw
from mdiff.budget.record import device_time_usd
from mdiff.launch.backend import open_backend
from mdiff.launch.job import job_environment
from mdiff.launch.place import Place
from mdiff.recipe.flops import forward_flops_per_image
from mdiff.recipe.job import JobSpec, Submission
from mdiff.recipe.load import to_toml
from mdiff.recipe.recipe import Recipe
from mdiff.recipe.site import Hardware
from mdiff.run_dir import RunDir, replace_file
from mdiff.units import utc_now, utc_stamp

TASKS_WITH_SCORES = 9
"""Six tasks with seen captions, and held-out captions for three of them."""


def submit_evaluation(recipe: Recipe, place: Place, run_dir: RunDir, dataset: str, pictures_per_task: int) -> Submission:
    """Start the job on one process of the place.

    Raises:
        BudgetExceededError: the recipe's budget covers evaluation, and it does not fit.
        LaunchError: it did not start.
    """
    alone = replace(place, hardware=Hardware(device=place.hardware.device, devices_per_node=1))
    now = utc_now()
    submission = Submission(
        id=f"{utc_stamp(now)}-{secrets.token_hex(2)}",
        submitted_at=now.isoformat(),
        job=evaluation_job(recipe, alone, run_dir, dataset, pictures_per_task),
        recipe_toml=to_toml(recipe),
        reservation_usd=evaluation_usd(recipe, alone, pictures_per_task),
        counts="evaluate" in recipe.budget.covers,
    )
    reserve(run_dir, submission)
    try:
        scheduler_job = open_backend(place.backend).start(run_dir, submission)
    except BaseException:
        withdraw(run_dir, submission)
        raise
    submitted = submission.model_copy(update={"scheduler_job": scheduler_job})
    replace_file(run_dir.submission(submitted.id), submitted.model_dump_json(indent=2))
    return submitted


def evaluation_job(recipe: Recipe, place: Place, run_dir: RunDir, dataset: str, pictures_per_task: int) -> JobSpec:
    command = ("-m", "mdiff.evaluate", str(run_dir.path), "--dataset", dataset, "--pictures", str(pictures_per_task))
    return JobSpec(
        kind="evaluate",
        run=run_dir.name,
        run_dir=str(run_dir.path),
        argv=(sys.executable, *command),
        backend=place.backend,
        hardware=place.hardware,
        environment=job_environment(place),
        price=place.price,
        limit_usd=recipe.budget.limit_usd,
        allowance_seconds=0.0,
    )


def evaluation_usd(recipe: Recipe, place: Place, pictures_per_task: int) -> Decimal:
    """What drawing the pictures will cost, at the speed that training is assumed to have."""
    tokens = recipe.num_tokens(recipe.stages[-1])
    # Heun looks twice at every interval but the last, and guidance doubles each look.
    looks = 2 * (2 * recipe.evaluation.sampler_steps - 1)
    flops = TASKS_WITH_SCORES * pictures_per_task * looks * forward_flops_per_image(recipe.model, tokens, tokens)
    return device_time_usd(flops / require_device(place.hardware).assumed_flops_per_second, place.price)
