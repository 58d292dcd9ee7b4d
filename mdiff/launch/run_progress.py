"""How far a run is: by the checkpoints that it has and, where they lie on a volume of a cluster, by what its jobs told."""

from dataclasses import dataclass

from mdiff.budget.ledger import Ledger
from mdiff.budget.pace import images_standing
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


def run_progress(recipe: Recipe, run_dir: RunDir, ledger: Ledger | None = None) -> RunProgress:
    """A stage is done when there is a checkpoint of its last step, or of a later stage."""
    if ledger is not None and is_elsewhere(ledger):
        images = images_standing(ledger.records)
        return _progress(recipe, {number: images.get(number, 0) // stage.batch_size for number, stage in enumerate(recipe.stages, start=1)})
    newest = dict(checkpoint_place(path) for path in list_checkpoints(run_dir))
    last_stage = max(newest, default=0)
    steps = {number: stage.steps if number < last_stage else newest.get(number, 0) for number, stage in enumerate(recipe.stages, start=1)}
    return _progress(recipe, steps)


def is_elsewhere(ledger: Ledger) -> bool:
    """Whether the run's checkpoints lie where this machine cannot see them."""
    newest = ledger.newest_training
    return newest is not None and newest.job.backend == "kubernetes"


def _progress(recipe: Recipe, steps: dict[int, int]) -> RunProgress:
    return RunProgress(
        steps_done=steps,
        images_done={number: done * recipe.stages[number - 1].batch_size for number, done in steps.items()},
        stages_done=frozenset(number for number, done in steps.items() if done >= recipe.stages[number - 1].steps),
    )
