"""`mdiff watch`: the last resort against jobs that should have come back and did not."""

import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from .options import RunOption, RunsDirOption, SiteOption
from .status import note_cluster_jobs

if TYPE_CHECKING:
    from mdiff.run_dir import RunDir

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
    from mdiff.errors import UsageError
    from mdiff.launch.place import open_run, read_site
    from mdiff.launch.revive import runs_of

    the_site = read_site(site)
    root = open_run("any", runs_dir, the_site).path.parent
    if run and run not in [run_dir.name for run_dir in runs_of(root)]:
        raise UsageError(f"--run {run}: no such run in {root}")
    while True:
        note_cluster_jobs(root, the_site, run)
        went_well = [_look(run_dir, once) for run_dir in runs_of(root) if run in ("", run_dir.name)]
        if once:
            raise typer.Exit(0 if all(went_well) else 1)
        time.sleep(60 * interval_minutes)


def _look(run_dir: "RunDir", tell_all: bool) -> bool:
    """False, and a line, if this run is in trouble of its own, which must not leave the others alone in the night."""
    from mdiff.errors import MdiffError
    from mdiff.launch.revive import look_after

    try:
        finding = look_after(run_dir)
    except MdiffError as error:
        typer.echo(f"{_now()}  {run_dir.name}: {error}", err=True)
        return False
    if tell_all or not finding.is_quiet:
        typer.echo(f"{_now()}  {finding.run}: {finding.text}")
    return True


def _now() -> str:
    return f"{datetime.now():%H:%M:%S}"
