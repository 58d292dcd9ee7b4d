"""What stands in the folders of an encoded data set, and whether it fits a recipe. Needs neither torch nor numpy.

<data set>/captions/000000.tar ...      manifest.json      caption latents, texts
<data set>/latents-16/000000.tar ...    manifest.json      latents of the same pictures at 16 px, same keys in the same order
"""

import hashlib
from pathlib import Path
from typing import Final, Literal, NamedTuple

from pydantic import Field, JsonValue, ValidationError, model_validator

from mdiff.errors import DataError
from mdiff.recipe.recipe import Recipe
from mdiff.recipe.settings import BadSettingError, Settings
from mdiff.recipe.stage import Stage
from mdiff.run_dir import replace_file

SCHEMA_VERSION: Final = 1
MANIFEST_NAME = "manifest.json"
CAPTIONS_FOLDER = "captions"


def latents_folder(resolution: int) -> str:
    """Name of the folder with the latents of pictures of `resolution` x `resolution` pixels."""
    return f"latents-{resolution}"


class SetDescription(Settings):
    """What one folder of a data set holds, as far as it is known before the first sample."""

    kind: Literal["captions", "latents"]
    resolution: int | None = None
    """Side of the pictures in pixels; captions have none."""
    dtype: Literal["float16", "float32"] = "float16"
    shape: tuple[int, ...]
    """Of one sample: (L, C) of caption latents, (C, H, W) of latents."""
    encoder: str
    """Name of the text encoder, or of the latent codec."""
    encoder_sha256: str
    made_from: dict[str, JsonValue] = Field(default_factory=dict)
    """What the data set was made from, and with which settings."""

    @model_validator(mode="after")
    def _latents_have_a_resolution(self) -> "SetDescription":
        if (self.resolution is None) != (self.kind == "captions"):
            raise BadSettingError("resolution", self.resolution, "latents must have one, captions none")
        return self

    @property
    def folder(self) -> str:
        return CAPTIONS_FOLDER if self.resolution is None else latents_folder(self.resolution)


class ShardEntry(Settings):
    """One tar file."""

    file: str
    samples: int = Field(ge=1)
    bytes: int = Field(ge=1)
    sha256: str


class Manifest(SetDescription):
    """`manifest.json`: written last, so a folder without it is not finished."""

    schema_version: Literal[1] = SCHEMA_VERSION
    total: int = Field(ge=0)
    """Samples in all shards."""
    shards: tuple[ShardEntry, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Samples of each shard."""
        return tuple(shard.samples for shard in self.shards)


class DatasetManifests(NamedTuple):
    """The two folders that a stage reads."""

    captions: Manifest
    latents: Manifest


class DatasetCounts(NamedTuple):
    """How much a stage finds in a data set."""

    samples: int
    shards: int
    bytes: int


class DatasetNeeds(NamedTuple):
    """What a stage asks of its data sets."""

    latent_shape: tuple[int, int, int]
    caption_shape: tuple[int, int]


def dataset_needs(recipe: Recipe, stage: Stage) -> DatasetNeeds:
    side = recipe.latent_size(stage)
    return DatasetNeeds((recipe.model.channels, side, side), (recipe.model.caption_length, recipe.model.caption_width))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of one folder.

    Raises:
        DataError: the folder is missing, not finished, or its manifest is damaged.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder{_hint(folder)}")
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise DataError(f"{folder}: not finished: it has no {MANIFEST_NAME}, which is written last; make the data set again")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if manifest.total != sum(manifest.counts):
        raise DataError(f"{path}: total = {manifest.total}, but its shards hold {sum(manifest.counts)} samples")
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Whole or not at all."""
    replace_file(folder / MANIFEST_NAME, manifest.model_dump_json(indent=1) + "\n")


def read_dataset(root: Path, resolution: int) -> DatasetManifests:
    """The manifests of the captions and of the latents at `resolution`, which must name the same samples.

    Raises:
        DataError: a folder is missing or not finished, or the two disagree.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such data set")
    captions = read_manifest(root / CAPTIONS_FOLDER)
    latents = read_manifest(root / latents_folder(resolution))
    for index, (of_captions, of_latents) in enumerate(zip(captions.counts, latents.counts, strict=False)):
        if of_captions != of_latents:
            raise DataError(f"{root}: shard {index} has {of_captions} captions, but {of_latents} latents at {resolution} px")
    if len(captions.shards) != len(latents.shards):
        raise DataError(f"{root}: {len(captions.shards)} shards of captions, but {len(latents.shards)} of latents at {resolution} px")
    return DatasetManifests(captions, latents)


def check_dataset(root: Path, resolution: int, needs: DatasetNeeds | None = None) -> DatasetCounts:
    """Count what a stage at `resolution` pixels will read, and refuse what it could not read.

    Raises:
        DataError: the data set is missing, not finished, contradicts itself, or does not have the shapes of `needs`.
    """
    captions, latents = read_dataset(root, resolution)
    if needs is not None:
        _check_shape(root, latents, "(channels, height, width)", needs.latent_shape, "model.channels and the stage's resolution")
        _check_shape(root, captions, "(length, width)", needs.caption_shape, "model.caption_length and model.caption_width")
    size = sum(shard.bytes for shard in (*captions.shards, *latents.shards))
    return DatasetCounts(captions.total, len(captions.shards), size)


def verify_dataset(root: Path) -> int:
    """Read every byte of every folder and compare checksums; the number of files that were read.

    Raises:
        DataError: names the first file that is missing or differs.
    """
    folders = sorted(path for path in root.glob("*") if path.name == CAPTIONS_FOLDER or path.name.startswith("latents-"))
    if not folders:
        raise DataError(f"{root}: no data set here: neither {CAPTIONS_FOLDER}/ nor latents-*/")
    return sum(_verify_folder(folder) for folder in folders)


def _verify_folder(folder: Path) -> int:
    manifest = read_manifest(folder)
    for shard in manifest.shards:
        _verify_shard(folder / shard.file, shard)
    return len(manifest.shards)


def _verify_shard(path: Path, shard: ShardEntry) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if found != shard.sha256:
        raise DataError(f"{path}: damaged: sha256 {found[:12]}..., the manifest says {shard.sha256[:12]}...")


def _check_shape(root: Path, found: SetDescription, axes: str, needed: tuple[int, ...], keys: str) -> None:
    if found.shape != needed:
        raise DataError(f"{root / found.folder}: samples are {axes} = {found.shape}, but the recipe asks for {needed} ({keys})")


def _hint(folder: Path) -> str:
    others = sorted(path.parent.name for path in folder.parent.glob(f"*/{MANIFEST_NAME}"))
    return f"; there are: {', '.join(others)}" if others else ""
