"""`mdiff watch`: the last resort against jobs that should have come back and did not."""

import time
from datetime import datetime
from typing import Annotated

import typer

from .options import RunOption, RunsDirOption, SiteOption

IntervalOption = Annotated[float, typer.Option("--interval-minutes", min=0.05, metavar="MIN", help="Time between two looks.")]
OnceOption = Annotated[bool, typer.Option("--once", help="Look once and leave: for cron.")]


def watch(
    run: RunOption = "",
    interval_minutes: IntervalOption = 10,
    once: OnceOption = False,
    runs_dir: RunsDirOption = None,
    site: SiteOption = None,
) -> None:
    """Start jobs again that ended for a time limit, a preemption or a lost node, and did not come back by themselves.

    All runs of the runs root, unless --run says which. Jobs normally requeue themselves; this is for clusters and nights on which
    they cannot. It never touches a job that was cancelled, completed or stopped by its budget.

    \b
      mdiff watch
      mdiff watch --once --run microdit-xl
    """
    from mdiff.errors import LaunchError
    from mdiff.launch.place import open_run, read_site
    from mdiff.launch.revive import look_after, runs_of

    root = open_run("any", runs_dir, read_site(site)).path.parent
    while True:
        for run_dir in runs_of(root):
            if run and run_dir.name != run:
                continue
            try:
                finding = look_after(run_dir)
            except LaunchError as error:
                if once:
                    raise
                typer.echo(f"{_now()}  {run_dir.name}: {error}", err=True)
                continue
            if once or not finding.is_quiet:
                typer.echo(f"{_now()}  {finding.run}: {finding.text}")
        if once:
            return
        time.sleep(60 * interval_minutes)


def _now() -> str:
    return f"{datetime.now():%H:%M:%S}"
