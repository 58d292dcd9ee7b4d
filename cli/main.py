"""`mdiff`: the entry point. The only place that turns an error into a line and an exit code."""

import os
import sys
from typing import Annotated

import typer

from mdiff.errors import MdiffError

from . import budget, cancel, data, demo, doctor, logs, recipe, sample, site, status, submit, watch

INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("submit", cls=submit.SubmitCommand)(submit.submit)
app.command("status")(status.status)
app.command("logs")(logs.logs)
app.command("cancel")(cancel.cancel)
app.command("watch")(watch.watch)
app.command("sample")(sample.sample)
app.command("doctor")(doctor.doctor)
app.add_typer(budget.app, name="budget")
app.add_typer(recipe.app, name="recipe")
app.add_typer(site.app, name="site")
app.add_typer(data.app, name="data")


def print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"mdiff {version('mdiff')}")
        except PackageNotFoundError:
            typer.echo("mdiff, run from a checkout that is not installed")
        raise typer.Exit


@app.callback()
def mdiff(
    version: Annotated[bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """Train a text-to-image diffusion transformer from scratch, on a dollar budget,
    on the cluster that you already have.

    \b
      mdiff demo                               the whole path on this machine, in six minutes
      mdiff budget report                      what it will cost, before anything has run
      mdiff submit --stage 1 --backend slurm   train the first stage on the cluster
      mdiff status                             how far it is, how fast, for how much
      mdiff logs -f                            what it says

    Exit codes: 0 done, 1 other, 2 wrong recipe, site or usage, 3 does not fit the budget,
    4 launch, 5 data, 6 checkpoint.
    """


def main() -> None:
    try:
        app(prog_name="mdiff")
    except MdiffError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader, `head` for instance, has had enough. Nothing more may be written, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
