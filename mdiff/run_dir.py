"""The run directory: the only place that knows the names of the files in it, and how files there are replaced."""

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLAIN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""What comes from outside and becomes a name of a file."""


@dataclass(frozen=True)
class AttemptDir:
    """Files of one attempt: one start of a job."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def record(self) -> Path:
        """Ledger record; written by the supervisor on node 0 alone."""
        return self.path / "record.json"

    @property
    def stop(self) -> Path:
        """Stop request; created exclusively, so that the first reason wins."""
        return self.path / "stop.json"

    @property
    def progress(self) -> Path:
        """Written by global rank 0 of the job alone."""
        return self.path / "progress.json"

    @property
    def outcome(self) -> Path:
        """Written by global rank 0 at its end: reason, last checkpoint."""
        return self.path / "outcome.json"

    @property
    def requeue(self) -> Path:
        """Left by the supervisor on node 0 when the scheduler shall start the job again."""
        return self.path / "requeue"

    @property
    def log(self) -> Path:
        """Of node 0."""
        return self.path / "log.txt"

    def log_of(self, node: int) -> Path:
        return self.log if node == 0 else self.path / f"log-{node}.txt"

    def logs(self) -> list[Path]:
        """Of all nodes, node 0 first."""
        return [path for path in (self.log, *sorted(self.path.glob("log-*.txt"))) if path.is_file()]

    @property
    def roll_call(self) -> Path:
        """Made by node 0 when its job has failed: the supervisors of all other nodes end theirs, and report."""
        return self.path / "roll-call"

    def node_report(self, node: int) -> Path:
        """Written by the supervisor of a node other than node 0."""
        return self.path / f"node-{node}.json"

    def node_joined(self, node: int) -> Path:
        """Kubernetes: holds the uid of the pod that is this node of the attempt; created exclusively."""
        return self.path / f"joined-{node}"

    def node_lost(self, node: int) -> Path:
        """Kubernetes: left by the pod that came in place of one that had joined."""
        return self.path / f"lost-{node}"

    @property
    def members(self) -> Path:
        """Elastic jobs: numbers of the nodes with which node 0 begins; created exclusively, once it waits for no others."""
        return self.path / "nodes.json"


@dataclass(frozen=True)
class RunDir:
    """`<runs root>/<run>/`."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def recipe(self) -> Path:
        """Resolved recipe of the first submission."""
        return self.path / "recipe.toml"

    @property
    def submissions(self) -> Path:
        return self.path / "submissions"

    @property
    def attempts(self) -> Path:
        return self.path / "attempts"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def metrics(self) -> Path:
        """One row a logged step; after a kill rows repeat, and the last of a (stage, step) counts."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    def attempt(self, name: str) -> AttemptDir:
        return AttemptDir(self.attempts / name)

    def attempt_dirs(self) -> list[AttemptDir]:
        """In order of their names, which begin with what orders them."""
        if not self.attempts.is_dir():
            return []
        return [AttemptDir(path) for path in sorted(self.attempts.iterdir()) if path.is_dir()]

    @property
    def sync(self) -> Path:
        """What the scheduler says of the run's jobs; one file a reading."""
        return self.path / "sync"

    def scheduler_files(self, submission_id: str) -> Path:
        """What is handed to the scheduler, and its own logs."""
        return self.submissions / f"{submission_id}-scheduler"

    def submission(self, submission_id: str) -> Path:
        return self.submissions / f"{submission_id}.json"

    def checkpoint(self, stage: int, step: int) -> Path:
        return self.checkpoints / f"stage-{stage}-step-{step:06d}"

    @property
    def final_grid(self) -> Path:
        return self.samples / "final.png"

    @property
    def evaluation(self) -> Path:
        """Scores of the newest evaluation."""
        return self.path / "evaluation.json"

    def sample_grid(self, stage: int, step: int) -> Path:
        return self.samples / f"stage-{stage}-step-{step:06d}.png"


def replace_file(path: Path, content: str | bytes) -> None:
    """Give `path` this content, whole or not at all, also when the machine dies meanwhile."""
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    sync_folder(path.parent)


def create_file(path: Path, content: str) -> bool:
    """Create `path` with this content; False, and nothing done, if it is there already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A link is exclusive on NFS too, and the file is whole at the moment when it appears.
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        Path(temporary).unlink()
    return True


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` outlive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file that is replaced as a whole; None while there is none."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
