"""How a submission looks before it is made."""

from pathlib import Path
from typing import TYPE_CHECKING

from mdiff.budget.policy import amount_text
from mdiff.launch.kubernetes.pod import DEFAULT_IMAGE
from mdiff.units import SECONDS_PER_HOUR, count_text, duration_text, usd_text

if TYPE_CHECKING:
    from mdiff.launch.submit import Plan
    from mdiff.recipe.recipe import Recipe


def plan_lines(plan: "Plan") -> list[str]:
    unit = plan.place.unit
    rows = {
        "where": _where(plan),
        "data": _data(plan),
        "price": str(plan.job.price).replace("{unit}", unit),
        "estimate": f"{_hours(plan)} {unit}-hours   {amount_text(plan.estimate.usd)}   ({plan.estimate.assumption})",
        "budget": _budget(plan),
        "time limit": _time_limit(plan),
        "run": _run(plan),
    }
    return [*_title(plan), "", *(f"  {name:<10}  {text}" for name, text in rows.items()), ""]


def stage_text(recipe: "Recipe", number: int) -> str:
    """
    256 px, 75 % masked, 250,000 steps of 2,048 images
    """
    stage = recipe.stages[number - 1]
    return f"{stage.resolution} px, {100 * stage.mask_ratio:.0f} % masked, {stage.steps:,} steps of {stage.batch_size:,} images"


def _where(plan: "Plan") -> str:
    slurm, container = plan.job.slurm, plan.job.container
    parts = [str(plan.place)]
    if slurm and slurm.partition:
        parts.append(f"partition {slurm.partition}")
    if plan.job.kubernetes and plan.job.kubernetes.namespace:
        parts.append(f"namespace {plan.job.kubernetes.namespace}")
    if container.image or plan.job.kubernetes:
        parts.append(f"image {container.image or DEFAULT_IMAGE}")
    if plan.job.after:
        parts.append(f"after job {plan.job.after}")
    return ", ".join(parts)


def _run(plan: "Plan") -> str:
    settings = plan.job.kubernetes
    return f"{plan.job.run_dir} on volume {settings.runs_claim}; here {plan.run_dir.path}" if settings else str(plan.run_dir.path)


def _title(plan: "Plan") -> list[str]:
    done = {row.stage for row in plan.estimate.stages if not row.images}
    texts = [f"stage {number}  {stage_text(plan.recipe, number)}{'  (done)' if number in done else ''}" for number in plan.stages]
    name = plan.run_dir.name
    return [f"{name}  {texts[0]}", *(f"{'':{len(name)}}  {text}" for text in texts[1:])]


def _hours(plan: "Plan") -> str:
    hours = plan.estimate.gpu_hours
    return f"{hours:,.1f}" if hours >= 10 else f"{hours:.2f}"


def _data(plan: "Plan") -> str:
    """One path; data sets that lie side by side as /lustre/latents/{sa1b,cc12m}."""
    folders = [Path(folder) for folder in plan.job.datasets.values()]
    parents = {folder.parent for folder in folders}
    if len(folders) > 1 and len(parents) == 1:
        place = f"{parents.pop()}/{{{','.join(folder.name for folder in folders)}}}"
    else:
        place = ", ".join(str(folder) for folder in folders)
    return f"{place}   {count_text(plan.images)} images" if plan.images else place


def _budget(plan: "Plan") -> str:
    money = plan.admission
    if not plan.submission.counts:
        return f"{usd_text(money.limit_usd)}; this job does not count against it"
    spent, committed = amount_text(money.spent_usd), amount_text(money.committed_usd)
    line = f"{usd_text(money.limit_usd)} - {spent} spent - {committed} committed = {amount_text(money.left_usd)} left"
    return line if money.fits else f'{line}; over budget: "{plan.submission.over_budget_reason}"'


def _time_limit(plan: "Plan") -> str:
    seconds = plan.job.time_limit_seconds
    if seconds is None:
        return "none"
    attempt = plan.job.attempt_limit_seconds
    if attempt is None or attempt >= seconds:
        return _hours_text(seconds)
    return f"{_hours_text(seconds)}, in attempts of at most {_hours_text(attempt)}, requeued by itself"


def _hours_text(seconds: float) -> str:
    hours = seconds / SECONDS_PER_HOUR
    return f"{hours:.3g} h" if hours >= 1 else duration_text(seconds)
