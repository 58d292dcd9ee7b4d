"""`mdiff budget`: what a run was planned to cost, has cost and will cost."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer

from .options import DEFAULT_RECIPE, JsonOption, PriceOption, RecipeOption, RunOption, RunsDirOption, SetOption, SiteOption
from .status import note_cluster_jobs

if TYPE_CHECKING:
    from mdiff.budget.ledger import Ledger
    from mdiff.budget.report import Report
    from mdiff.recipe.price import Price
    from mdiff.recipe.recipe import Recipe
    from mdiff.recipe.site import BackendName, Hardware, Site
    from mdiff.run_dir import RunDir

app = typer.Typer(no_args_is_help=True, help="What a run was planned to cost, has cost and will cost.")


@app.command()
def report(
    recipe: RecipeOption = "",
    run: RunOption = "",
    runs_dir: RunsDirOption = None,
    site: SiteOption = None,
    overrides: SetOption = None,
    usd_per_gpu_hour: PriceOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the stages as CSV.")] = False,
) -> None:
    """Show what each stage was planned to cost, has cost and will cost.

    The run is --run, else the recipe's; without either, microdit-xl. A run that has begun keeps its own recipe.

    \b
      mdiff budget report
      mdiff budget report --run shapes
      mdiff budget report --usd-per-gpu-hour 2.49 --set budget.limit_usd=1500
      mdiff budget report --json | jq .total.forecast_usd
    """
    from mdiff.budget.ledger import read_ledger
    from mdiff.budget.report import budget_report
    from mdiff.errors import UsageError
    from mdiff.launch.place import open_run, read_site
    from mdiff.recipe.site import built_in_site
    from mdiff.units import utc_now

    from .budget_table import print_csv, print_report

    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other")
    the_site = read_site(site) or built_in_site("slurm")
    changes = overrides or ()
    run_dir = open_run(run or _load(recipe, changes).name, runs_dir, the_site)
    note_cluster_jobs(run_dir.path.parent, the_site, run_dir.name)
    the_recipe = _recipe_of(run_dir, recipe, changes, may_be_new=bool(recipe) or not run)
    ledger = _current(run_dir, read_ledger(run_dir))
    hardware, price, backend = _place(ledger, the_site, usd_per_gpu_hour, prefer_site=site is not None)
    limit = the_recipe.budget.limit_usd if _sets_limit(changes) else None
    found = budget_report(the_recipe, ledger, hardware, price, utc_now(), run_dir.path.parent, run=run_dir.name, limit_usd=limit)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    elif as_csv:
        print_csv(found)
    else:
        print_report(found, _next_step(found, backend, recipe or the_recipe.name))


@app.command()
def sync(
    run: RunOption = "",
    runs_dir: RunsDirOption = None,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the meter with the scheduler's own account, attempt by attempt; the larger of the two is billed.

    The run with the newest job, unless --run says which. What the scheduler says is kept in the run directory.

    \b
      mdiff budget sync
      mdiff budget sync --run microdit-xl --json
    """
    from mdiff.budget.differences import compare
    from mdiff.budget.ledger import read_ledger
    from mdiff.launch.scheduler import refresh
    from mdiff.units import utc_now

    from .status import chosen_run
    from .sync_text import sync_lines

    run_dir = chosen_run(run, runs_dir, site)
    found = compare(run_dir.name, refresh(run_dir, read_ledger(run_dir), everything=True), utc_now())
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    for line in sync_lines(found):
        typer.echo(line)


def _load(recipe: str, overrides: Sequence[str]) -> "Recipe":
    from mdiff.recipe.load import load_recipe

    return load_recipe(recipe or DEFAULT_RECIPE, overrides)


def _recipe_of(run_dir: "RunDir", recipe: str, overrides: Sequence[str], may_be_new: bool) -> "Recipe":
    """The run's own recipe once it has begun; before that, if that is allowed, the one that was asked for."""
    from mdiff.errors import UsageError
    from mdiff.recipe.load import frozen_differences

    if not run_dir.recipe.is_file():
        if may_be_new:
            return _load(recipe, overrides)
        raise UsageError(f"--run {run_dir.name}: no such run in {run_dir.path.parent}; look elsewhere: --runs-dir, or plan one: --recipe")
    begun = _load(str(run_dir.recipe), overrides)
    if recipe and (differences := frozen_differences(begun, _load(recipe, overrides))):
        typer.echo(f"warning: run {run_dir.name} is reported as it has begun; {recipe} differs ({differences[0]})", err=True)
    return begun


def _place(
    ledger: "Ledger", site: "Site", usd_per_gpu_hour: Decimal | None, prefer_site: bool
) -> tuple["Hardware", "Price | None", "BackendName"]:
    """Where what remains would run: as the newest submission, unless a site was asked for or there is none."""
    from mdiff.recipe.price import Price

    newest = None if prefer_site else ledger.newest_training
    place = newest.job if newest else site
    if usd_per_gpu_hour is not None:
        return place.hardware, Price(usd_per_gpu_hour=usd_per_gpu_hour, source="--usd-per-gpu-hour", basis="flag"), place.backend
    return place.hardware, place.price, place.backend


def _current(run_dir: "RunDir", ledger: "Ledger") -> "Ledger":
    """With what the schedulers of open jobs say; a report is possible without them, and then says so."""
    from mdiff.errors import LaunchError
    from mdiff.launch.scheduler import refresh

    try:
        return refresh(run_dir, ledger)
    except LaunchError as error:
        typer.echo(f"warning: open jobs are billed by the meter alone: {error}", err=True)
        return ledger


def _sets_limit(overrides: Sequence[str]) -> bool:
    return any(override.partition("=")[0].strip() == "budget.limit_usd" for override in overrides)


def _next_step(report: "Report", backend: "BackendName", recipe: str) -> str:
    """The one command that most likely comes next."""
    run = "" if report.run == DEFAULT_RECIPE else f" --run {report.run}"
    unfinished = [row.stage for row in report.stages if row.images_done < row.images_planned]
    if report.price is None:
        return "Next: mdiff budget report --usd-per-gpu-hour 2.99"
    if report.open_jobs:
        return f"Next: mdiff status{run}"
    if report.price.basis == "assumed" and not report.attempts:
        return "Next: mdiff site init --backend slurm      to set your cluster and its price"
    if not unfinished:
        return f'Next: mdiff sample "..."{run}'
    source = "" if recipe == DEFAULT_RECIPE else f" --recipe {recipe}"
    named = "" if report.run == report.recipe else run
    return f"Next: mdiff submit --stage {unfinished[0]} --backend {backend}{source}{named}"
