"""`mdiff submit`: check, show what it will cost, ask, start."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperCommand

from .options import (
    DEFAULT_RECIPE,
    BackendOption,
    JsonOption,
    PriceOption,
    RecipeOption,
    RunOption,
    RunsDirOption,
    SetOption,
    SiteOption,
    backend_name,
)  # fmt: skip

if TYPE_CHECKING:
    from mdiff.launch.submit import Plan
    from mdiff.recipe.job import Submission

StageOption = Annotated[str, typer.Option("--stage", metavar="1|2-4|all", help="Stages to train, in one job.")]
NodesOption = Annotated[int | None, typer.Option("--nodes", min=1, help="Number of nodes, instead of the site's.")]
HoursOption = Annotated[
    float | None, typer.Option("--time-limit-hours", metavar="HOURS", min=0.001, help="Stop the job with a checkpoint after this time.")
]
AfterOption = Annotated[str, typer.Option("--after", metavar="JOBID", help="Start when this job of the run has completed (afterok).")]
OverBudgetOption = Annotated[str, typer.Option("--over-budget", metavar="REASON", help="Submit what does not fit; REASON is recorded.")]
AgainOption = Annotated[
    bool, typer.Option("--again", help="Train stages that are done afresh; their checkpoints, and later stages', are set aside.")
]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Print what would be started, and write nothing; --dry-run=server lets Kubernetes check it, too."),
]
SERVER_DRY_RUN = "--dry-run-server"
ServerDryRunOption = Annotated[bool, typer.Option(SERVER_DRY_RUN, hidden=True)]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


class SubmitCommand(TyperCommand):
    """Takes `--dry-run=server` beside `--dry-run`, as kubectl does; click's flags take no value."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        return super().parse_args(ctx, [SERVER_DRY_RUN if word == "--dry-run=server" else word for word in args])


def submit(
    stage: StageOption,
    backend: BackendOption = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    run: RunOption = "",
    overrides: SetOption = None,
    nodes: NodesOption = None,
    usd_per_gpu_hour: PriceOption = None,
    time_limit_hours: HoursOption = None,
    after: AfterOption = "",
    over_budget: OverBudgetOption = "",
    again: AgainOption = False,
    dry_run: DryRunOption = False,
    dry_run_server: ServerDryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    site: SiteOption = None,
    runs_dir: RunsDirOption = None,
) -> None:
    """Train stages of a run as one job, if it fits the budget.

    Without a terminal it does not ask: the budget is the guard.

    \b
      mdiff submit --stage 1 --backend slurm
      mdiff submit --stage 2-4 --backend slurm --after 8841207
      mdiff submit --stage all --recipe shapes --backend local
      mdiff submit --stage 2-4 --backend kubernetes --dry-run > job.yaml
    """
    from mdiff.launch.submit import Order, plan_submission
    from mdiff.launch.submit import submit as submit_plan

    order = Order(
        stages=stage, recipe=recipe, overrides=overrides or (), run=run, backend=backend_name(backend), site_file=site,
        runs_dir=runs_dir, nodes=nodes, usd_per_gpu_hour=usd_per_gpu_hour, time_limit_hours=time_limit_hours,
        after=after, over_budget_reason=over_budget, again=again, dry_run=dry_run or dry_run_server,
    )  # fmt: skip
    plan = plan_submission(order)
    verdict = plan.try_out() if dry_run_server else ""
    _show(plan)
    if order.dry_run:
        typer.echo(plan.submission.model_dump_json(indent=2) if as_json else plan.render())
        typer.echo(verdict, nl=bool(verdict), err=True)
        return
    _confirm(yes)
    _tell(submit_plan(plan), as_json)


def _show(plan: "Plan") -> None:
    """The plan is talk; what is started goes to standard output."""
    from .plan_text import plan_lines

    for line in plan_lines(plan):
        typer.echo(line, err=True)
    for warning in plan.warnings:
        typer.echo(f"warning: {warning}", err=True)


def _confirm(yes: bool) -> None:
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        typer.confirm("Submit?", abort=True, err=True)


def _tell(submission: "Submission", as_json: bool) -> None:
    job = submission.job
    if as_json:
        typer.echo(json.dumps({"job": submission.scheduler_job, "run": job.run, "run_dir": job.run_dir, "submission": submission.id}))
        return
    run = f" --run {job.run}"
    typer.echo(f"Submitted: job {submission.scheduler_job}, run {job.run}")
    typer.echo(f"Next: mdiff logs -f{run}      mdiff status{run}      mdiff cancel{run}", err=True)
