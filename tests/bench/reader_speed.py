"""Samples a second that the reader gives to one process, from shards in the page cache."""

import tempfile
import time
from itertools import islice
from pathlib import Path

from mdiff.data.reader import open_reader
from mdiff.data.shapes.generate import ShapesSettings, generate
from mdiff.recipe.load import load_recipe
from tests.bench.harness import record

BATCH, STEPS, REPEATS = 256, 60, 5


def run() -> None:
    recipe = load_recipe("shapes")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "shapes"
        generate(root, ShapesSettings(images=8000))
        for stage in (recipe.stages[0], recipe.stages[3]):
            rates = [_rate(root, stage.resolution, recipe.data.lanes) for _ in range(REPEATS)]
            record("reader_speed", f"shapes {stage.resolution} px, no thread", rates, "samples/s", warmup=0, batch=BATCH)


def _rate(root: Path, resolution: int, lanes: int) -> float:
    uses = load_recipe("shapes").stages[0].datasets
    with open_reader(
        {"shapes": root}, uses, resolution, seed=0, lanes=lanes, batch_size=BATCH, caption_dropout=0.1, stage_index=0, prefetch=0
    ) as reader:
        next(reader)  # opens the shards
        begin = time.perf_counter()
        for _ in islice(reader, STEPS):
            pass
        return BATCH * STEPS / (time.perf_counter() - begin)
