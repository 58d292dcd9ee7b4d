"""A user on a real two-node cluster. Only the site file and the recipe differ from production."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mdiff.data.shapes.generate import ShapesSettings, generate
from mdiff.run_dir import RunDir
from tests.run_results import losses_of, weights_of
from tests.slurm.cluster import Cluster, missing
from tests.small_recipes import MODEL
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
FIRST_NETWORK = int(os.environ.get("MDIFF_TEST_NETWORK", "31"))
"""Two test runs on one machine at the same time need networks of their own."""
MDIFF = [sys.executable, "-c", "from mdiff_cli.main import main; main()"]
SITE = """
name = "test"
backend = "slurm"
grace_seconds = 20.0

[hardware]
device = "H100"
nodes = 2
devices_per_node = 1

[price]
usd_per_gpu_hour = 2.99
source = "contract"
read_on = "2026-11-20"

[environment]
OMP_NUM_THREADS = "1"
"""
LONG_STEPS = 400
LONG = (
    *MODEL, "training.checkpoint_every_steps=50",
    f"stages[0].steps={LONG_STEPS}", "stages[0].batch_size=64", "stages[0].micro_batch_size=4",
)  # fmt: skip
"""About 75 s of training on two nodes: long enough for SLURM's own time limit."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = missing()
    for item in items:
        if "tests/slurm/" not in str(item.path).replace(os.sep, "/"):
            continue
        item.add_marker(pytest.mark.slurm)
        if reason and not os.environ.get("CI"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    yield from _started(Cluster(tmp_path_factory.mktemp("slurm"), number=FIRST_NETWORK))


@pytest.fixture(scope="session")
def cluster_without_accounting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """It sends no notice at a preemption either, as many clusters."""
    root = tmp_path_factory.mktemp("slurm")
    yield from _started(Cluster(root, accounting=False, notice_at_preemption=False, grace_seconds=20, number=FIRST_NETWORK + 1))


def _started(cluster: Cluster) -> Iterator[Cluster]:
    assert not missing(), missing()
    # The database server runs under a user of its own, and must get through pytest's private folders.
    for folder in (cluster.root, *cluster.root.parents):
        if folder != Path("/") and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "shapes"
    generate(root, ShapesSettings(images=400, shards=4))
    return root


@dataclass
class User:
    """Types commands on the login node, in a home folder of its own."""

    home: Path
    cluster: Cluster

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "MDIFF", "XDG"))}
        return kept | self.cluster.environment | {"HOME": str(self.home)}

    def site(self, text: str) -> None:
        path = self.home / ".config/mdiff/site.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def mdiff(self, *words: str, expect: int = 0) -> "subprocess.CompletedProcess[str]":
        result = subprocess.run([*MDIFF, *words], cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=120)
        assert result.returncode == expect, f"mdiff {' '.join(words)}: {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    def submit(self, stages: str, settings: tuple[str, ...], *words: str, run: str = "shapes") -> "Job":
        sets = [word for setting in settings for word in ("--set", setting)]
        common = ("--stage", stages, "--recipe", "shapes", "--backend", "slurm", "--run", run, "--json")
        answer = json.loads(self.mdiff("submit", *common, *sets, *words).stdout)
        return Job(self, answer["job"], RunDir(Path(answer["run_dir"])))


@dataclass
class Job:
    user: User
    number: str
    run_dir: RunDir

    @property
    def status(self) -> dict:
        return json.loads(self.user.mdiff("status", "--run", self.run_dir.name, "--json").stdout)

    @property
    def shown(self) -> dict[str, str]:
        """What the controller says of the job."""
        words = self.user.cluster.command("scontrol", "--oneliner", "show", "job", self.number).split()
        return dict(word.partition("=")[::2] for word in words)

    @property
    def records(self) -> list[dict]:
        found = [json.loads(attempt.record.read_text()) for attempt in self.run_dir.attempt_dirs() if attempt.record.exists()]
        return [record for record in found if record["scheduler_job"] == self.number]

    @property
    def reasons(self) -> list[str | None]:
        return [record["reason"] for record in self.records]

    def losses(self) -> dict[tuple[int, int], float]:
        return losses_of(self.run_dir)

    def weights(self) -> dict[str, str]:
        return weights_of(self.run_dir)

    def wait_for_step(self, step: int, seconds: float = 120) -> None:
        self.wait(lambda: max((place[1] for place in self.losses()), default=0) >= step, seconds, f"no step {step}")

    def wait_for_end(self, seconds: float = 240) -> dict[str, str]:
        """What the controller says then."""
        ends = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY")
        self.wait(lambda: self.shown.get("JobState", "") in ends, seconds, "job does not end")
        return self.shown

    def wait(self, condition: Callable[[], object], seconds: float, complaint: str) -> None:
        try:
            wait_until(condition, seconds, complaint)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.shown}\n{self.everything()}") from None

    def everything(self) -> str:
        """All logs of the job, for a failed test."""
        files = [*self.run_dir.attempts.glob("*/log*.txt"), *self.run_dir.submissions.glob("*-scheduler/*.out")]
        return "\n".join(f"=== {path}\n{path.read_text(errors='replace')[-3000:]}" for path in files)


@pytest.fixture
def user(cluster: Cluster, dataset: Path, tmp_path: Path) -> Iterator[User]:
    yield from _user(cluster, dataset, tmp_path)


@pytest.fixture
def user_without_accounting(cluster_without_accounting: Cluster, dataset: Path, tmp_path: Path) -> Iterator[User]:
    yield from _user(cluster_without_accounting, dataset, tmp_path)


def _user(cluster: Cluster, dataset: Path, home: Path) -> Iterator[User]:
    user = User(home, cluster)
    user.site(SITE)
    (home / "data").mkdir()
    (home / "data/shapes").symlink_to(dataset)
    yield user
    cluster.command("scancel", "-u", "root")
    wait_until(lambda: not cluster.command("squeue", "-h"), 60, "jobs do not end")
    deadline = time.monotonic() + 30
    while cluster.idle_nodes() < 2 and time.monotonic() < deadline:
        time.sleep(0.2)


@pytest.fixture(scope="session")
def uninterrupted(cluster: Cluster, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The long stage in one go: what every interrupted run must equal, bit for bit."""
    users = _user(cluster, dataset, tmp_path_factory.mktemp("uninterrupted"))
    job = next(users).submit("1", LONG)
    assert job.wait_for_end()["JobState"] == "COMPLETED", job.everything()
    assert job.reasons == ["completed"]
    next(users, None)
    return job


def assert_same_run(job: Job, reference: Job) -> None:
    assert job.losses() == reference.losses()
    assert job.weights() == reference.weights()


def accounts_of(cluster: Cluster, number: str) -> list[tuple[int, int]]:
    """(seconds, GPUs) of each start of a job, as `sacct` prints them."""
    rows = cluster.command("sacct", "-D", "-X", "-n", "-P", "-o", "ElapsedRaw,AllocTRES", "-j", number).split()
    cells = [row.partition("|") for row in rows]
    return [(int(seconds), int(re.search(r"gres/gpu=(\d+)", tres)[1])) for seconds, _, tres in cells]
