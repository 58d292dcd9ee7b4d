"""The engine that the other tests of this folder stand on: it must behave as a cluster does."""

import doctest
import json
import os
import re
import subprocess
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest
from kubernetes import client

from tests.kubernetes import build, log_file, pod_spec
from tests.kubernetes.conftest import Jobs, shell
from tests.kubernetes.control_plane import NAMESPACE, ControlPlane
from tests.kubernetes.kubelet import Kubelet
from tests.waiting import wait_until

SUM_OF_RANKS = """
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
total = torch.tensor([dist.get_rank() + 1])
dist.all_reduce(total)
print(f"rank {dist.get_rank()}: {total.item()}")
dist.destroy_process_group()
"""


def message_of(error: client.ApiException) -> str:
    return json.loads(error.body)["message"]


def exit_codes(jobs: Jobs, name: str) -> dict[str, int]:
    states = {pod: found.status.container_statuses[0].state.terminated for pod, found in jobs.pods(name).items()}
    return {pod: state.exit_code for pod, state in states.items() if state}


def seconds_of(pod: client.V1Pod) -> float:
    state = pod.status.container_statuses[0].state.terminated
    return (state.finished_at - state.started_at) / timedelta(seconds=1)


@pytest.mark.parametrize("module", [log_file, pod_spec], ids=lambda module: module.__name__)
def test_examples_in_docstrings_are_true(module: ModuleType):
    assert doctest.testmod(module).failed == 0


def test_server_is_of_the_version_that_was_built(admin: client.ApiClient):
    answer = subprocess.run([build.program(build.APISERVER), "--version"], capture_output=True, text=True, check=True)
    built = answer.stdout.split()[-1]
    assert client.VersionApi(admin).get_code().git_version == built
    # Who brings a server of their own may bring another version.
    assert built == build.APISERVER.version or "KUBEBUILDER_ASSETS" in os.environ


def test_job_with_a_container_of_another_name_is_refused_in_the_webhooks_own_words(jobs: Jobs):
    with pytest.raises(client.ApiException) as refusal:
        jobs.create("misnamed", shell("true", container="train"))
    assert "validator.pytorchjob.training-operator.kubeflow.org" in message_of(refusal.value)
    assert "must have at least one container with name pytorch" in message_of(refusal.value)


def test_user_without_the_right_is_refused(control_plane: ControlPlane, jobs: Jobs):
    with control_plane.client("limited") as api, pytest.raises(client.ApiException) as refusal:
        Jobs(api).create("forbidden", shell("true"))
    assert refusal.value.status == 403
    assert 'User "limited" cannot create resource "pytorchjobs"' in message_of(refusal.value)


def test_operator_creates_master_and_workers_with_their_place_in_the_job(jobs: Jobs):
    jobs.create("placed", shell("true"), shell("true", replicas=2))
    wait_until(lambda: len(jobs.pods("placed")) == 3, 30, "no three pods")
    for rank, name in enumerate(("placed-master-0", "placed-worker-0", "placed-worker-1")):
        variables = {each.name: each.value for each in jobs.pods("placed")[name].spec.containers[0].env}
        wanted = {"PET_MASTER_ADDR": "placed-master-0", "PET_NNODES": "3", "PET_NPROC_PER_NODE": "1", "PET_NODE_RANK": str(rank)}
        assert wanted.items() <= variables.items()


def test_two_pods_reach_each_other_by_name_and_the_job_succeeds(jobs: Jobs, kubelet: Kubelet):
    serve = "import os, socket; s = socket.create_server(('', int(os.environ['PET_MASTER_PORT']))); print(s.accept()[0].recv(99).decode())"
    call = (
        "import os, socket, time\n"
        "address = os.environ['PET_MASTER_ADDR'], int(os.environ['PET_MASTER_PORT'])\n"
        "for _ in range(100):\n"
        "    try: s = socket.create_connection(address); break\n"
        "    except ConnectionRefusedError: time.sleep(0.1)\n"
        "s.send(f'greetings from {socket.gethostname()}'.encode())\n"
    )
    jobs.create("talk", shell(f'python -c "{serve}"'), shell(f'python -c "{call}"'))
    jobs.wait_for("talk", "Succeeded")
    assert jobs.core.read_namespaced_pod_log("talk-master-0", NAMESPACE) == "greetings from talk-worker-0\n"
    assert kubelet.logs("talk-master-0") == "greetings from talk-worker-0\n"


