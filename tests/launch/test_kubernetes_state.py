"""What jobs and pods are doing, in words; and what a pod's object says of its time."""

import pytest

from mdiff.launch.kubernetes.job_object import id_of, is_job_of
from mdiff.launch.kubernetes.pods import pod_facts
from mdiff.launch.kubernetes.state import job_look
from mdiff.launch.state import JobState
from tests.budget.books import make_record, make_submission

GPU = "nvidia.com/gpu"


def job(*holds: str, **metadata: object) -> dict:
    conditions = [{"type": each, "status": "True", "message": f"{each}!"} for each in holds]
    spec = {"pytorchReplicaSpecs": {"Master": {"replicas": 1}}}
    return {"metadata": {"name": "j", **metadata}, "spec": spec, "status": {"conditions": conditions}}


def pod(phase: str = "Running", state: dict | None = None, conditions: list | None = None, **metadata: object) -> dict:
    labels = {"training.kubeflow.org/replica-type": "worker", "training.kubeflow.org/replica-index": "2"}
    container = {"name": "pytorch", "image": "mdiff", "resources": {"limits": {GPU: "8"}}}
    status = {"phase": phase, "startTime": "2026-11-24T10:00:03Z"}
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-24T10:00:00Z"}
    return {
        "metadata": {"name": "j-worker-2", "uid": "u", "labels": labels, **metadata},
        "spec": {"nodeName": "" if conditions else "node1", "containers": [container]},
        "status": status
        | {"conditions": conditions or [scheduled]}
        | ({"containerStatuses": [{"name": "pytorch", "image": "mdiff", "state": state}]} if state else {}),
    }


def facts(*arguments: object, **more: object):
    return pod_facts(pod(*arguments, **more), GPU)


def test_pod_holds_its_gpus_from_its_scheduling_to_the_end_of_its_container():
    ended = {
        "terminated": {"exitCode": 143, "reason": "Error", "finishedAt": "2026-11-24T10:05:00Z", "message": "warning\nerror: no room\n"}
    }
    found = facts("Failed", ended)
    assert (found.index, found.gpus, found.held_from, found.held_to) == (3, 8, "2026-11-24T10:00:00Z", "2026-11-24T10:05:00Z")
    assert (found.exit_code, found.last_words) == (143, "no room")
    assert facts("Running").held_to == ""


def test_pod_that_has_no_machine_holds_nothing_and_says_why():
    message = "0/2 nodes are available: Insufficient nvidia.com/gpu."
    found = facts("Pending", None, [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}])
    assert (found.held_from, found.waiting) == ("", f"unschedulable: {message}")


@pytest.mark.parametrize(
    ("waiting", "words"),
    [
        (
            {"reason": "ImagePullBackOff", "message": "pull access denied"},
            "image mdiff cannot be pulled (pull access denied); name another",
        ),
        (
            {"reason": "CreateContainerConfigError", "message": 'secret "hub" not found'},
            'CreateContainerConfigError: secret "hub" not found',
        ),
        ({"reason": "ContainerCreating"}, "ContainerCreating"),
    ],
)
def test_reason_to_wait_is_told_in_words(waiting, words):
    assert facts("Pending", {"waiting": waiting}).waiting.startswith(words)


@pytest.mark.parametrize(
    ("object_", "pods", "state", "note"),
    [
        (job("Created"), [], JobState.PENDING, "its pods have not been created: a quota, perhaps"),
        (job("Created"), [facts("Pending", {"waiting": {"reason": "ErrImagePull"}})], JobState.PENDING, "j-worker-2 image mdiff cannot be"),
        (job("Created", "Running"), [facts("Running")], JobState.RUNNING, ""),
        (job("Created", "Restarting"), [facts("Running")], JobState.RUNNING, "starting again"),
        (job("Created", "Running"), [facts("Running", deletionTimestamp="now")], JobState.STOPPING, "pods are being ended"),
        (job("Created", "Running", deletionTimestamp="now"), [facts("Running")], JobState.STOPPING, "deleted"),
        (job("Created", "Suspended", labels={"kueue.x-k8s.io/queue-name": "gpus"}), [], JobState.PENDING, "waiting in queue gpus"),
        (job("Created", "Suspended"), [], JobState.SUSPENDED, "spec.runPolicy.suspend"),
        (job("Created", "Succeeded"), [], JobState.COMPLETED, ""),
        (job("Created", "Failed"), [], JobState.FAILED, "Failed!"),
        (None, [], JobState.CANCELLED, "the job has been deleted"),
        (None, [facts("Running")], JobState.STOPPING, "deleted"),
        (job("Created", "Dreaming"), [facts("Dreaming")], JobState.RUNNING, ""),
    ],
)
def test_job_is_in_one_state(object_, pods, state, note):
    found = job_look(object_, pods, None)
    assert found.state is state
    assert found.note.startswith(note)


@pytest.mark.parametrize(
    ("holds", "reason", "state"),
    [
        ("Succeeded", "budget", JobState.STOPPED), ("Succeeded", "completed", JobState.COMPLETED),
        ("Failed", "no_progress", JobState.FAILED), ("Failed", "cancelled", JobState.CANCELLED),
    ],
)  # fmt: skip
def test_reason_of_the_supervisor_says_more_than_success_and_failure(holds, reason, state):
    assert job_look(job("Created", holds), [], make_record(reason=reason)).state is state


def test_pods_that_the_operator_cannot_make_are_missed():
    wanted = job("Created", "Running") | {"spec": {"pytorchReplicaSpecs": {"Master": {"replicas": 1}, "Worker": {"replicas": 3}}}}
    assert job_look(wanted, [facts("Running")], None, ["violates PodSecurity"]) == (
        JobState.RUNNING, "1 of 4 pods are there: violates PodSecurity",
    )  # fmt: skip


def test_deleted_job_was_cancelled_unless_it_had_ended_before():
    assert job_look(None, [], make_record(reason="preempted")).state is JobState.CANCELLED
    assert job_look(None, [], make_record(reason="completed")).state is JobState.COMPLETED
    assert job_look(None, [], make_record(reason="budget")).state is JobState.STOPPED


def test_pod_that_failed_before_its_attempt_began_says_more_than_the_attempt_before():
    state = {"terminated": {"exitCode": 4, "finishedAt": "2026-11-24T10:05:00Z", "message": "error: run r is being trained already\n"}}
    master = pod("Failed", state)
    master["metadata"] |= {"uid": "bbbbbbbb-2", "labels": {"training.kubeflow.org/replica-type": "master"}}
    newest = make_record(attempt="j.000.aaaaaaaa", reason="preempted")
    found = job_look(job("Created", "Failed"), [pod_facts(master, GPU)], newest)
    assert (found.state, found.note) == (JobState.FAILED, "j-worker-2: run r is being trained already")


def test_job_by_hand_is_the_one_that_was_created_before_it_was_written_down():
    created = {"metadata": {"name": "j", "uid": "u", "creationTimestamp": "2026-11-24T10:00:00Z"}, "spec": {}}
    assert is_job_of(created, make_submission(submitted_at="2026-11-24T10:00:00Z"))
    assert is_job_of(created, make_submission(submitted_at="2026-11-24T10:00:09+00:00"))
    assert not is_job_of(created, make_submission(submitted_at="2026-11-24T09:59:59Z"))
    assert id_of(created) == "20261124T100000.000000Z-u"
