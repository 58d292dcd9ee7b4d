"""Write an encoded data set: sibling folders whose shards begin and end at the same samples."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from webdataset.writer import TarWriter

from mdiff.data.npy import npy_header
from mdiff.recipe.manifest import MANIFEST_NAME, Manifest, SetDescription, ShardEntry, write_manifest


class ShardSetWriter:
    """All folders of one data set. Manifests are written at the end, and only if nothing was raised until then.

    with ShardSetWriter(root, descriptions) as writer:
        writer.start_shard()
        writer.write("000000000", {"captions": ..., "latents-16": ...}, text="a circle", short_side=32, source="shapes")
    """

    def __init__(self, root: Path, descriptions: Sequence[SetDescription]) -> None:
        self._sets = [_SetWriter(root / description.folder, description) for description in descriptions]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for one in self._sets:
            if kind is None:
                one.finish()
            else:
                one.abandon()

    def start_shard(self) -> None:
        """Samples go to the next shard from here on."""
        for one in self._sets:
            one.start_shard()

    def write(self, key: str, arrays: Mapping[str, np.ndarray], *, text: str, short_side: int, source: str) -> None:
        """Add one sample.

        Args:
            key: unique, without dots.
            arrays: one of each folder's shape, by folder name.
            short_side: shorter side of the picture in pixels, before it was resized.
            source: where the picture comes from.
        """
        about = json.dumps({"text": text, "short_side": short_side, "source": source}).encode()
        for one in self._sets:
            one.write(key, arrays[one.description.folder], about)


class _SetWriter:
    """One folder."""

    def __init__(self, folder: Path, description: SetDescription) -> None:
        self.folder = folder
        self.description = description
        self._entries: list[ShardEntry] = []
        self._shard: _Shard | None = None
        self._npy_header = npy_header(description.shape, description.dtype)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST_NAME).unlink(missing_ok=True)

    def start_shard(self) -> None:
        self._end_shard()
        self._shard = _Shard(self.folder / f"{len(self._entries):06d}.tar")

    def write(self, key: str, array: np.ndarray, about: bytes) -> None:
        if self._shard is None:
            raise ValueError("start_shard() comes before the first sample")
        if array.shape != self.description.shape:
            raise ValueError(f"{self.folder.name} {key}: expected shape {self.description.shape}, got {array.shape}")
        little_endian = np.dtype(self.description.dtype).newbyteorder("<")
        members = {"npy": self._npy_header + array.astype(little_endian, copy=False).tobytes()}
        if self.description.kind == "captions":
            members["json"] = about
        self._shard.write(key, members)

    def abandon(self) -> None:
        if self._shard is not None:
            self._shard.close()

    def finish(self) -> None:
        self._end_shard()
        total = sum(entry.samples for entry in self._entries)
        write_manifest(self.folder, Manifest(**self.description.model_dump(), total=total, shards=tuple(self._entries)))

    def _end_shard(self) -> None:
        if self._shard is not None:
            self._shard.close()
            self._entries.append(self._shard.entry())
        self._shard = None


class _Shard:
    """One tar file that is being written. The same samples give the same bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _HashingFile(path)
        self._tar = TarWriter(self._file, encoder=False, user="mdiff", group="mdiff", mtime=0)
        self._samples = 0

    def write(self, key: str, members: dict[str, bytes]) -> None:
        self._tar.write({"__key__": key, **members})
        self._samples += 1

    def close(self) -> None:
        self._tar.close()
        self._file.close()

    def entry(self) -> ShardEntry:
        if not self._samples:
            raise ValueError(f"{self._path}: a shard without samples")
        return ShardEntry(file=self._path.name, samples=self._samples, bytes=self._file.size, sha256=self._file.sha256.hexdigest())


class _HashingFile:
    """A file that knows its checksum when it is closed, so that nothing is read again."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.size += len(data)
        return self._file.write(data)

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
