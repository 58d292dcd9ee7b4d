"""`mdiff data`: data sets."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Make data sets.")


@app.callback()
def data() -> None:
    """Keeps `shapes` a command of its own while it is the only one."""


@app.command()
def shapes(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the data set.")],
    images: Annotated[int, typer.Option(metavar="N", min=1, help="Number of pictures.")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
    resolutions: Annotated[str, typer.Option(metavar="A,B", help="Sides of the pictures in pixels.")] = "16,32",
    layout: Annotated[str, typer.Option(metavar="fixed|free", help="free: objects lie and are as large as they like.")] = "fixed",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a data set that is already in OUT.")] = False,
) -> None:
    """Draw captioned pictures of coloured shapes, ready to train the recipe `shapes` on.

    \b
      mdiff data shapes data/shapes --images 20000
    """
    from .compute import run_compute

    arguments = [str(out), "--images", str(images), "--seed", str(seed), "--resolutions", resolutions, "--layout", layout]
    raise typer.Exit(run_compute("mdiff.data.shapes", [*arguments, *(["--overwrite"] if overwrite else [])], needs=["numpy"]))
