"""`kubectl apply -f deploy/pytorchjob.yaml`, to the letter, in a namespace that has nothing yet; and the other files of deploy/."""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import yaml
from kubernetes import client

from mdiff.launch.kubernetes.pod import DEFAULT_IMAGE
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.kubelet import Kubelet
from tests.kubernetes.user import ROOT, User
from tests.waiting import wait_until

JOB = "microdit-xl-stage-1"
NUMBERS = count(1)


@pytest.fixture
def team(control_plane: ControlPlane, admin: client.ApiClient, kubelet: Kubelet, tmp_path: Path) -> Iterator[User]:
    core, namespace = client.CoreV1Api(admin), f"applied-{next(NUMBERS)}"
    core.create_namespace({"metadata": {"name": namespace}})
    config = tmp_path / "kubeconfig"
    config.write_text(control_plane.kubeconfig.read_text().replace("namespace: default", f"namespace: {namespace}"))
    yield User(tmp_path, config)
    kubelet.absent_images.discard(DEFAULT_IMAGE)
    # Its claims stay: there is no controller that would free them. So each test has a namespace of its own.
    client.CustomObjectsApi(admin).delete_collection_namespaced_custom_object("kubeflow.org", "v1", namespace, "pytorchjobs")
    core.delete_collection_namespaced_pod(namespace, grace_period_seconds=0)
    wait_until(lambda: not core.list_namespaced_pod(namespace).items, 60, "pods do not end")


def read(user: User, what: str) -> dict:
    return json.loads(user.kubectl("get", *what.split(), "-o", "json").stdout)


def test_one_kubectl_apply_makes_a_job_whose_pod_has_its_place_and_waits_for_an_image(team: User, kubelet: Kubelet):
    kubelet.absent_images.add(DEFAULT_IMAGE)
    said = team.kubectl("apply", "-f", "deploy/pytorchjob.yaml").stdout
    assert said.splitlines() == [
        "persistentvolumeclaim/mdiff-runs created", "persistentvolumeclaim/mdiff-data created", "serviceaccount/mdiff created",
        f"pytorchjob.kubeflow.org/{JOB} created",
    ]  # fmt: skip
    assert "unchanged" in team.kubectl("apply", "-f", "deploy/pytorchjob.yaml").stdout.splitlines()[-1]
    wait_until(lambda: "ImagePullBackOff" in team.kubectl("get", "pods").stdout, 30, "the pod does not wait for its image")
    pod = read(team, f"pod {JOB}-master-0")
    [container] = pod["spec"]["containers"]
    given = {each["name"]: each.get("value") for each in container["env"]}
    wanted = {"PET_NNODES": "1", "PET_NPROC_PER_NODE": "8", "PET_MASTER_ADDR": f"{JOB}-master-0", "PET_NODE_RANK": "0", "WORLD_SIZE": "8"}
    assert wanted.items() <= given.items()
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    assert pod["spec"]["restartPolicy"] == "Never"
    site = team.site('name = "team"\nbackend = "kubernetes"\n')
    status = json.loads(team.mdiff("status", "--site", str(site), "--json").stdout)
    assert (status["job"], status["state"]) == (JOB, "PENDING")
    assert f"image {DEFAULT_IMAGE} cannot be pulled" in status["detail"]


def test_applied_job_without_data_says_what_is_missing(team: User):
    team.kubectl("apply", "-f", "deploy/pytorchjob.yaml")
    wait_until(lambda: "Failed" in team.kubectl("get", "pytorchjob", f"{JOB}").stdout, 240, "the job does not end")
    assert "sa1b" in team.kubectl("logs", f"{JOB}-master-0").stdout
    state = read(team, f"pod {JOB}-master-0")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert state["exitCode"] == 5


def test_data_job_fills_the_volume_that_jobs_read_and_may_run_again(team: User, kubelet: Kubelet):
    claims = [each for each in yaml.safe_load_all((ROOT / "deploy/pytorchjob.yaml").read_text()) if each["kind"] == "PersistentVolumeClaim"]
    team.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(claims))
    small = (ROOT / "deploy/fill-data.yaml").read_text().replace("20000", "200")
    for _ in range(2):
        team.kubectl("apply", "-f", "-", stdin=small)
        wait_until(lambda: read(team, "job mdiff-fill-data")["status"].get("succeeded"), 90, "the job does not end")
        team.kubectl("delete", "job", "mdiff-fill-data")
    namespace = read(team, "pvc mdiff-data")["metadata"]["namespace"]
    assert (kubelet.claim("mdiff-data", namespace) / "shapes/captions/manifest.json").is_file()


@pytest.mark.parametrize("path", ["deploy/rbac.yaml", "deploy/fill-data.yaml"])
def test_file_is_what_the_server_takes_in_any_namespace(team: User, path: str):
    assert all("namespace" not in document["metadata"] for document in yaml.safe_load_all((ROOT / path).read_text()))
    assert "created (server dry run)" in team.kubectl("apply", "--dry-run=server", "-f", f"{path}").stdout


def test_kustomization_replaces_the_image_of_the_job(team: User):
    documents = list(yaml.safe_load_all(team.kubectl("kustomize", "deploy").stdout))
    [job] = [document for document in documents if document["kind"] == "PyTorchJob"]
    [container] = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"]
    assert container["image"] != DEFAULT_IMAGE
    assert "@sha256:" in container["image"]
