"""`mdiff status`: how far a run is, how fast, for how much."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from .options import JsonOption, RunOption, RunsDirOption, SiteOption

if TYPE_CHECKING:
    from mdiff.run_dir import RunDir

WatchOption = Annotated[bool, typer.Option("--watch", "-w", help="Follow the job until it ends.")]


def chosen_run(run: str, runs_dir: RunsDirOption, site: SiteOption) -> "RunDir":
    """The run that was named, else the one with the newest job."""
    from mdiff.launch.place import open_run, read_site
    from mdiff.launch.status import find_run

    return find_run(open_run("any", runs_dir, read_site(site)).path.parent, run)


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
