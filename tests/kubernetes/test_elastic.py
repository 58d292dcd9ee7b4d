"""A job of two nodes that may have one alone, on a cluster where the second one comes late or goes early."""

import json
from collections.abc import Iterator
from datetime import datetime

import pytest

from mdiff.attempt.gather import GATHER_SECONDS
from mdiff.attempt.peers import ANSWER_SECONDS
from tests.kubernetes.conftest import Jobs
from tests.kubernetes.kubelet import Kubelet
from tests.kubernetes.training import LONG, LONG_STEPS, SITE, Job, Trainer

ELASTIC = SITE.replace("[kubernetes]", "[kubernetes]\nleast_nodes = 1\nrejoin_after_seconds = 5.0")


@pytest.fixture
def small_cluster(kubelet: Kubelet, jobs: Jobs) -> Iterator[Kubelet]:
    """Each of its two nodes has a GPU for one pod."""
    gpus = kubelet.gpus
    kubelet.gpus = 1
    try:
        yield kubelet
    finally:
        kubelet.gpus = gpus
        kubelet.revive_node("node2")


def test_job_begins_with_the_node_that_is_there_and_goes_on_with_both_when_the_other_comes(
    uninterrupted: Job, user: Trainer, small_cluster: Kubelet
):
    small_cluster.lose_node("node2")
    user.site(ELASTIC.format(claim=user.claim))
    job = user.submit("1", LONG)
    job.wait_for_step(5, GATHER_SECONDS + 90)
    assert phases(job) == {"master-0": "Running", "worker-0": "Pending"}
    small_cluster.revive_node("node2")
    assert "Succeeded" in job.wait_for_end(240), job.everything()
    assert job.reasons == ["preempted", "completed"], job.everything()
    assert "asked by node 1, which would join" in job.records[0]["detail"]
    assert_billed_by_nodes(job, [1, 2])
    assert [step for step, _ in logged(job)] == list(range(1, LONG_STEPS + 1)), "what was saved is not done again"
    assert_same_losses(job, uninterrupted)


def test_job_that_loses_a_node_for_good_goes_on_with_the_other(uninterrupted: Job, user: Trainer, small_cluster: Kubelet):
    user.site(ELASTIC.format(claim=user.claim))
    job = user.submit("1", LONG)
    job.wait_for_step(50)
    small_cluster.lose_node("node2")
    assert "Succeeded" in job.wait_for_end(ANSWER_SECONDS + GATHER_SECONDS + 150), job.everything()
    assert job.reasons == ["peer_lost", "completed"], job.everything()
    assert_billed_by_nodes(job, [2, 1])
    assert_same_losses(job, uninterrupted)


def phases(job: Job) -> dict[str, str]:
    pods = json.loads(job.user.kubectl("get", "pods", "-o", "json", "-l", f"training.kubeflow.org/job-name={job.name}").stdout)["items"]
    return {pod["metadata"]["name"].removeprefix(f"{job.name}-"): pod["status"]["phase"] for pod in pods}


def assert_billed_by_nodes(job: Job, nodes: list[int]) -> None:
    """The metered device time of an attempt is its wall time, once for each node that took part."""
    assert [record["hardware"]["nodes"] for record in job.records] == nodes
    for record, count in zip(job.records, nodes, strict=True):
        metered = sum(part["device_seconds"] for part in record["slices"])
        assert metered == pytest.approx(count * seconds_between(record["started_at"], record["heartbeat_at"]), rel=0.05)


def seconds_between(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def logged(job: Job) -> list[tuple[int, float]]:
    """(step, loss) of every row, repeated ones too."""
    rows = (json.loads(line) for line in job.run_dir.metrics.read_text().splitlines())
    return [(row["step"], row["loss"]) for row in rows]


def assert_same_losses(job: Job, uninterrupted: Job) -> None:
    """The number of processes changes no more than the order of sums: also of steps that were done twice."""
    expected = {step: loss for (_, step), loss in uninterrupted.losses().items()}
    assert job.losses().keys() == uninterrupted.losses().keys()
    assert all(loss == pytest.approx(expected[step], rel=1e-4) for step, loss in logged(job))
