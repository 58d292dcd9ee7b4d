"""Real supervisors over small scripts as jobs."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from mdiff.budget.record import AttemptRecord
from mdiff.recipe.job import JobSpec, Submission
from mdiff.recipe.load import load_recipe, to_toml
from mdiff.recipe.price import Price
from mdiff.recipe.site import Hardware
from mdiff.run_dir import AttemptDir, RunDir, replace_file
from mdiff.units import utc_now, utc_stamp

PRELUDE = """
import json, os, pathlib, signal, subprocess, sys, time
attempt = pathlib.Path(os.environ["MDIFF_ATTEMPT"])

def put(name, **fields):
    (attempt / ".new").write_text(json.dumps(fields))
    (attempt / ".new").rename(attempt / name)

def progress(images=0, activity="training", stage=1, **more):
    put("progress.json", stage=stage, step=images // 10, steps=100, stage_images=images, images_seen=images, activity=activity,
        updated_at="2026-11-24T00:00:00+00:00", **more)

def outcome(reason, **more):
    put("outcome.json", reason=reason, **more)

def asked_to_stop():
    return (attempt / "stop.json").exists()
"""


@dataclass
class Job:
    """A submitted script, and the supervisors that were started for it."""

    run_dir: RunDir
    submission: Submission
    supervisors: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, heartbeat_seconds: float = 0.3) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "mdiff.attempt", str(self.run_dir.path), self.submission.id]
        rhythm = ["--poll-seconds", "0.05", "--heartbeat-seconds", str(heartbeat_seconds)]
        supervisor = subprocess.Popen(
            [*command, *rhythm], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.supervisors.append(supervisor)
        return supervisor

    def run(self) -> int:
        supervisor = self.start()
        supervisor.communicate(timeout=30)
        return supervisor.returncode

    @property
    def attempt(self) -> AttemptDir:
        return self.run_dir.attempt_dirs()[-1]

    @property
    def record(self) -> AttemptRecord:
        return AttemptRecord.model_validate_json(self.attempt.record.read_text())

    @property
    def log(self) -> str:
        return self.attempt.log.read_text()

    def wait_for(self, name: str) -> Path:
        """A file that the script leaves beside the run directory."""
        path = self.run_dir.path.parent / name
        wait_until(path.exists)
        return path

    def processes(self) -> list[str]:
        """Commands, running, that name this test's folder."""
        commands = (command_of(path) for path in Path("/proc").iterdir() if path.name.isdigit())
        return [command for command in commands if str(self.run_dir.path.parent) in command and "mdiff.attempt /" not in command]


def command_of(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def wait_until(condition: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


@pytest.fixture
def submit(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Write a script down as a job: submit("...", grace_seconds=1)."""
    jobs = []

    def make(script: str, *, counts: bool = True, reservation: str = "0.01", **fields: object) -> Job:
        path = tmp_path / f"job{len(jobs)}.py"
        path.write_text(f"here = {str(tmp_path)!r}\n{PRELUDE}\n{script}")
        spec = {
            "kind": "train", "run": "shapes", "run_dir": str(tmp_path / "run"), "argv": (sys.executable, str(path)), "backend": "local",
            "hardware": Hardware(device="cpu", devices_per_node=2), "limit_usd": Decimal("1"),
            "price": Price(usd_per_gpu_hour=Decimal("0.6"), source="no bill", basis="example"),
        }  # fmt: skip
        now = utc_now()
        submission = Submission(
            id=f"{utc_stamp(now)}-{len(jobs):04x}", submitted_at=now.isoformat(), job=JobSpec(**(spec | fields)), counts=counts,
            recipe_toml=to_toml(load_recipe("shapes")), reservation_usd=Decimal(reservation),
        )  # fmt: skip
        run_dir = RunDir(tmp_path / "run")
        replace_file(run_dir.submission(submission.id), submission.model_dump_json())
        jobs.append(Job(run_dir, submission))
        return jobs[-1]

    yield make
    for job in jobs:
        for supervisor in job.supervisors:
            supervisor.kill()
            supervisor.communicate()
    wait_until(lambda: not any(job.processes() for job in jobs))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False)
    if mount.returncode or os.geteuid():
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
