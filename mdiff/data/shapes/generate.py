"""Draw a shapes data set and write it as shards. Picture i depends on the seed and i alone, whatever the number of shards."""

import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from mdiff.data.latent_codec import PixelCodec
from mdiff.data.randomness import uniforms
from mdiff.data.shapes.captions import Prompt, Task, task_prompts
from mdiff.data.shapes.draw import draw
from mdiff.data.shapes.layout import PlacedThing, place
from mdiff.data.shapes.world import ShapesWorld
from mdiff.data.words import WordsEncoder
from mdiff.data.writer import ShardSetWriter
from mdiff.errors import DataError
from mdiff.recipe.manifest import CAPTIONS_FOLDER, SetDescription, latents_folder, read_manifest
from mdiff.recipe.settings import BadSettingError, Settings

DEFAULT_MIX: dict[Task, float] = {
    "single_object": 0.14,
    "colours": 0.18,
    "counting": 0.20,
    "two_objects": 0.13,
    "position": 0.20,
    "colour_attribution": 0.15,
}
"""Tasks with many captions need more pictures; single objects are the largest and show most of what goes wrong at their edges."""
DEFAULT_SHARDS = 16
Progress = Callable[[int, int], None]
"""Called with the pictures drawn so far and all of them."""


class ShapesSettings(Settings):
    """All that decides the bytes of a data set."""

    generator: Literal["shapes"] = "shapes"
    version: Literal[1] = 1
    """Of the generator: the same settings give the same pictures as long as this stays."""
    world: ShapesWorld = ShapesWorld()
    images: int = Field(ge=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    resolutions: tuple[int, ...] = (16, 32)
    shards: int = Field(default=DEFAULT_SHARDS, ge=1)
    mix: dict[Task, float] = DEFAULT_MIX
    """Share of the pictures for each task."""

    @model_validator(mode="after")
    def _can_be_made(self) -> "ShapesSettings":
        if self.shards > self.images:
            raise BadSettingError("shards", self.shards, f"must be at most the number of images, {self.images}")
        if not self.resolutions or min(self.resolutions) < 8 or len(set(self.resolutions)) < len(self.resolutions):
            raise BadSettingError("resolutions", self.resolutions, "must be one or more different sides of 8 px or more")
        if abs(sum(self.mix.values()) - 1) > 1e-6 or min(self.mix.values()) < 0:
            raise BadSettingError("mix", sum(self.mix.values()), "shares must be at least 0 and sum to 1")
        return self


def generate(root: Path, settings: ShapesSettings, progress: Progress = lambda drawn, images: None) -> None:
    """Write the data set into `root`, which must hold none."""
    bounds = [settings.images * shard // settings.shards for shard in range(settings.shards + 1)]
    with ShardSetWriter(root, _descriptions(settings)) as writer:
        for start, stop in pairwise(bounds):
            writer.start_shard()
            _write_shard(writer, settings, range(start, stop))
            progress(stop, settings.images)


def holds(root: Path, settings: ShapesSettings) -> bool:
    """Is this very data set there, whole? Checksums are not compared."""
    try:
        return all(_holds_set(root / wanted.folder, wanted) for wanted in _descriptions(settings))
    except DataError:
        return False


def _holds_set(folder: Path, wanted: SetDescription) -> bool:
    manifest = read_manifest(folder)
    if manifest.model_dump(include=set(SetDescription.model_fields)) != wanted.model_dump():
        return False
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.tar")}
    return sizes == {shard.file: shard.bytes for shard in manifest.shards}


def clear(root: Path) -> None:
    """Delete the folders of a data set, and nothing else."""
    for folder in (root / CAPTIONS_FOLDER, *root.glob("latents-*")):
        if folder.is_dir():
            shutil.rmtree(folder)


def scenes(settings: ShapesSettings, indices: range) -> Iterator[tuple[Prompt, tuple[PlacedThing, ...]]]:
    """Caption and scene of each of these pictures."""
    tasks, limits = list(settings.mix), np.cumsum(list(settings.mix.values()))
    for index in indices:
        of_task, of_caption = uniforms(("shapes", settings.seed), (0, index, 0), 2)
        task = tasks[min(int(np.searchsorted(limits, of_task, side="right")), len(tasks) - 1)]
        prompts = task_prompts(settings.world, task, False)
        prompt = prompts[int(of_caption * len(prompts))]
        rng = np.random.Generator(np.random.Philox(key=settings.seed, counter=[0, 0, index, 1]))
        yield prompt, place(settings.world, prompt, rng)


def _write_shard(writer: ShardSetWriter, settings: ShapesSettings, indices: range) -> None:
    prompts, placed = zip(*scenes(settings, indices), strict=True)
    arrays = {CAPTIONS_FOLDER: WordsEncoder().encode([prompt.text for prompt in prompts])}
    for resolution in settings.resolutions:
        pixels = torch.from_numpy(draw(placed, resolution))
        arrays[latents_folder(resolution)] = PixelCodec().encode(pixels).half().numpy()
    for row, (index, prompt) in enumerate(zip(indices, prompts, strict=True)):
        sample = {folder: array[row] for folder, array in arrays.items()}
        writer.write(f"{index:09d}", sample, text=prompt.text, short_side=max(settings.resolutions), source="shapes")


def _descriptions(settings: ShapesSettings) -> list[SetDescription]:
    codec, words = PixelCodec(), WordsEncoder()
    made_from = settings.model_dump(mode="json")
    latents = [
        SetDescription(
            kind="latents",
            resolution=side,
            shape=(codec.channels, side, side),
            encoder=codec.name,
            encoder_sha256=codec.fingerprint,
            made_from=made_from,
        )
        for side in settings.resolutions
    ]
    captions = SetDescription(
        kind="captions", shape=(words.length, words.width), encoder=words.name, encoder_sha256=words.fingerprint, made_from=made_from
    )
    return [*latents, captions]