def test_exit_code_1_fails_the_job_at_once(jobs: Jobs, kubelet: Kubelet):
    jobs.create("broken", shell("echo started; exit 1"))
    jobs.wait_for("broken", "Failed")
    assert exit_codes(jobs, "broken") == {"broken-master-0": 1}
    assert kubelet.logs("broken-master-0") == "started\n"


def test_exit_code_143_is_tried_again(jobs: Jobs, kubelet: Kubelet):
    create_claim(jobs, "memory")
    volume = {"name": "kept", "persistentVolumeClaim": {"claimName": "memory"}}
    replica = shell(
        "echo run >> /kept/runs; [ $(wc -l < /kept/runs) = 2 ] || exit 143", volumeMounts=[{"name": "kept", "mountPath": "/kept"}]
    )
    replica["template"]["spec"]["volumes"] = [volume]
    jobs.create("preempted", replica)
    jobs.wait_for("preempted", "Succeeded")
    assert (kubelet.claim("memory") / "runs").read_text() == "run\nrun\n"
    assert jobs.core.read_namespaced_persistent_volume_claim("memory", NAMESPACE).status.phase == "Bound"


def test_container_is_restarted_in_its_pod_on_failure(jobs: Jobs, kubelet: Kubelet):
    replica = shell(
        "echo run >> /kept/runs; [ $(wc -l < /kept/runs) = 2 ]", restart="OnFailure", volumeMounts=[{"name": "kept", "mountPath": "/kept"}]
    )
    replica["template"]["spec"]["volumes"] = [{"name": "kept", "emptyDir": {}}]
    jobs.create("restarted", replica)
    jobs.wait_for("restarted", "Succeeded")
    (pod,) = jobs.pods("restarted").values()
    assert pod.status.container_statuses[0].restart_count == 1


def test_memory_volume_has_its_size_and_other_files_are_private(jobs: Jobs, kubelet: Kubelet, tmp_path: Path):
    memory = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}
    command = f"df --output=size -m /dev/shm | tail -1; echo mine > {tmp_path}/file; cat {tmp_path}/file"
    replica = shell(command, volumeMounts=[{"name": "shm", "mountPath": "/dev/shm"}])
    replica["template"]["spec"]["volumes"] = [memory]
    jobs.create("private", replica)
    jobs.wait_for("private", "Succeeded")
    assert kubelet.logs("private-master-0").split() == ["64", "mine"]
    assert not list(tmp_path.iterdir())


def test_torchrun_in_two_pods_makes_one_group(jobs: Jobs, kubelet: Kubelet, tmp_path: Path):
    pytest.importorskip("torch")
    (tmp_path / "sum.py").write_text(SUM_OF_RANKS)
    replica = shell(f"python -m torch.distributed.run {tmp_path}/sum.py")
    jobs.create("group", replica, replica)
    jobs.wait_for("group", "Succeeded", 180)
    for rank, pod in enumerate(("group-master-0", "group-worker-0")):
        # A job has succeeded when its master has.
        wait_until(lambda rank=rank, pod=pod: f"rank {rank}: 3" in kubelet.logs(pod), 30, f"{pod} does not know the sum")


def test_killed_pod_is_made_anew(jobs: Jobs, kubelet: Kubelet):
    jobs.create("killed", shell("echo run; sleep 60"))
    wait_until(lambda: kubelet.logs("killed-master-0") == "run\n", 30, "pod does not start")
    (first,) = jobs.pods("killed").values()
    kubelet.kill("killed-master-0")
    wait_until(lambda: [pod.metadata.uid for pod in jobs.pods("killed").values()] not in ([], [first.metadata.uid]), 30, "no new pod")
    jobs.wait_for_pods("killed", 1, "Running")
    wait_until(lambda: kubelet.logs("killed-master-0") == "run\nrun\n", 10, "the second run does not start")


