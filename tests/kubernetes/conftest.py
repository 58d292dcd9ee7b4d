"""A real control plane and two nodes on this machine. Only the pods are pretended: local processes in place of containers."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import yaml
from kubernetes import client, utils

from mdiff.data.shapes.generate import ShapesSettings, generate
from tests.kubernetes.control_plane import NAMESPACE, ControlPlane, missing
from tests.kubernetes.kubelet import Kubelet
from tests.kubernetes.training import LONG, SITE, Job, Trainer, make_claim
from tests.waiting import wait_until

FIRST_NUMBER = int(os.environ.get("MDIFF_TEST_NETWORK", "31"))
"""Two test runs on one machine at the same time need ports and networks of their own."""
GROUP = ("kubeflow.org", "v1", NAMESPACE, "pytorchjobs")
END_SECONDS = 60
RBAC = Path(__file__).parent.parent.parent / "deploy/rbac.yaml"
NUMBERS = count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = missing()
    for item in items:
        if "tests/kubernetes/" not in str(item.path).replace(os.sep, "/"):
            continue
        item.add_marker(pytest.mark.kubernetes)
        # Tests take the API server away on purpose, and its connections with it.
        item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))
        # The first run compiles Kubernetes.
        item.add_marker(pytest.mark.timeout(3600))
        if reason and not os.environ.get("CI"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    assert not missing(), missing()
    control_plane = ControlPlane(tmp_path_factory.mktemp("kubernetes"), number=FIRST_NUMBER)
    try:
        control_plane.start()
        yield control_plane
    finally:
        control_plane.stop()


@pytest.fixture(scope="session")
def admin(control_plane: ControlPlane) -> Iterator[client.ApiClient]:
    with control_plane.client() as api:
        yield api


@pytest.fixture(scope="session")
def kubelet(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubelet]:
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    kubelet = Kubelet(control_plane, tmp_path_factory.mktemp("kubelet"), image_environment={"PATH": path, "HOME": "/root"})
    kubelet.start()
    try:
        yield kubelet
    finally:
        kubelet.stop()


@pytest.fixture(scope="session")
def dataset(admin: client.ApiClient, kubelet: Kubelet) -> Path:
    """The data set on the volume of all data sets."""
    make_claim(admin, "mdiff-data")
    folder = kubelet.claim("mdiff-data") / "shapes"
    generate(folder, ShapesSettings(images=400, shards=4))
    return folder


@pytest.fixture(scope="session")
def member(admin: client.ApiClient) -> None:
    """The rights of deploy/rbac.yaml, and no others, for the user of that name."""
    for document in yaml.safe_load_all(RBAC.read_text()):
        document["metadata"]["namespace"] = NAMESPACE
        if document["kind"] == "RoleBinding":
            document["subjects"] = [{"kind": "User", "name": "member", "apiGroup": "rbac.authorization.k8s.io"}]
        utils.create_from_dict(admin, document)


@pytest.fixture
def user(
    control_plane: ControlPlane, admin: client.ApiClient, kubelet: Kubelet, dataset: Path, member: None, jobs: "Jobs", tmp_path: Path
) -> Trainer:
    return make_trainer(control_plane, admin, kubelet, tmp_path)


@pytest.fixture(scope="session")
def uninterrupted(
    control_plane: ControlPlane,
    admin: client.ApiClient,
    kubelet: Kubelet,
    dataset: Path,
    member: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Job:
    job = make_trainer(control_plane, admin, kubelet, tmp_path_factory.mktemp("home")).submit("1", LONG)
    assert "Succeeded" in job.wait_for_end(), job.everything()
    return job


def make_trainer(control_plane: ControlPlane, admin: client.ApiClient, kubelet: Kubelet, home: Path) -> Trainer:
    number = next(NUMBERS)
    user = Trainer(home, control_plane.kubeconfig, admin, kubelet, claim=f"runs-{number}", run=f"shapes-{number}")
    make_claim(admin, user.claim)
    user.site(SITE.format(claim=user.claim))
    return user


@dataclass(frozen=True)
class Jobs:
    """PyTorchJobs of shell commands, as an administrator creates and watches them."""

    api: client.ApiClient

    @property
    def core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.api)

    @property
    def custom(self) -> client.CustomObjectsApi:
        return client.CustomObjectsApi(self.api)

    def create(self, name: str, master: dict, worker: dict | None = None) -> None:
        replicas = {"Master": master} | ({"Worker": worker} if worker else {})
        job = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": {"name": name}}
        self.custom.create_namespaced_custom_object(*GROUP, job | {"spec": {"nprocPerNode": "1", "pytorchReplicaSpecs": replicas}})

    def conditions(self, name: str) -> dict[str, str]:
        """Type -> message of those that hold."""
        status = self.custom.get_namespaced_custom_object(*GROUP, name).get("status", {})
        return {each["type"]: each["message"] for each in status.get("conditions", []) if each["status"] == "True"}

    def pods(self, job: str) -> dict[str, client.V1Pod]:
        found = self.core.list_namespaced_pod(NAMESPACE, label_selector=f"training.kubeflow.org/job-name={job}").items
        return {pod.metadata.name: pod for pod in found}

    def wait_for(self, name: str, condition: str, seconds: float = END_SECONDS) -> None:
        wait_until(lambda: condition in self.conditions(name), seconds, f"{name} is not {condition}")

    def wait_for_pods(self, name: str, count: int, phase: str, seconds: float = END_SECONDS) -> None:
        wait_until(
            lambda: [pod.status.phase for pod in self.pods(name).values()] == [phase] * count,
            seconds,
            f"{name} has no {count} pods {phase}",
        )

    def delete(self, name: str) -> None:
        self.custom.delete_namespaced_custom_object(*GROUP, name)


@pytest.fixture
def jobs(admin: client.ApiClient) -> Iterator[Jobs]:
    """All jobs are deleted at the end of the test, and their pods are awaited."""
    jobs = Jobs(admin)
    yield jobs
    # All at once: some may be going already.
    jobs.custom.delete_collection_namespaced_custom_object(*GROUP)
    # At once, without the grace time that the garbage collector gives them.
    jobs.core.delete_collection_namespaced_pod(NAMESPACE, grace_period_seconds=0)
    wait_until(lambda: not jobs.core.list_namespaced_pod(NAMESPACE).items, END_SECONDS, "pods do not end")


def shell(
    command: str, *, restart: str = "ExitCode", container: str = "pytorch", grace_seconds: int = 5, replicas: int = 1, **more: object
) -> dict:
    """One kind of replicas that run a bash command; `more` are fields of the container."""
    pod = {
        "terminationGracePeriodSeconds": grace_seconds,
        "containers": [{"name": container, "image": "none", "command": ["bash", "-c", command], **more}],
    }
    return {"replicas": replicas, "restartPolicy": restart, "template": {"spec": pod}}
