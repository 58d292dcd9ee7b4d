"""Turns pydantic's findings into one line: what, where, what is allowed."""

import difflib
import re
from typing import Any

from pydantic import BaseModel, ValidationError

from mdiff.errors import RecipeError
from mdiff.recipe.settings import BadSettingError

Location = tuple[str | int, ...]


def recipe_error(error: ValidationError, root: type[BaseModel], where: str) -> RecipeError:
    """The first finding as the error that the user sees; `where` names the file or flag."""
    finding = error.errors(include_url=False)[0]
    location = tuple(part for part in finding["loc"])
    kind = finding["type"]
    if kind == "extra_forbidden":
        return RecipeError(dotted(location), _unknown_key(root, location), where=where)
    if kind == "missing":
        return RecipeError(dotted(location), "is missing", where=where)
    cause = finding.get("ctx", {}).get("error")
    if isinstance(cause, BadSettingError):
        key = dotted((*location, cause.key))
        return RecipeError(f"{key} = {_short(cause.value)}", cause.problem, where=where)
    return RecipeError(f"{dotted(location)} = {_short(finding['input'])}", _allowed(finding["msg"]), where=where)


def dotted(location: Location) -> str:
    """
    >>> dotted(("stages", 2, "mask_ratio"))
    'stages[2].mask_ratio'
    """
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def known_keys(root: type[BaseModel], location: Location) -> list[str]:
    """The keys that the table at `location` may have."""
    table: Any = root
    for part in location:
        if isinstance(part, str) and part in getattr(table, "model_fields", {}):
            table = _table_in(table.model_fields[part].annotation)
    return list(getattr(table, "model_fields", {}))


def _table_in(annotation: Any) -> Any:
    """The settings class inside tuple[X, ...] or X | None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_table_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((table for table in inner if table is not None), None)


def _unknown_key(root: type[BaseModel], location: Location) -> str:
    table, key = location[:-1], str(location[-1])
    known = known_keys(root, table)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`?" if near else f"known settings: {', '.join(known)}"
    return f"no such setting in [{dotted(table) or 'the top level'}]; {hint}"


def _allowed(message: str) -> str:
    """Pydantic's sentence in ours: "Input should be greater than 0" -> "must be greater than 0"."""
    return re.sub(r"^(Input|String|Tuple|Value) (should|error, )", "must", message).replace("should", "must")


def _short(value: object) -> str:
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= 60 else f"{text[:57]}..."
