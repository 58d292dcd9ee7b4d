"""Whether the stages that a submission asks for can be trained in this run now."""

from mdiff.budget.ledger import Ledger, is_open
from mdiff.errors import UsageError
from mdiff.launch.run_progress import RunProgress, run_progress
from mdiff.recipe.job import Submission
from mdiff.recipe.load import frozen_differences, load_recipe, parse_settings
from mdiff.recipe.recipe import Recipe
from mdiff.recipe.site import BackendName
from mdiff.run_dir import RunDir
from mdiff.units import utc_now

MOST_DIFFERENCES = 5


def check_stages(
    recipe: Recipe, run_dir: RunDir, stages: range, ledger: Ledger, again: bool, after: str = "", backend: BackendName = "local"
) -> RunProgress:
    """How far the run is, once it is sure that the stages may be trained.

    Args:
        again: stages that are done shall be trained afresh.
        after: the scheduler's id of a job that will have completed before.

    Raises:
        UsageError: the run has other settings, is being trained, lacks the stage before, or has done what is asked for.
    """
    check_settings(recipe, run_dir, ledger)
    progress = run_progress(recipe, run_dir, ledger)
    awaited = chain(ledger, after)
    running = next((job for job in open_training_jobs(ledger) if job not in awaited), None)
    if running:
        raise UsageError(
            f"run {run_dir.name} is being trained by job {_name(running)}, and two jobs would overwrite each other's checkpoints\n"
            f"  Wait for it (mdiff status --run {run_dir.name}), stop it (mdiff cancel --run {run_dir.name}), or take another --run."
            f"{_queue_behind(running, stages)}"
        )
    expected = {number for job in awaited for number in _stages_of(job)}
    missing = [number for number in range(1, stages[0]) if number not in progress.stages_done and number not in expected]
    # On Kubernetes nothing may be known here of what others have trained; the job itself looks.
    if missing and not (backend == "kubernetes" and not ledger.records):
        raise UsageError(_needs_weights(recipe, run_dir, stages, missing[0], progress))
    if not again and all(number in progress.stages_done for number in stages):
        raise UsageError(
            f"{_stages_text(stages)} of run {run_dir.name} {'are' if len(stages) > 1 else 'is'} done\n"
            "  Submit a later stage, take another --run, or train afresh with --again, which sets the old checkpoints aside."
        )
    return forget(progress, stages) if again else progress


def check_after(after: str, backend: BackendName, again: bool) -> None:
    """
    Raises:
        UsageError: this job cannot wait for another one.
    """
    if after and backend != "slurm":
        raise UsageError(f"--after {after}: only SLURM lets jobs wait for others; --stage 1-2 is one job that goes through both")
    if again and backend == "kubernetes":
        raise UsageError("--again: checkpoints on a cluster's volume cannot be set aside from here; take another --run NAME")
    if after and again:
        raise UsageError(f"--after {after}: not together with --again, which would set aside what that job is training")


def check_settings(recipe: Recipe, run_dir: RunDir, ledger: Ledger) -> None:
    """Model, diffusion, data and stages of a run never change, from its first submission on: its job may still be queued."""
    first = next((submission.recipe_toml for submission in ledger.submissions if not submission.withdrawn), None)
    if run_dir.recipe.is_file():
        begun = load_recipe(str(run_dir.recipe))
    elif first is not None:
        begun = parse_settings(Recipe, first, str(run_dir.submissions))
    else:
        return
    differences = frozen_differences(begun, recipe)
    if differences:
        shown = "\n  ".join(differences[:MOST_DIFFERENCES])
        more = f"\n  and {len(differences) - MOST_DIFFERENCES} more" if len(differences) > MOST_DIFFERENCES else ""
        raise UsageError(f"run {run_dir.name} has begun with other settings; take another --run NAME\n  {shown}{more}")


def open_training_jobs(ledger: Ledger) -> list[Submission]:
    """Training jobs that are queued or running, from the oldest to the newest."""
    now = utc_now()
    trains = (submission for submission in ledger.submissions if submission.job.kind == "train")
    return [submission for submission in trains if is_open(submission, ledger.records_of(submission.id), now)]


def chain(ledger: Ledger, after: str) -> list[Submission]:
    """The job of this number, the one that it waits for itself, and so on.

    Raises:
        UsageError: it is no training job of this run.
    """
    jobs: list[Submission] = []
    while after:
        trains = (job for job in ledger.submissions if job.job.kind == "train" and not job.withdrawn)
        found = next((job for job in trains if job.scheduler_job == after), None)
        if found is None:
            raise UsageError(f"--after {after}: no training job of this run; `mdiff status` shows the number of its newest one")
        jobs.append(found)
        after = found.job.after
    return jobs


def _stages_of(submission: Submission) -> range:
    first, last = submission.job.stages or (1, 0)
    return range(first, last + 1)


def _queue_behind(running: Submission, stages: range) -> str:
    if running.job.backend != "slurm" or _stages_of(running)[-1] != stages[0] - 1:
        return ""
    return f"\n  Or queue behind it: --after {running.scheduler_job}"


def _name(submission: Submission) -> str:
    return submission.scheduler_job or submission.id


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
