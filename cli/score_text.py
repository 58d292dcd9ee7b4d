"""The demo's scores as a table: tasks in columns, seen and held-out captions in rows."""

from collections.abc import Iterator, Mapping
from typing import Any

NAMES = {
    "single_object": "single object",
    "two_objects": "two objects",
    "counting": "counting",
    "colours": "colours",
    "position": "position",
    "colour_attribution": "colour attribution",
}


def score_lines(scores: Mapping[str, Any]) -> Iterator[str]:
    """`scores`: what evaluation.json holds."""
    shares = {(row["task"], row["held_out"]): row["share"] for row in scores["rows"]}
    yield "            " + "".join(f"{words[0]:>12}" for words in _split_names())
    yield "            " + "".join(f"{words[1]:>12}" for words in _split_names()) + "    mean"
    for title, held_out, mean in (("seen", False, scores["mean"]), ("held-out", True, scores["mean_held_out"])):
        cells = [f"{shares[task, held_out]:.0%}" if (task, held_out) in shares else "-" for task in NAMES]
        yield f"  {title:<10}" + "".join(f"{cell:>12}" for cell in cells) + f"{mean:>8.0%}"


def _split_names() -> list[tuple[str, str]]:
    """Two lines for each heading, so that 92 columns suffice."""
    pairs = [name.rpartition(" ") for name in NAMES.values()]
    return [(first, last) for first, _, last in pairs]
