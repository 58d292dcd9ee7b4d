"""`--set a.b=c`: one typed value put into a TOML document before it is checked."""

import re
import tomllib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from mdiff.errors import RecipeError
from mdiff.recipe.problems import Location, dotted, known_keys

PART = re.compile(r"([A-Za-z0-9_-]+)((?:\[\d+\])*)$")


def apply_overrides(document: dict[str, Any], overrides: Iterable[str], root: type[BaseModel]) -> dict[str, Any]:
    """The document with each `key=value` put in.

    Raises:
        RecipeError: no such table or list entry; the key itself is checked with the whole document.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise RecipeError(override, "must be KEY=VALUE, such as model.depth=12", where="--set")
        document = _put(document, parse_key(key.strip()), parse_value(text.strip()), root, ())
    return document


def parse_key(key: str) -> Location:
    """
    >>> parse_key("stages[2].ema.decay")
    ('stages', 2, 'ema', 'decay')
    """
    location: list[str | int] = []
    for part in key.split("."):
        match = PART.match(part)
        if match is None:
            raise RecipeError(key, "must be a dotted key, such as stages[0].steps", where="--set")
        location += [match[1], *(int(index) for index in re.findall(r"\d+", match[2]))]
    return tuple(location)


def parse_value(text: str) -> Any:
    """A TOML value; what is none is taken as text, so that quotes are not needed.

    >>> parse_value("12"), parse_value("[0.5, 1]"), parse_value("true"), parse_value("org/name")
    (12, [0.5, 1], True, 'org/name')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(node: Any, rest: Location, value: Any, root: type[BaseModel], done: Location) -> Any:
    """A copy of `node` with `value` at `rest`; `done` is the way that led to it."""
    if not rest:
        return value
    part, here = rest[0], (*done, rest[0])
    if isinstance(part, int):
        if not isinstance(node, list) or part >= len(node):
            size = len(node) if isinstance(node, list) else 0
            raise RecipeError(dotted(here), f"there is no entry {part}; {dotted(done)} has {size}, counted from 0", where="--set")
        return [*node[:part], _put(node[part], rest[1:], value, root, here), *node[part + 1 :]]
    if not isinstance(node, dict):
        example = f"{dotted(done)}[0].{part}" if isinstance(node, list) else ", ".join(known_keys(root, done[:-1]))
        raise RecipeError(dotted(here), f"{dotted(done)} is not a table; write {example}", where="--set")
    return {**node, part: _put(node.get(part, {}), rest[1:], value, root, here)}
