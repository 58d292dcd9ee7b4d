"""`mdiff recipe`: what a run is."""

import json
from typing import Annotated

import typer

from .options import JsonOption, SetOption, complete_recipe

app = typer.Typer(no_args_is_help=True, help="What a run is: list, show and check recipes.")

RecipeArgument = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A preset, or a recipe file.", autocompletion=complete_recipe)]


@app.command("list")
def list_presets(as_json: JsonOption = False) -> None:
    """List the recipes that are shipped.

    \b
      mdiff recipe list
    """
    from mdiff.recipe.load import load_recipe, preset_names

    from .recipe_text import summary

    summaries = [summary(load_recipe(name)) for name in preset_names()]
    if as_json:
        typer.echo(json.dumps([vars(each) for each in summaries], indent=2))
        return
    for each in summaries:
        typer.echo(f"{each.name:<14}{each}")


@app.command()
def show(recipe: RecipeArgument, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Print a recipe as TOML, every default written out.

    \b
      mdiff recipe show microdit-xl > my.toml
    """
    from mdiff.recipe.load import load_recipe, to_toml

    found = load_recipe(recipe, overrides or ())
    typer.echo(found.model_dump_json(indent=2) if as_json else to_toml(found), nl=as_json)


@app.command()
def check(recipe: RecipeArgument, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Check a recipe, and say what it amounts to.

    \b
      mdiff recipe check my.toml
      mdiff recipe check microdit-xl --set model.depth=12
    """
    from mdiff.recipe.load import load_recipe

    from .recipe_text import summary

    found = summary(load_recipe(recipe, overrides or ()))
    typer.echo(json.dumps(vars(found), indent=2) if as_json else f"ok: {recipe}: {found}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes, by which editors complete and check them.

    \b
      mdiff recipe schema > recipe.schema.json
    """
    from mdiff.recipe.recipe import Recipe

    typer.echo(json.dumps(Recipe.model_json_schema(), indent=2))
