"""`mdiff sample`: pictures from a run, on this machine."""

import re
from pathlib import Path
from typing import Annotated

import typer

from .options import RunOption, RunsDirOption, SiteOption
from .status import chosen_run


def sample(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="What to draw.")],
    run: RunOption = "",
    out: Annotated[Path | None, typer.Option(metavar="PNG", help="[default: samples/<prompt>.png in the run directory]")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, metavar="N", help="Pictures of each prompt.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same pictures.")] = 0,
    guidance: Annotated[float | None, typer.Option(min=0, help="[default: the recipe's]")] = None,
    steps: Annotated[int | None, typer.Option(min=2, help="Of the sampler [default: the recipe's].")] = None,
    runs_dir: RunsDirOption = None,
    site: SiteOption = None,
) -> None:
    """Draw pictures with the newest checkpoint of a run, as one labelled PNG.

    The run with the newest job, unless --run says which. Prints the path.

    \b
      mdiff sample "a red circle left of a blue square" --run shapes
      mdiff sample "two blue squares" "a green triangle" -n 2 --seed 7 --out pictures.png
    """
    from .compute import run_compute

    run_dir = chosen_run(run, runs_dir, site)
    path = out or run_dir.samples / f"{re.sub(r'[^a-z0-9]+', '-', prompts[0].lower()).strip('-')[:60] or 'sample'}.png"
    arguments = [str(run_dir.path), *prompts, "--out", str(path), "--count", str(count), "--seed", str(seed)]
    for flag, value in (("--guidance", guidance), ("--steps", steps)):
        arguments += [flag, str(value)] if value is not None else []
    raise typer.Exit(run_compute("mdiff.evaluate.sample", arguments, needs=["torch", "safetensors", "PIL"]))
