"""A user who trains on the cluster, and what the tests ask about the jobs. Only site file and recipe differ from production."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import pytest
from kubernetes import client

from mdiff.run_dir import RunDir
from tests.kubernetes.kubelet import Kubelet
from tests.kubernetes.user import User
from tests.run_results import losses_of, weights_of
from tests.small_recipes import MODEL
from tests.waiting import wait_until

SITE = """
name = "test"
backend = "kubernetes"
grace_seconds = 20.0

[hardware]
device = "H100"
nodes = 2
devices_per_node = 1

[price]
usd_per_gpu_hour = 2.99
source = "contract"
read_on = "2026-11-20"

[container]
image = "local"

[kubernetes]
context = "member"
runs_claim = "{claim}"
shared_memory = "1Gi"

[environment]
OMP_NUM_THREADS = "1"
CUDA_VISIBLE_DEVICES = ""
"""
LONG_STEPS = 120
LONG = (
    *MODEL, "training.checkpoint_every_steps=20",
    f"stages[0].steps={LONG_STEPS}", "stages[0].batch_size=64", "stages[0].micro_batch_size=4",
)  # fmt: skip
"""About 20 s of training on two pods."""


@dataclass(frozen=True)
class Trainer(User):
    """A user with a volume of their own for runs."""

    api: client.ApiClient
    kubelet: Kubelet
    claim: str
    run: str

    def submit(self, stages: str, settings: tuple[str, ...], *words: str) -> "Job":
        answer = json.loads(self.mdiff(*self.order(stages, settings), "--json", *words).stdout)
        return Job(self, answer["job"])

    def order(self, stages: str, settings: tuple[str, ...]) -> list[str]:
        sets = [word for setting in settings for word in ("--set", setting)]
        return ["submit", "--stage", stages, "--recipe", "shapes", "--backend", "kubernetes", "--run", self.run, *sets]


@dataclass(frozen=True)
class Job:
    """`run_dir` is what its pods see; `here` is what the user has of it."""

    user: Trainer
    name: str

    @property
    def run(self) -> str:
        return self.user.run

    @property
    def run_dir(self) -> RunDir:
        return RunDir(self.user.kubelet.claim(self.user.claim) / self.run)

    @property
    def here(self) -> RunDir:
        return RunDir(self.user.home / "runs" / self.run)

    @property
    def status(self) -> dict:
        return json.loads(self.user.mdiff("status", "--run", self.run, "--json").stdout)

    def synced(self) -> dict:
        return json.loads(self.user.mdiff("budget", "sync", "--run", self.run, "--json").stdout)

    @property
    def records(self) -> list[dict]:
        found = [json.loads(attempt.record.read_text()) for attempt in self.run_dir.attempt_dirs() if attempt.record.exists()]
        return [record for record in found if record["scheduler_job"] == self.name]

    @property
    def reasons(self) -> list[str | None]:
        return [record["reason"] for record in self.records]

    @property
    def conditions(self) -> dict[str, str]:
        found = self.user.kubectl("get", "pytorchjob", self.name, "-o", "json", check=False)
        listed = json.loads(found.stdout).get("status", {}).get("conditions", []) if found.returncode == 0 else []
        return {each["type"]: each["message"] for each in listed if each["status"] == "True"}

    def losses(self) -> dict[tuple[int, int], float]:
        return losses_of(self.run_dir)

    def weights(self) -> dict[str, str]:
        return weights_of(self.run_dir)

    def wait_for_step(self, step: int, seconds: float = 90) -> None:
        self.wait(lambda: max((place[1] for place in self.losses()), default=0) >= step, seconds, f"no step {step}")

    def wait_for_end(self, seconds: float = 150) -> dict[str, str]:
        self.wait(lambda: {"Succeeded", "Failed"} & set(self.conditions), seconds, "job does not end")
        return self.conditions

    def wait(self, condition: Callable[[], object], seconds: float, complaint: str) -> None:
        try:
            wait_until(condition, seconds, complaint)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.conditions}\n{self.everything()}") from None

    def everything(self) -> str:
        """The logs of all pods that ever were, for a failed test."""
        pods = [f"{self.name}-master-0", f"{self.name}-worker-0"]
        return "\n".join(f"=== {pod}\n{self.user.kubelet.logs(pod)[-4000:]}" for pod in pods)


def assert_same_run(job: Job, uninterrupted: Job) -> None:
    assert job.losses() == uninterrupted.losses(), job.everything()
    assert job.weights() == uninterrupted.weights()


SLACK_SECONDS = 6.0
"""A pod: whole seconds of the API, and the time between two looks at a pod that is deleted meanwhile."""


def assert_billed(job: Job) -> None:
    """What the user's machine bills is what the pods held, by the clock of their node: nothing forgotten, and nothing twice."""
    held = [seconds for pod in ("master-0", "worker-0") for seconds in job.user.kubelet.held_seconds(f"{job.name}-{pod}")]
    billed = 3600 * sum(row["billed_gpu_hours"] for row in job.synced()["attempts"])
    assert billed == pytest.approx(sum(held), abs=SLACK_SECONDS * len(held)), f"{held}\n{job.synced()}"


def make_claim(api: client.ApiClient, name: str) -> None:
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    client.CoreV1Api(api).create_namespaced_persistent_volume_claim("default", {"metadata": {"name": name}, "spec": spec})


def pod_seconds(job: Job) -> dict[str, float]:
    """Pod -> how long it was there, by the API itself."""
    found = json.loads(job.user.kubectl("get", "pods", "-o", "json", "-l", f"training.kubeflow.org/job-name={job.name}").stdout)["items"]
    return {pod["metadata"]["name"]: _seconds(pod) for pod in found}


def _seconds(pod: dict) -> float:
    ended = [state["finishedAt"] for each in pod["status"]["containerStatuses"] if (state := each["state"].get("terminated"))]
    begin = datetime.fromisoformat(pod["status"]["startTime"])
    return (datetime.fromisoformat(ended[0]) - begin).total_seconds() if ended else 0.0
