"""How far a run is, by the checkpoints that it has."""

from dataclasses import dataclass

from mdiff.recipe.checkpoints import checkpoint_place, list_checkpoints
from mdiff.recipe.recipe import Recipe
from mdiff.run_dir import RunDir


@dataclass(frozen=True)
class RunProgress:
    """What need not be trained again."""

    steps_done: dict[int, int]
    """Stage, counted from 1 -> its optimizer steps."""
    images_done: dict[int, int]
    stages_done: frozenset[int]


def run_progress(recipe: Recipe, run_dir: RunDir) -> RunProgress:
    """A stage is done when there is a checkpoint of its last step, or of a later stage."""
    newest = dict(checkpoint_place(path) for path in list_checkpoints(run_dir))
    last_stage = max(newest, default=0)
    steps = {number: stage.steps if number < last_stage else newest.get(number, 0) for number, stage in enumerate(recipe.stages, start=1)}
    return RunProgress(
        steps_done=steps,
        images_done={number: done * recipe.stages[number - 1].batch_size for number, done in steps.items()},
        stages_done=frozenset(number for number, done in steps.items() if done >= recipe.stages[number - 1].steps),
    )
