"""Writing and loading checkpoints: safetensors files and a manifest with checksums, published by a rename.

A folder `stage-1-step-065000` is a checkpoint if and only if it is there: it is built under another name. Its tensors
are whole, so that any number of processes can load it.
"""

import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from mdiff.errors import CheckpointError
from mdiff.recipe.checkpoints import (
    MANIFEST_NAME,
    CheckpointFile,
    CheckpointManifest,
    checkpoint_place,
    list_checkpoints,
    read_checkpoint_manifest,
    sha256_of,
    verified_file,
)
from mdiff.run_dir import RunDir, replace_file, sync_folder

TensorFiles = dict[str, dict[str, torch.Tensor]]
"""File stem -> named tensors: model, optimizer, ema."""


class CheckpointWriter:
    """Writes one checkpoint at a time on a thread of its own, from copies of the tensors."""

    def __init__(self, run_dir: RunDir, keep: int, last_steps: dict[int, int]) -> None:
        self._run_dir = run_dir
        self._keep = keep
        self._last_steps = last_steps
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def write(self, manifest: CheckpointManifest, tensors: TensorFiles) -> Path:
        """Begin to write; waits for the checkpoint before, and raises what went wrong with it."""
        self.wait()
        folder = self._run_dir.checkpoint(manifest.stage, manifest.step)
        copies = {stem: {name: cpu_copy(tensor) for name, tensor in named.items()} for stem, named in tensors.items()}
        self._pending = self._thread.submit(self._write, folder, manifest, copies)
        return folder

    def wait(self) -> None:
        """
        Raises:
            CheckpointError: the checkpoint could not be written, for instance because the disk is full.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        self._thread.shutdown(wait=True)

    def _write(self, folder: Path, manifest: CheckpointManifest, tensors: TensorFiles) -> None:
        try:
            write_checkpoint(folder, manifest, tensors)
            prune(self._run_dir, self._keep, self._last_steps)
        except OSError as error:
            raise CheckpointError(f"cannot write {folder}: {error.strerror or error}; free space there and submit again") from error


def write_checkpoint(folder: Path, manifest: CheckpointManifest, tensors: TensorFiles) -> None:
    """Publish a checkpoint, whole or not at all. A checkpoint of the same place is left as it is."""
    if folder.exists():
        return
    building = folder.with_name(f".building-{folder.name}")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    files = {}
    for stem, named in tensors.items():
        path = building / f"{stem}.safetensors"
        save_file(named, path)
        _flush(path)
        files[path.name] = CheckpointFile(bytes=path.stat().st_size, sha256=sha256_of(path))
    replace_file(building / MANIFEST_NAME, manifest.model_copy(update={"files": files}).model_dump_json(indent=1))
    building.rename(folder)
    sync_folder(folder.parent)


def cpu_copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def load_checkpoint(folder: Path) -> tuple[CheckpointManifest, TensorFiles]:
    """
    Raises:
        CheckpointError: a file is missing or its checksum differs.
    """
    manifest = read_checkpoint_manifest(folder)
    return manifest, {Path(name).stem: load_file(verified_file(folder, name, manifest)) for name in manifest.files}


def prune(run_dir: RunDir, keep: int, last_steps: dict[int, int]) -> None:
    """Delete all but the `keep` newest checkpoints and the last one of each stage; `last_steps`: stage -> its steps."""
    for path in list_checkpoints(run_dir)[:-keep]:
        stage, step = checkpoint_place(path)
        if last_steps.get(stage) != step:
            # Renamed first, so that a half-deleted folder is never taken for a checkpoint.
            doomed = path.with_name(f".deleting-{path.name}")
            path.rename(doomed)
            shutil.rmtree(doomed)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
