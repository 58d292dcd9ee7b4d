"""A small data set, a small recipe, and training runs in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mdiff.data.shapes.generate import ShapesSettings, generate
from mdiff.recipe.load import load_recipe, to_toml
from mdiff.recipe.recipe import Recipe
from mdiff.run_dir import RunDir

SMALL = (
    "model.width=32", "model.depth=3", "model.head_dim=16", "model.mixer_width=32", "model.multiple_of=16", "model.num_experts=2",
    "data.lanes=4", "training.precision=fp32", "training.log_every_steps=1", "training.checkpoint_every_steps=4", "evaluation.sampler_steps=2",
    *(f"stages[{index}].{key}={value}" for index in range(4) for key, value in {"steps": 9, "batch_size": 8, "micro_batch_size": 4}.items()),
    "stages[3].ema.start_step=3",
)  # fmt: skip


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "shapes"
    generate(root, ShapesSettings(images=200, shards=3))
    return root


@pytest.fixture(scope="session")
def small_recipe() -> Recipe:
    return load_recipe("shapes", SMALL)


class Training:
    """Starts `python -m mdiff.train` as a supervisor would."""

    def __init__(self, dataset: Path, recipe: Recipe, run_dir: RunDir) -> None:
        self.run_dir = run_dir
        self.attempt = run_dir.attempt("attempt-1")
        self.attempt.path.mkdir(parents=True, exist_ok=True)
        self._environment = os.environ | {
            "MDIFF_DATASETS": json.dumps({"shapes": str(dataset)}),
            "MDIFF_ATTEMPT": str(self.attempt.path),
            "OMP_NUM_THREADS": "1",
        }
        run_dir.recipe.write_text(to_toml(recipe))

    def start(self, stages: str = "all", processes: int = 1) -> "subprocess.Popen[str]":
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
        command = [sys.executable, *launcher, "-m", "mdiff.train", str(self.run_dir.recipe), str(self.run_dir.path), "--stage", stages]
        return subprocess.Popen(
            command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def finish(self, stages: str = "all", processes: int = 1, expect: int = 0) -> str:
        process = self.start(stages, processes)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == expect, output
        return output

    def kill_when(self, is_time: Callable[[], bool], stages: str = "all", processes: int = 1) -> bool:
        """SIGKILL the job at the moment when `is_time`; False if it ended before."""
        process = self.start(stages, processes)
        while process.poll() is None and not is_time():
            time.sleep(0.002)
        was_running = process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()  # ends when the last process that holds the pipe is gone
        return was_running

    def losses(self) -> dict[tuple[int, int], float]:
        """(stage, step) -> loss; of repeated rows the last one."""
        rows = (json.loads(line) for line in self.run_dir.metrics.read_text().splitlines())
        return {(row["stage"], row["step"]): row["loss"] for row in rows}

    def weights_sha256(self, stage: int, step: int) -> str:
        manifest = json.loads((self.run_dir.checkpoint(stage, step) / "manifest.json").read_text())
        return manifest["files"]["model.safetensors"]["sha256"]


@pytest.fixture
def training(dataset: Path, small_recipe: Recipe, tmp_path: Path) -> Callable[..., Training]:
    def make(name: str = "run", recipe: Recipe = small_recipe) -> Training:
        (tmp_path / name).mkdir()
        return Training(dataset, recipe, RunDir(tmp_path / name))

    return make


@pytest.fixture(scope="session")
def uninterrupted(dataset: Path, small_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """All four stages in one go."""
    run = Training(dataset, small_recipe, RunDir(tmp_path_factory.mktemp("uninterrupted")))
    run.finish()
    return run