def test_deletion_runs_the_hook_then_sends_sigterm(jobs: Jobs, kubelet: Kubelet):
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook of $HOSTNAME > /proc/1/fd/1"]}}}
    jobs.create(
        "polite", shell("trap 'echo stopped; exit 0' TERM; echo ready; while :; do sleep 0.1; done", lifecycle=hook, grace_seconds=30)
    )
    wait_until(lambda: kubelet.logs("polite-master-0") == "ready\n", 30, "pod does not start")
    jobs.delete("polite")
    wait_until(lambda: not jobs.pods("polite"), 15, "the pod is not deleted with its job")
    assert kubelet.logs("polite-master-0") == "ready\nhook of polite-master-0\nstopped\n"


def test_pod_that_ignores_sigterm_is_killed_after_its_grace_time(jobs: Jobs, kubelet: Kubelet):
    jobs.create("stubborn", shell("trap 'echo no' TERM; echo ready; while :; do sleep 0.1; done", restart="Never", grace_seconds=3))
    wait_until(lambda: kubelet.logs("stubborn-master-0") == "ready\n", 30, "pod does not start")
    kubelet.evict("stubborn-master-0")
    jobs.wait_for("stubborn", "Failed")
    (pod,) = jobs.pods("stubborn").values()
    assert pod.status.reason == "Evicted"
    assert exit_codes(jobs, "stubborn") == {"stubborn-master-0": 137}
    assert seconds_of(pod) >= 2, "times of pods have no fractions"
    assert kubelet.logs("stubborn-master-0") == "ready\nno\n"


def test_pod_past_its_deadline_is_ended(jobs: Jobs, kubelet: Kubelet):
    replica = shell("trap 'exit 143' TERM; while :; do sleep 0.1; done", restart="Never")
    replica["template"]["spec"]["activeDeadlineSeconds"] = 2
    jobs.create("late", replica)
    jobs.wait_for("late", "Failed")
    (pod,) = jobs.pods("late").values()
    assert (pod.status.reason, exit_codes(jobs, "late")) == ("DeadlineExceeded", {"late-master-0": 143})


