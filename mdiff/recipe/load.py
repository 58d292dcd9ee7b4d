"""From a preset's name or a TOML file, with overrides, to a checked recipe; and back to TOML."""

import hashlib
import json
import tomllib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import ValidationError

from mdiff.errors import RecipeError
from mdiff.recipe.override import apply_overrides
from mdiff.recipe.problems import dotted, recipe_error
from mdiff.recipe.recipe import FROZEN_TABLES, Recipe
from mdiff.recipe.settings import BadSettingError, Settings
from mdiff.recipe.toml_lines import line_of

Table = TypeVar("Table", bound=Settings)


def preset_names() -> list[str]:
    return sorted(path.name.removesuffix(".toml") for path in _presets().iterdir() if path.name.endswith(".toml"))


def preset_text(name: str) -> str:
    """The TOML text of a preset that is shipped with the package."""
    return (_presets() / f"{name}.toml").read_text()


def load_recipe(name_or_file: str, overrides: Iterable[str] = ()) -> Recipe:
    """A preset by its name, or a file; with `--set` overrides.

    Raises:
        RecipeError: there is no such recipe, or it is wrong.
    """
    if name_or_file in preset_names():
        return parse_settings(Recipe, preset_text(name_or_file), name_or_file, overrides)
    path = Path(name_or_file)
    if not path.is_file():
        raise RecipeError("--recipe", f"{name_or_file} is neither a preset ({', '.join(preset_names())}) nor a file")
    return parse_settings(Recipe, path.read_text(), name_or_file, overrides)


def parse_settings(table: type[Table], text: str, where: str, overrides: Iterable[str] = ()) -> Table:
    """Check TOML text as `table`; errors name `where`, with the line if the value stands in the text."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError("not valid TOML", str(error), where=where) from error
    overrides = list(overrides)
    document = apply_overrides(document, overrides, table)
    try:
        # Through JSON, for there pydantic's strict mode takes lists as tuples and texts as dates, and still no text as number.
        return table.model_validate_json(json.dumps(document, default=str))
    except ValidationError as error:
        raise recipe_error(error, table, _place(error, text, where, overrides)) from error


def to_toml(settings: Settings) -> str:
    """TOML that loads as the same settings, every default written out."""
    return tomli_w.dumps(settings.model_dump(exclude_none=True))


def fingerprint(recipe: Recipe) -> str:
    """12 hexadecimal digits that change with anything that a run may not change."""
    tables = recipe.model_dump(mode="json", include=set(FROZEN_TABLES))
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()[:12]


def frozen_differences(old: Recipe, new: Recipe) -> list[str]:
    """The frozen settings that differ, as "key: old -> new"."""
    before, after = (dict(_leaves(recipe.model_dump(mode="json", include=set(FROZEN_TABLES)))) for recipe in (old, new))
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return [f"{key}: {before.get(key)} -> {after.get(key)}" for key in keys]


def _presets() -> Any:
    return resources.files("mdiff.recipe") / "presets"


def _place(error: ValidationError, text: str, where: str, overrides: list[str]) -> str:
    """ "--set" when an override brought the value, else the file and, where it can be found, the line."""
    finding = error.errors()[0]
    cause = finding.get("ctx", {}).get("error")
    key = dotted((*finding["loc"], cause.key) if isinstance(cause, BadSettingError) else finding["loc"])
    if any(override.partition("=")[0].strip() == key for override in overrides):
        return "--set"
    line = line_of(text, key)
    return f"{where}, line {line}" if line else where


def _leaves(node: Any, key: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}".removeprefix("."))
    elif isinstance(node, list) and node and isinstance(node[0], dict):
        for index, value in enumerate(node):
            yield from _leaves(value, f"{key}[{index}]")
    else:
        yield key, node
