"""The steps of `mdiff demo`, in their order."""

from pathlib import Path
from typing import Any

import typer

from mdiff.budget.ledger import read_ledger
from mdiff.budget.report import budget_report
from mdiff.errors import LaunchError, MdiffError
from mdiff.launch.demo import RECIPE, scaled_overrides
from mdiff.launch.evaluation import submit_evaluation
from mdiff.launch.place import Place, open_run, resolve_place
from mdiff.launch.run_progress import run_progress
from mdiff.launch.stage_rules import check_settings, open_training_jobs
from mdiff.launch.state import JobState
from mdiff.launch.submit import Order, plan_submission, submit
from mdiff.recipe.load import load_recipe
from mdiff.recipe.recipe import Recipe
from mdiff.run_dir import RunDir, read_json
from mdiff.units import duration_text, utc_now

from .budget_table import print_report
from .compute import run_compute
from .live import follow_job
from .plan_text import plan_lines
from .score_text import score_lines


def plan_order(minutes: float, run: str, runs_dir: Path | None) -> Order:
    """The demo's submission: all four stages of the recipe, on this machine's CPU."""
    return Order(stages="all", recipe=RECIPE, overrides=scaled_overrides(minutes), run=run, backend="local", runs_dir=runs_dir, on_cpu=True)


def places(order: Order) -> tuple[RunDir, Path]:
    """Run directory and folder of the data set."""
    place = _place()
    return open_run(order.run, order.runs_dir, place.site), place.site.dataset_folder(RECIPE)


def make_data(dataset: Path, images: int, overwrite: bool) -> None:
    """Draw the data set, unless it is there.

    Raises:
        MdiffError: the folder holds something else, or drawing failed; the child process has said what.
    """
    typer.echo(f"1/3  data set: {images:,} captioned pictures of shapes, {_short(dataset)}")
    arguments = [str(dataset), "--images", str(images), *(["--overwrite"] if overwrite else [])]
    code = run_compute("mdiff.data.shapes", arguments, needs=["numpy"])
    if code:
        raise MdiffError(f"the data set was not made (exit code {code}, see above); start afresh: mdiff demo --fresh")


def train(order: Order, run_dir: RunDir) -> None:
    """Submit all stages and follow the job; go on with what an interrupted demo left.

    Raises:
        LaunchError: the job did not complete.
    """
    recipe = _recipe(order)
    check_settings(recipe, run_dir, read_ledger(run_dir))
    if len(run_progress(recipe, run_dir).stages_done) == len(recipe.stages):
        typer.echo(f"2/3  training: done before in {_short(run_dir.path)}; start over with --fresh")
        return
    submission_id = ""
    if open_training_jobs(read_ledger(run_dir)):
        typer.echo("2/3  training: an earlier demo's job is still running; following it")
    else:
        plan = plan_submission(order)
        typer.echo("2/3  training: " + "\n".join(plan_lines(plan)))
        submission_id = submit(plan).id
    _follow(run_dir, submission_id, "training")


def score(order: Order, run_dir: RunDir, dataset: Path, pictures: int) -> None:
    """Draw new pictures of all six tasks and let the detector judge them."""
    if run_dir.evaluation.is_file() and _scores(run_dir)["pictures_per_task"] == pictures:
        typer.echo("3/3  scores: done before")
        return
    typer.echo(f"3/3  scores: {pictures} new pictures of each task, judged by a detector")
    submission = submit_evaluation(_recipe(order), _place(), run_dir, str(dataset), pictures)
    _follow(run_dir, submission.id, "scoring")


def print_end(run_dir: RunDir, dataset: Path, pictures: int, seconds: float) -> None:
    """Scores, bill, files, and what to type next."""
    scores, ledger = _scores(run_dir), read_ledger(run_dir)
    recipe, job = load_recipe(str(run_dir.recipe)), next(s.job for s in ledger.submissions if s.job.kind == "train")
    report = budget_report(recipe, ledger, job.hardware, job.price, utc_now(), run_dir.path.parent, run=run_dir.name)
    typer.echo(f"\nfour stages trained and scored; this took {duration_text(seconds)}\n")
    for line in score_lines(scores):
        typer.echo(line)
    typer.echo(
        f"{'':14}({pictures} new pictures each; held-out: pairs that no training picture shows;\n{'':15}`--minutes 20` draws better)\n"
    )
    print_report(report, f"Example price: {job.price.source}.")
    run = f" --run {run_dir.name}"
    typer.echo("\nFiles")
    for name, path in _files(run_dir, dataset):
        typer.echo(f"  {name:<14}{_short(path)}")
    typer.echo(f'\nTry\n  mdiff sample "two blue squares"{run}\n  mdiff budget report{run}')
    typer.echo(
        "\nThe same path on your cluster:\n"
        "  1. mdiff site init --backend slurm          your partition, your GPUs, your price\n"
        "  2. mdiff doctor --backend slurm             is everything there that a job needs?\n"
        "  3. mdiff submit --stage 1 --backend slurm   the plan, the price, then the job"
    )


def _files(run_dir: RunDir, dataset: Path) -> list[tuple[str, Path]]:
    return [
        ("pictures", run_dir.final_grid),
        ("scores", run_dir.evaluation),
        ("checkpoints", run_dir.checkpoints),
        ("metrics", run_dir.metrics),
        ("tensorboard", run_dir.tensorboard),
        ("ledger, logs", run_dir.attempts),
        ("recipe", run_dir.recipe),
        ("data set", dataset),
    ]


def _follow(run_dir: RunDir, submission_id: str, what: str) -> None:
    try:
        state = follow_job(run_dir, submission_id)
    except KeyboardInterrupt:
        typer.echo(f"\n{what} goes on without you; follow it: mdiff demo      stop it: mdiff cancel --run {run_dir.name}", err=True)
        raise
    if state is not JobState.COMPLETED:
        raise LaunchError(f"{what} ended as {state}; why: mdiff logs --run {run_dir.name}      go on: mdiff demo")


def _recipe(order: Order) -> Recipe:
    return load_recipe(order.recipe, order.overrides)


def _place() -> Place:
    return resolve_place("local", gpus=lambda: ())


def _scores(run_dir: RunDir) -> dict[str, Any]:
    found = read_json(run_dir.evaluation)
    if found is None:
        raise LaunchError(f"{run_dir.evaluation} is missing; score the run again: mdiff demo")
    return found


def _short(path: Path) -> Path:
    """Relative to where the user is, if it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
