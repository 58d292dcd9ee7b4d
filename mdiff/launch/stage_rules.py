"""Whether the stages that a submission asks for can be trained in this run now."""

from mdiff.budget.ledger import Ledger, is_open
from mdiff.errors import UsageError
from mdiff.launch.run_progress import RunProgress, run_progress
from mdiff.recipe.load import frozen_differences, load_recipe
from mdiff.recipe.recipe import Recipe
from mdiff.run_dir import RunDir
from mdiff.units import utc_now

MOST_DIFFERENCES = 5


def check_stages(recipe: Recipe, run_dir: RunDir, stages: range, ledger: Ledger, again: bool) -> RunProgress:
    """How far the run is, once it is sure that the stages may be trained.

    Args:
        again: stages that are done shall be trained afresh.

    Raises:
        UsageError: the run has other settings, is being trained, lacks the stage before, or has done what is asked for.
    """
    check_settings(recipe, run_dir)
    progress = run_progress(recipe, run_dir)
    running = open_training_job(ledger)
    if running:
        raise UsageError(
            f"run {run_dir.name} is being trained by job {running}, and two jobs would overwrite each other's checkpoints\n"
            f"  Wait for it (mdiff status --run {run_dir.name}), stop it (mdiff cancel --run {run_dir.name}), or take another --run."
        )
    missing = [number for number in range(1, stages[0]) if number not in progress.stages_done]
    if missing:
        raise UsageError(_needs_weights(recipe, run_dir, stages, missing[0], progress))
    if not again and all(number in progress.stages_done for number in stages):
        raise UsageError(
            f"{_stages_text(stages)} of run {run_dir.name} {'are' if len(stages) > 1 else 'is'} done\n"
            "  Submit a later stage, take another --run, or train afresh with --again, which sets the old checkpoints aside."
        )
    return forget(progress, stages) if again else progress


def check_settings(recipe: Recipe, run_dir: RunDir) -> None:
    """Model, diffusion, data and stages of a run never change."""
    if not run_dir.recipe.is_file():
        return
    differences = frozen_differences(load_recipe(str(run_dir.recipe)), recipe)
    if differences:
        shown = "\n  ".join(differences[:MOST_DIFFERENCES])
        more = f"\n  and {len(differences) - MOST_DIFFERENCES} more" if len(differences) > MOST_DIFFERENCES else ""
        raise UsageError(f"run {run_dir.name} has begun with other settings; take another --run NAME\n  {shown}{more}")


def open_training_job(ledger: Ledger) -> str:
    """The scheduler's id of a training job that is queued or running; "" if there is none."""
    now = utc_now()
    for submission in ledger.submissions:
        if submission.job.kind == "train" and is_open(submission, ledger.records_of(submission.id), now):
            return submission.scheduler_job or submission.id
    return ""


def forget(progress: RunProgress, stages: range) -> RunProgress:
    """As if `stages`, and those after them, had not been trained."""
    first = stages[0]
    return RunProgress(
        steps_done={number: steps for number, steps in progress.steps_done.items() if number < first},
        images_done={number: images for number, images in progress.images_done.items() if number < first},
        stages_done=frozenset(number for number in progress.stages_done if number < first),
    )


def _needs_weights(recipe: Recipe, run_dir: RunDir, stages: range, missing: int, progress: RunProgress) -> str:
    before, share = stages[0] - 1, progress.steps_done.get(missing, 0) / recipe.stages[missing - 1].steps
    where = f"stage {missing} is at {100 * share:.1f} %" if share else f"stage {missing} has not begun"
    return (
        f"stage {stages[0]} needs the weights of stage {before}, and run {run_dir.name} has none ({where})\n"
        f"  Submit --stage {missing}-{stages[-1]}: one job that goes through them in order."
    )


def _stages_text(stages: range) -> str:
    return f"stages {stages[0]}-{stages[-1]}" if len(stages) > 1 else f"stage {stages[0]}"
