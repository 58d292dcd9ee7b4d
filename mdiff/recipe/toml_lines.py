"""On which line of a TOML file a dotted key stands, so that an error can name it."""

import re

HEADER = re.compile(r"^\s*(\[\[?)\s*([A-Za-z0-9_.-]+)\s*\]\]?")
ASSIGNMENT = re.compile(r"^\s*([A-Za-z0-9_.-]+)\s*=")


def line_of(text: str, key: str) -> int | None:
    """Line number of `key` ("stages[2].mask_ratio"), or of the nearest table around it; None when neither is there.

    >>> line_of("a = 1\\n[[stages]]\\nb = 1\\n[[stages]]\\nc = 2", "stages[1].c")
    5
    """
    lines = _lines_by_key(text)
    while key:
        if key in lines:
            return lines[key]
        key = re.sub(r"(^|\.)[^.\[]+$|\[\d+\]$", "", key)
    return None


def _lines_by_key(text: str) -> dict[str, int]:
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        header, assignment = HEADER.match(line), ASSIGNMENT.match(line)
        if header:
            table = _open_table(header[2], header[1] == "[[", counts)
            lines[table] = number
        elif assignment:
            lines[f"{table}.{assignment[1]}".removeprefix(".")] = number
    return lines


def _open_table(name: str, is_array: bool, counts: dict[str, int]) -> str:
    """The table's key with indices: `stages.ema` inside the second [[stages]] is `stages[1].ema`."""
    if is_array:
        counts[name] = counts.get(name, -1) + 1
    parts = name.split(".")
    key = ""
    for depth in range(1, len(parts) + 1):
        prefix = ".".join(parts[:depth])
        index = f"[{counts[prefix]}]" if prefix in counts else ""
        key += f".{parts[depth - 1]}{index}"
    return key.removeprefix(".")