def test_environment_comes_from_labels_secrets_and_config_maps(jobs: Jobs, kubelet: Kubelet):
    jobs.core.create_namespaced_secret(NAMESPACE, {"metadata": {"name": "keys"}, "stringData": {"token": "s3cret"}})
    jobs.core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "place"}, "data": {"REGION": "north"}})
    variables = [
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
        {"name": "INDEX", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['training.kubeflow.org/replica-index']"}}},
        {"name": "BOTH", "value": "$(TOKEN)-$(INDEX)"},
    ]
    jobs.create("informed", shell("echo $TOKEN $INDEX $BOTH $REGION", env=variables, envFrom=[{"configMapRef": {"name": "place"}}]))
    jobs.wait_for("informed", "Succeeded")
    assert kubelet.logs("informed-master-0") == "s3cret 0 s3cret-0 north\n"


def test_pod_that_asks_for_too_much_waits_and_says_why(jobs: Jobs, kubelet: Kubelet):
    jobs.create("greedy", shell("true", resources={"limits": {"nvidia.com/gpu": 9}}))
    wait_until(lambda: waiting_message(jobs, "greedy"), 30, "no condition")
    assert waiting_message(jobs, "greedy") == "0/2 nodes are available: Insufficient nvidia.com/gpu."


def test_pod_of_an_absent_image_waits_and_says_why(jobs: Jobs, kubelet: Kubelet):
    kubelet.absent_images.add("absent")
    jobs.create("imageless", shell("true", image="absent"))
    wait_until(lambda: waiting_reason(jobs, "imageless") == "ImagePullBackOff", 30, "no reason")


def test_pod_waits_for_a_secret_and_goes_on_when_it_is_there(jobs: Jobs, kubelet: Kubelet):
    jobs.create("keyless", shell("echo $KEY", envFrom=[{"secretRef": {"name": "late"}}]))
    wait_until(lambda: waiting_reason(jobs, "keyless") == "CreateContainerConfigError", 30, "no reason")
    jobs.core.create_namespaced_secret(NAMESPACE, {"metadata": {"name": "late"}, "stringData": {"KEY": "found"}})
    jobs.wait_for("keyless", "Succeeded")
    assert kubelet.logs("keyless-master-0") == "found\n"


def test_pod_waits_for_its_claim(jobs: Jobs, kubelet: Kubelet):
    replica = shell("true", volumeMounts=[{"name": "kept", "mountPath": "/kept"}])
    replica["template"]["spec"]["volumes"] = [{"name": "kept", "persistentVolumeClaim": {"claimName": "unclaimed"}}]
    jobs.create("homeless", replica)
    wait_until(lambda: "unclaimed" in waiting_message(jobs, "homeless"), 30, "no condition")
    create_claim(jobs, "unclaimed")
    jobs.wait_for("homeless", "Succeeded")


def test_followed_log_ends_with_its_pod(jobs: Jobs, kubelet: Kubelet):
    jobs.create("chatty", shell("for i in 1 2 3; do echo $i; sleep 0.5; done"))
    jobs.wait_for_pods("chatty", 1, "Running")
    answer = jobs.core.read_namespaced_pod_log("chatty-master-0", NAMESPACE, follow=True, _preload_content=False)
    assert b"".join(answer.stream()) == b"1\n2\n3\n"
    answer.release_conn()
    last = jobs.core.read_namespaced_pod_log("chatty-master-0", NAMESPACE, tail_lines=1, timestamps=True)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z 3\n", last)


def test_objects_outlive_a_crash_of_the_server(control_plane: ControlPlane, jobs: Jobs, kubelet: Kubelet):
    jobs.create("survivor", shell("sleep 3; echo done"))
    jobs.wait_for_pods("survivor", 1, "Running")
    control_plane.restart_apiserver()
    jobs.wait_for("survivor", "Succeeded")
    assert kubelet.logs("survivor-master-0") == "done\n"


def test_lost_node_says_nothing_until_its_pods_are_deleted_by_force(jobs: Jobs, kubelet: Kubelet):
    jobs.create("orphan", shell("echo run; sleep 60"))
    jobs.wait_for_pods("orphan", 1, "Running")
    (pod,) = jobs.pods("orphan").values()
    kubelet.lose_node(pod.spec.node_name)
    try:
        assert jobs.pods("orphan")["orphan-master-0"].status.phase == "Running"
        jobs.core.delete_namespaced_pod("orphan-master-0", NAMESPACE, grace_period_seconds=0)
        wait_until(lambda: [each.spec.node_name for each in jobs.pods("orphan").values()] == ["node2"], 30, "not on the other node")
    finally:
        kubelet.revive_node(pod.spec.node_name)


def test_full_quota_is_refused_in_the_servers_words(jobs: Jobs):
    hard = {"count/pytorchjobs.kubeflow.org": "0"}
    jobs.core.create_namespaced_resource_quota(NAMESPACE, {"metadata": {"name": "none"}, "spec": {"hard": hard}})
    try:
        wait_until(lambda: jobs.core.read_namespaced_resource_quota("none", NAMESPACE).status.used, 60, "quota is not counted")
        with pytest.raises(client.ApiException) as refusal:
            jobs.create("refused", shell("true"))
        assert "exceeded quota: none" in message_of(refusal.value)
    finally:
        jobs.core.delete_namespaced_resource_quota("none", NAMESPACE)


def create_claim(jobs: Jobs, name: str) -> None:
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    jobs.core.create_namespaced_persistent_volume_claim(NAMESPACE, {"metadata": {"name": name}, "spec": spec})


def waiting_message(jobs: Jobs, name: str) -> str:
    conditions = [each for pod in jobs.pods(name).values() for each in pod.status.conditions or []]
    return next((each.message for each in conditions if each.reason == "Unschedulable"), "")


def waiting_reason(jobs: Jobs, name: str) -> str:
    states = [each.state.waiting for pod in jobs.pods(name).values() for each in pod.status.container_statuses or []]
    return next((state.reason for state in states if state), "")
