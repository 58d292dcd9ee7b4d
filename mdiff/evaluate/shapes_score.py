"""Does a picture show what its caption says, exactly? And how often, for each task."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mdiff.data.shapes.captions import TASKS, Prompt, Task
from mdiff.data.shapes.layout import relation_holds
from mdiff.data.shapes.world import ShapesWorld
from mdiff.evaluate.shapes_detector import Detected, detect


def score(pixels: np.ndarray, prompt: Prompt, world: ShapesWorld) -> bool:
    """True if the picture, (3, H, W) or (H, W, 3) uint8, shows the prompt's things, nothing else, and in the stated relation."""
    return matches(detect(pixels, world), prompt)


def matches(found: Sequence[Detected], prompt: Prompt) -> bool:
    """True if these are the prompt's things. A colour that it leaves open may be any."""
    open_colour = prompt.things[0].colour is None
    seen = Counter((thing.shape, None if open_colour else thing.colour) for thing in found)
    if seen != Counter((thing.shape, thing.colour) for thing in prompt.things):
        return False
    return prompt.relation is None or _relation_holds(found, prompt)


class ScoreRow(NamedTuple):
    """One task, with captions of pairs that training showed or of held-out ones."""

    task: Task
    held_out: bool
    pictures: int
    right: int

    @property
    def share(self) -> float:
        return self.right / self.pictures


def score_table(scores: Iterable[tuple[Prompt, bool]]) -> list[ScoreRow]:
    """Rows of the tasks that occur: first the seen ones in the order of TASKS, then the held-out ones."""
    counts: Counter[tuple[Task, bool, bool]] = Counter((prompt.task, prompt.held_out, is_right) for prompt, is_right in scores)
    rows = []
    for held_out in (False, True):
        for task in TASKS:
            right, wrong = counts[task, held_out, True], counts[task, held_out, False]
            if right + wrong:
                rows.append(ScoreRow(task, held_out, right + wrong, right))
    return rows


def mean_share(rows: Sequence[ScoreRow], held_out: bool = False) -> float:
    """Mean over tasks, each counting the same."""
    shares = [row.share for row in rows if row.held_out == held_out]
    if not shares:
        raise ValueError(f"no rows with held_out = {held_out}")
    return sum(shares) / len(shares)


def _relation_holds(found: Sequence[Detected], prompt: Prompt) -> bool:
    places = {(thing.shape, thing.colour): (thing.x, thing.y) for thing in found}
    first, second = (places[thing.shape, str(thing.colour)] for thing in prompt.things)
    assert prompt.relation is not None, "the caller asks only for captions with a relation"
    return relation_holds(prompt.relation, first, second)
