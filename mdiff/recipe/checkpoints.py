"""Which checkpoints a run has, and what each one says of itself. Needs no torch; the tensors are the compute half's affair."""

import hashlib
from pathlib import Path

from pydantic import Field, ValidationError

from mdiff.errors import CheckpointError
from mdiff.recipe.settings import Settings
from mdiff.run_dir import RunDir

MANIFEST_NAME = "manifest.json"


class CheckpointFile(Settings):
    bytes: int
    sha256: str


class CheckpointManifest(Settings):
    """All of a checkpoint but its tensors."""

    format_version: int = 1
    stage: int = Field(ge=1)
    step: int = Field(ge=1)
    """Optimizer steps of the stage that are done."""
    stage_images: int
    images_seen: int
    """The run's clock."""
    recipe_fingerprint: str
    reader_state: dict[str, dict[str, list[int]]]
    """Positions of all lanes in all data sets."""
    files: dict[str, CheckpointFile] = {}


def list_checkpoints(run_dir: RunDir) -> list[Path]:
    """From the oldest to the newest, by stage and step."""
    if not run_dir.checkpoints.is_dir():
        return []
    return sorted((path for path in run_dir.checkpoints.iterdir() if path.name.startswith("stage-")), key=checkpoint_place)


def checkpoint_place(folder: Path) -> tuple[int, int]:
    """
    >>> checkpoint_place(Path("stage-1-step-065000"))
    (1, 65000)
    """
    _, stage, _, step = folder.name.split("-")
    return int(stage), int(step)


def read_checkpoint_manifest(folder: Path) -> CheckpointManifest:
    """
    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        return CheckpointManifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
    except (OSError, ValidationError) as error:
        raise CheckpointError(_damaged(folder / MANIFEST_NAME)) from error


def verified_file(folder: Path, name: str, manifest: CheckpointManifest) -> Path:
    """Path of one of the checkpoint's files, after a look at its checksum.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    path = folder / name
    if not path.is_file() or sha256_of(path) != manifest.files[name].sha256:
        raise CheckpointError(_damaged(path))
    return path


def _damaged(path: Path) -> str:
    return f"{path} is missing or damaged; delete {path.parent} to go on from the checkpoint before"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
