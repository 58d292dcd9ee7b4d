"""`mdiff logs`: what a job says."""

from typing import Annotated

import typer

from .options import RunOption, RunsDirOption, SiteOption
from .status import chosen_run

FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended, through all its attempts.")]
LinesOption = Annotated[int, typer.Option("--lines", "-n", metavar="N", min=0, help="Lines to begin with.")]
NodeOption = Annotated[int | None, typer.Option("--node", metavar="N", min=0, help="This node's log alone, counted from 0.")]


def logs(
    follow: FollowOption = False,
    lines: LinesOption = 100,
    node: NodeOption = None,
    run: RunOption = "",
    runs_dir: RunsDirOption = None,
    site: SiteOption = None,
) -> None:
    """Print the log of a run's newest job.

    The run with the newest job, unless --run says which.

    With --follow the exit code is 0 if the job completed or was stopped by its budget, and another one if not.

    \b
      mdiff logs -n 20 --node 1
      mdiff logs -f --run shapes
    """
    from mdiff.launch.logs import exit_code_of, newest_logs
    from mdiff.launch.logs import follow as follow_log

    run_dir = chosen_run(run, runs_dir, site)
    if not follow:
        typer.echo(newest_logs(run_dir, lines, node=node), nl=False)
        return
    for text in follow_log(run_dir, lines, node=node):
        typer.echo(text, nl=False)
    raise typer.Exit(exit_code_of(run_dir))
