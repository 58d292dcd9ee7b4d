"""Submissions on this machine whose jobs are small scripts, with a data set of which only the manifests are there."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from mdiff.budget.ledger import read_ledger
from mdiff.launch.local import supervisor_command
from mdiff.launch.submit import Order, Plan, plan_submission
from mdiff.launch.submit import submit as submit_plan
from mdiff.recipe.job import Submission
from mdiff.recipe.load import load_recipe
from mdiff.recipe.manifest import Manifest, ShardEntry, write_manifest
from tests.attempt.conftest import PRELUDE, command_of, wait_until

RECIPE = load_recipe("shapes")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with nothing: no site file, no runs, no GPUs."""
    for name in ("MDIFF_RUNS", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    no_gpus = tmp_path / "bin" / "nvidia-smi"
    no_gpus.parent.mkdir()
    no_gpus.write_text("#!/bin/sh\nexit 9\n")
    no_gpus.chmod(0o755)
    monkeypatch.setenv("PATH", f"{no_gpus.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def site_file(home: Path) -> Callable[[str], Path]:
    """Write the user's own site file."""

    def write(text: str) -> Path:
        path = home / ".config" / "mdiff" / "site.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def dataset(home: Path) -> Path:
    """What `submit` looks at: the manifests of a data set for the recipe `shapes`."""
    root, model = home / "data" / "shapes", RECIPE.model
    shard = (ShardEntry(file="000000.tar", samples=300, bytes=1000, sha256="0"),)
    common = {"encoder": "words", "encoder_sha256": "0", "total": 300, "shards": shard}
    write_manifest(root / "captions", Manifest(kind="captions", shape=(model.caption_length, model.caption_width), **common))
    for side in (16, 32):
        write_manifest(root / f"latents-{side}", Manifest(kind="latents", resolution=side, shape=(3, side, side), **common))
    return root


def order(stages: str = "1", **more: object) -> Order:
    return Order(**({"stages": stages, "recipe": "shapes", "backend": "local"} | more))


@pytest.fixture
def start(dataset: Path, home: Path) -> Iterator[Callable[..., tuple[Plan, Submission]]]:
    """Submit stages whose job is this script: start("1", "outcome('completed')")."""
    started = []

    def make(stages: str, script: str, **more: object) -> tuple[Plan, Submission]:
        path = home / f"job{len(started)}.py"
        path.write_text(f"here = {str(home)!r}\n{PRELUDE}\n{script}")
        plan = plan_submission(order(stages, **more))
        job = plan.job.model_copy(update={"argv": (sys.executable, str(path)), "grace_seconds": 5.0})
        plan = replace(plan, submission=plan.submission.model_copy(update={"job": job}))
        started.append((plan, submit_plan(plan)))
        return started[-1]

    yield make
    for plan, submission in started:
        command = " ".join(supervisor_command(plan.run_dir, submission))
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and command in command_of(process):
                with suppress(ProcessLookupError):
                    os.kill(int(process.name), signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(int(submission.scheduler_job), 0)


def wait_for_end(plan: Plan, submission: Submission) -> None:
    wait_until(lambda: read_ledger(plan.run_dir).records_of(submission.id)[-1].reason)


def make_checkpoint(plan_or_dir: object, stage: int, step: int) -> None:
    run_dir = getattr(plan_or_dir, "run_dir", plan_or_dir)
    run_dir.checkpoint(stage, step).mkdir(parents=True)
