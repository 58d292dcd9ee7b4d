from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from mdiff.data.shapes.generate import ShapesSettings, generate
from mdiff.data.writer import ShardSetWriter
from mdiff.recipe.manifest import SetDescription

TinyDatasetWriter = Callable[..., Path]


@pytest.fixture(scope="session")
def shapes_settings() -> ShapesSettings:
    return ShapesSettings(images=600, shards=5, seed=3)


@pytest.fixture(scope="session")
def shapes_root(tmp_path_factory: pytest.TempPathFactory, shapes_settings: ShapesSettings) -> Path:
    """A shapes data set that tests may read, but not change."""
    root = tmp_path_factory.mktemp("shapes")
    generate(root, shapes_settings)
    return root


@pytest.fixture(scope="session")
def write_tiny() -> TinyDatasetWriter:
    """Write a data set of tiny samples; the text of a sample is its key, and its numbers are its index."""

    def write(root: Path, counts: Sequence[int], *, name: str = "k", short_sides: Sequence[int] | None = None, channels: int = 1) -> Path:
        captions = SetDescription(kind="captions", shape=(2, 4), encoder="none", encoder_sha256="0")
        latents = SetDescription(kind="latents", resolution=8, shape=(channels, 2, 2), encoder="none", encoder_sha256="0")
        index = 0
        with ShardSetWriter(root, [captions, latents]) as writer:
            for count in counts:
                writer.start_shard()
                for _ in range(count):
                    arrays = {"captions": np.full((2, 4), index + 1, np.float16), "latents-8": np.full((channels, 2, 2), index, np.float16)}
                    short_side = short_sides[index] if short_sides else 8
                    writer.write(f"{name}{index}", arrays, text=f"{name}{index}", short_side=short_side, source="test")
                    index += 1
        return root

    return write
