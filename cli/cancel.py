"""`mdiff cancel`: ask a job to save its work and leave."""

from typing import Annotated

import typer

from .options import RunOption, RunsDirOption, SiteOption
from .status import chosen_run

NowOption = Annotated[bool, typer.Option("--now", help="Do not wait for a checkpoint: work since the newest one is lost.")]


def cancel(run: RunOption = "", now: NowOption = False, runs_dir: RunsDirOption = None, site: SiteOption = None) -> None:
    """Ask a job to save its work and leave.

    The run with the newest job, unless --run says which.

    \b
      mdiff cancel
      mdiff cancel --run shapes --now
    """
    from mdiff.launch.cancel import cancel_job

    run_dir = chosen_run(run, runs_dir, site)
    typer.echo(f"{run_dir.name}: {cancel_job(run_dir, now, tell=lambda text: typer.echo(text, err=True))}")
    typer.echo(f"Next: mdiff status --run {run_dir.name}", err=True)
