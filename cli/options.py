"""Options that mean the same wherever they appear."""

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mdiff.errors import UsageError

DEFAULT_RECIPE = "microdit-xl"


if TYPE_CHECKING:
    from mdiff.recipe.site import BackendName

BACKENDS: tuple["BackendName", ...] = ("local", "slurm", "kubernetes")


def complete_backend(incomplete: str) -> Iterator[str]:
    """For the shell."""
    return (name for name in BACKENDS if name.startswith(incomplete))


def backend_name(text: str | None) -> "BackendName | None":
    """
    Raises:
        UsageError: there is no such backend.
    """
    return None if text is None else named_backend(text)


def named_backend(text: str) -> "BackendName":
    """
    Raises:
        UsageError: there is no such backend.
    """
    found = next((name for name in BACKENDS if name == text), None)
    if found is None:
        raise UsageError(f"--backend {text}: must be {', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}")
    return found


def complete_recipe(incomplete: str) -> Iterator[str]:
    """For the shell: presets, and recipe files in this folder."""
    from mdiff.recipe.load import preset_names

    names = [*preset_names(), *(path.name for path in Path().glob("*.toml"))]
    return (name for name in names if name.startswith(incomplete))


def parse_usd(text: str) -> Decimal:
    """A positive amount of dollars."""
    try:
        usd = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        usd = Decimal("NaN")
    if not (usd.is_finite() and usd > 0):
        raise typer.BadParameter(f"{text} must be an amount above 0, such as 2.99")
    return usd


RecipeOption = Annotated[
    str, typer.Option("--recipe", metavar="NAME|FILE", help="A preset, or a recipe file.", autocompletion=complete_recipe)
]
RunOption = Annotated[str, typer.Option("--run", metavar="NAME", help="The run: the name of its directory.")]
RunsDirOption = Annotated[
    Path | None, typer.Option("--runs-dir", metavar="DIR", help="Folder of all runs [default: $MDIFF_RUNS, the site's, ./runs].")
]
SiteOption = Annotated[Path | None, typer.Option("--site", metavar="FILE", help="Site file [default: ~/.config/mdiff/site.toml].")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe; repeatable.")]
BackendOption = Annotated[
    str | None,
    typer.Option("--backend", metavar="|".join(BACKENDS), help="Where to run [default: the site file's].", autocompletion=complete_backend),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
PriceOption = Annotated[
    Decimal | None, typer.Option("--usd-per-gpu-hour", metavar="USD", parser=parse_usd, help="Price of a GPU-hour, instead of the site's.")
]
