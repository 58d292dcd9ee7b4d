"""Read single samples out of the tar shards of a data set, in any order."""

import io
import json
import math
import os
import tarfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdiff.data.npy import npy_header
from mdiff.errors import DataError
from mdiff.recipe.manifest import DatasetManifests, Manifest, ShardEntry, read_dataset


class Sample(NamedTuple):
    """One picture with its caption, as stored."""

    stored_latents: np.ndarray
    caption_latents: np.ndarray
    text: str


class About(NamedTuple):
    """What stands beside a caption."""

    text: str
    short_side: int
    """Of the picture in pixels, before it was resized."""


class ShardStore:
    """The captions and the latents at one resolution of one data set."""

    def __init__(self, root: Path, resolution: int, max_open: int) -> None:
        """At most `max_open` shards are open at a time, each with its two files.

        Raises:
            DataError: the data set is not finished, contradicts itself, or a shard is missing.
        """
        self._manifests: DatasetManifests = read_dataset(root, resolution)
        self._folders = [root / manifest.folder for manifest in self._manifests]
        self._max_open = max_open
        self._open: OrderedDict[int, tuple[_Shard, _Shard]] = OrderedDict()
        for folder, manifest in zip(self._folders, self._manifests, strict=True):
            _require_files(folder, manifest)

    @property
    def counts(self) -> tuple[int, ...]:
        """Samples of each shard."""
        return self._manifests.captions.counts

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of one sample: of the stored latents, and of the caption latents."""
        return self._manifests.latents.shape, self._manifests.captions.shape

    def read(self, shard: int, index: int, min_short_side: int = 0) -> Sample | None:
        """One sample; None if its picture was smaller than `min_short_side` pixels.

        Raises:
            DataError: a file or a member of it is missing or damaged.
        """
        captions, latents = self._shard(shard)
        about = captions.about(index)
        if about.short_side < min_short_side:
            return None
        return Sample(latents.array(index), captions.array(index), about.text)

    def close(self) -> None:
        for shards in self._open.values():
            for shard in shards:
                shard.close()
        self._open.clear()

    def _shard(self, number: int) -> tuple["_Shard", "_Shard"]:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        if len(self._open) >= self._max_open:
            for shard in self._open.popitem(last=False)[1]:
                shard.close()
        self._open[number] = self._open_shard(number)
        return self._open[number]

    def _open_shard(self, number: int) -> tuple["_Shard", "_Shard"]:
        captions = _Shard(self._folders[0], self._manifests.captions, number)
        try:
            latents = _Shard(self._folders[1], self._manifests.latents, number)
        except DataError:
            captions.close()
            raise
        for of_captions, of_latents in zip(captions.keys, latents.keys, strict=True):
            if of_captions != of_latents:
                captions.close()
                latents.close()
                raise DataError(f"{latents.path}: has key {of_latents} where {captions.path} has {of_captions}")
        return captions, latents


def _require_files(folder: Path, manifest: Manifest) -> None:
    found = {entry.name for entry in os.scandir(folder)}
    for shard in manifest.shards:
        if shard.file not in found:
            raise DataError(f"{folder / shard.file}: missing, but the manifest names it")


class _Shard:
    """One open tar file and the places of its members."""

    def __init__(self, folder: Path, manifest: Manifest, number: int) -> None:
        entry = manifest.shards[number]
        self.path = folder / entry.file
        self._shape = manifest.shape
        self._dtype = np.dtype(manifest.dtype).newbyteorder("<")
        self._header = npy_header(manifest.shape, manifest.dtype)
        self._npy_size = len(self._header) + math.prod(manifest.shape) * self._dtype.itemsize
        self._file = _open(self.path, entry)
        try:
            members = list(_members(self.path, self._file))
            self.keys = [key for key, suffix, _ in members if suffix == "npy"]
            self._arrays = [place for _, suffix, place in members if suffix == "npy"]
            self._about = [place for _, suffix, place in members if suffix == "json"]
            self._check(entry, captions=manifest.kind == "captions")
        except DataError:
            self.close()
            raise

    def array(self, index: int) -> np.ndarray:
        """The numbers of one sample, read-only."""
        data = self._read(*self._arrays[index])
        # All files of a folder have the same header: parsing it each time would take longer than reading.
        if data.startswith(self._header) and len(data) == self._npy_size:
            return np.frombuffer(data, self._dtype, offset=len(self._header)).reshape(self._shape)
        return self._parse(data, self.keys[index])

    def about(self, index: int) -> About:
        try:
            about = json.loads(self._read(*self._about[index]))
            return About(str(about["text"]), int(about["short_side"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.path}: {self.keys[index]}.json: damaged: {error!r}") from error

    def close(self) -> None:
        self._file.close()

    def _check(self, entry: ShardEntry, captions: bool) -> None:
        if len(self.keys) != entry.samples:
            raise DataError(f"{self.path}: holds {len(self.keys)} samples, but the manifest says {entry.samples}")
        if captions and len(self._about) != entry.samples:
            raise DataError(f"{self.path}: {len(self.keys)} captions, but {len(self._about)} .json members")

    def _parse(self, data: bytes, key: str) -> np.ndarray:
        """An .npy file that another program wrote."""
        try:
            array = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise DataError(f"{self.path}: {key}.npy: damaged: {error}") from error
        if array.shape != self._shape or array.dtype != self._dtype:
            raise DataError(f"{self.path}: {key}.npy: is {array.dtype} {array.shape}, but the manifest says {self._dtype} {self._shape}")
        return array

    def _read(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self._file.fileno(), size, offset)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read: {error.strerror}") from error


def _open(path: Path, entry: ShardEntry) -> io.FileIO:
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error.strerror}") from error
    size = os.fstat(file.fileno()).st_size
    if size != entry.bytes:
        file.close()
        raise DataError(f"{path}: damaged: {size:,} bytes, but the manifest says {entry.bytes:,}")
    return file


def _members(path: Path, file: io.FileIO) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """Key, suffix and (offset, size) of every file in the tar, in order."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                key, _, suffix = member.name.rpartition(".")
                yield key, suffix, (member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{path}: damaged: not a tar file: {error}") from error
