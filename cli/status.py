"""`mdiff status`: how far a run is, how fast, for how much."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from .options import JsonOption, RunOption, RunsDirOption, SiteOption

if TYPE_CHECKING:
    from pathlib import Path

    from mdiff.recipe.site import Site
    from mdiff.run_dir import RunDir

WatchOption = Annotated[bool, typer.Option("--watch", "-w", help="Follow the job until it ends.")]


def chosen_run(run: str, runs_dir: RunsDirOption, site: SiteOption) -> "RunDir":
    """The run that was named, else the one with the newest job."""
    from mdiff.launch.place import open_run, read_site
    from mdiff.launch.status import find_run

    found = read_site(site)
    root = open_run("any", runs_dir, found).path.parent
    note_cluster_jobs(root, found, run)
    return find_run(root, run)


def note_cluster_jobs(root: "Path", site: "Site | None", run: str) -> None:
    """On Kubernetes others submit too; what cannot be asked after now is asked after next time."""
    if site is None or site.backend != "kubernetes":
        return
    from mdiff.errors import LaunchError
    from mdiff.launch.kubernetes.adopt import adopt_jobs

    try:
        adopt_jobs(root, site.kubernetes, run)
    except LaunchError as error:
        typer.echo(f"warning: jobs that others submitted may be missing: {str(error).splitlines()[0]}", err=True)


def status(
    run: RunOption = "",
    watch: WatchOption = False,
    as_json: JsonOption = False,
    runs_dir: RunsDirOption = None,
    site: SiteOption = None,
) -> None:
    """Show how far a run is, how fast, for how much.

    The run with the newest job, unless --run says which.

    \b
      mdiff status
      mdiff status --run shapes --watch
      mdiff status --json | jq .progress.step
    """
    from mdiff.launch.status import read_status
    from mdiff.units import utc_now

    from .live import follow_job
    from .status_text import status_lines

    run_dir = chosen_run(run, runs_dir, site)
    if watch:
        follow_job(run_dir)
    found = read_status(run_dir)
    if as_json:
        typer.echo(json.dumps(json.loads(found.model_dump_json()), indent=2))
        return
    for line in status_lines(found, utc_now()):
        typer.echo(line)
