"""Scores of a run of the shapes recipe: new pictures of all six tasks, judged by the detector."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from mdiff.data.picture_grid import write_picture_grid
from mdiff.data.shapes.captions import PAIR_TASKS, TASKS, Prompt, evaluation_prompts
from mdiff.data.shapes.world import ShapesWorld
from mdiff.evaluate.generate import Painter
from mdiff.evaluate.shapes_score import ScoreRow, mean_share, score, score_table
from mdiff.recipe.manifest import CAPTIONS_FOLDER, read_manifest
from mdiff.run_dir import RunDir, replace_file

PICTURES_IN_GRID = 24


def dataset_world(dataset: Path) -> ShapesWorld:
    """The world that a data set was drawn from."""
    return ShapesWorld.model_validate_json(json.dumps(read_manifest(dataset / CAPTIONS_FOLDER).made_from["world"]))


def all_prompts(world: ShapesWorld, per_task: int, seed: int) -> list[Prompt]:
    """`per_task` captions of each task, then as many with held-out pairs for the tasks that have them."""
    seen = [prompt for task in TASKS for prompt in evaluation_prompts(world, task, per_task, False, seed)]
    return seen + [prompt for task in PAIR_TASKS for prompt in evaluation_prompts(world, task, per_task, True, seed)]


def evaluate_shapes(
    painter: Painter, run_dir: RunDir, world: ShapesWorld, per_task: int, seed: int, on_picture: Callable[[int], None] | None = None
) -> list[ScoreRow]:
    """Draw, judge, and write samples/final.png and evaluation.json into the run directory."""
    prompts = all_prompts(world, per_task, seed)
    pixels = painter.draw([prompt.text for prompt in prompts], seed, on_picture)
    verdicts = [score(picture.numpy(), prompt, world) for picture, prompt in zip(pixels, prompts, strict=True)]
    rows = score_table(zip(prompts, verdicts, strict=True))
    write_final_grid(run_dir, pixels, prompts, per_task)
    replace_file(run_dir.evaluation, json.dumps(report(painter, rows, per_task, seed), indent=1))
    return rows


def report(painter: Painter, rows: Sequence[ScoreRow], per_task: int, seed: int) -> dict[str, object]:
    return {
        "run": painter.recipe.name,
        "checkpoint": painter.checkpoint.name,
        "pictures_per_task": per_task,
        "seed": seed,
        "mean": mean_share(rows),
        "mean_held_out": mean_share(rows, held_out=True),
        "rows": [row._asdict() | {"share": row.share} for row in rows],
    }


def write_final_grid(run_dir: RunDir, pixels: Tensor, prompts: Sequence[Prompt], per_task: int) -> None:
    """The first pictures of each seen task, not chosen by how well they came out."""
    each = min(per_task, PICTURES_IN_GRID // len(TASKS))
    chosen = [number * per_task + index for number in range(len(TASKS)) for index in range(each)]
    write_picture_grid(run_dir.final_grid, pixels[chosen], [prompts[index].text for index in chosen], columns=6)
