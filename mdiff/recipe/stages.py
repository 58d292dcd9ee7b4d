"""Which stages `--stage 1|2-4|all` means."""

import re

from mdiff.errors import UsageError


def parse_stages(text: str, count: int, name: str = "the recipe") -> range:
    """Stages counted from 1.

    >>> list(parse_stages("2-4", 4))
    [2, 3, 4]

    Raises:
        UsageError: the text means no stage of a recipe with `count` stages.
    """
    if text == "all":
        return range(1, count + 1)
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last <= count:
        every = f"stages 1-{count}" if count > 1 else "one stage"
        raise UsageError(f"--stage {text}: {name} has {every}; write one (2), a range (2-4) or `all`")
    return range(first, last + 1)
