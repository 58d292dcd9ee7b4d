"""`site init` and `doctor`, answered by a real cluster."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from kubernetes import client

from mdiff.recipe.site import load_site
from tests.kubernetes.conftest import Jobs, shell
from tests.kubernetes.control_plane import NAMESPACE, ControlPlane
from tests.kubernetes.kubelet import Kubelet
from tests.kubernetes.user import User
from tests.waiting import wait_until

INIT = ("site", "init", "--backend", "kubernetes", "--usd-per-gpu-hour", "2.99", "--price-source", "contract", "--force", "--yes")
PRODUCT = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
TAINT = {"key": "dedicated", "value": "training", "effect": "NoSchedule"}
MANY, ONE = "ReadWriteMany", "ReadWriteOnce"
RIGHTS = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "delete"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": ["kubeflow.org"], "resources": ["pytorchjobs"], "verbs": ["get", "list", "watch", "create", "delete"]},
]
NUMBERS = count(1)


class Team:
    """A namespace that its administrator furnishes."""

    def __init__(self, api: client.ApiClient, name: str) -> None:
        self.name, self.api, self.core = name, api, client.CoreV1Api(api)
        self.core.create_namespace({"metadata": {"name": name}})

    def furnish(self, mode: str = MANY) -> None:
        """All that a job needs."""
        self.account()
        self.claim("mdiff-runs", mode)
        self.claim("mdiff-data", mode)

    def account(self) -> None:
        self.core.create_namespaced_service_account(self.name, {"metadata": {"name": "mdiff"}})

    def claim(self, name: str, mode: str = MANY, phase: str = "Bound", **spec: str) -> None:
        body = {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}, **spec}
        self.core.create_namespaced_persistent_volume_claim(self.name, {"metadata": {"name": name}, "spec": body})
        status = {
            "status": {"phase": phase, "capacity": {"storage": "1Gi"}, "accessModes": [mode]} if phase == "Bound" else {"phase": phase}
        }
        self.core.patch_namespaced_persistent_volume_claim_status(name, self.name, status)

    def quota(self, **hard: str) -> None:
        spec = {"hard": {name.replace("__", "/").replace("_", "."): amount for name, amount in hard.items()}}
        self.core.create_namespaced_resource_quota(self.name, {"metadata": {"name": "ours"}, "spec": spec})
        wait_until(lambda: self.core.read_namespaced_resource_quota("ours", self.name).status.used, 60, "quota is not counted")

    def allow(self, user: str) -> None:
        rbac = client.RbacAuthorizationV1Api(self.api)
        rbac.create_namespaced_role(self.name, {"metadata": {"name": "mdiff"}, "rules": RIGHTS})
        rbac.create_namespaced_role_binding(
            self.name,
            {
                "metadata": {"name": "mdiff"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "mdiff"},
                "subjects": [{"kind": "User", "name": user}],
            },
        )


@pytest.fixture
def team(admin: client.ApiClient) -> Team:
    return Team(admin, f"team-{next(NUMBERS)}")


@pytest.fixture
def you(control_plane: ControlPlane, kubelet: Kubelet, tmp_path: Path) -> User:
    return User(tmp_path, control_plane.kubeconfig)


@pytest.fixture
def products(admin: client.ApiClient, kubelet: Kubelet) -> Iterator[None]:
    """The nodes say which GPUs they have."""
    with patched_nodes(admin, kubelet.nodes, {"metadata": {"labels": PRODUCT}}, {"metadata": {"labels": dict.fromkeys(PRODUCT)}}):
        yield


@contextmanager
def patched_nodes(api: client.ApiClient, names: list[str], change: dict, undo: dict) -> Iterator[None]:
    core = client.CoreV1Api(api)
    for name in names:
        core.patch_node(name, change)
    try:
        yield
    finally:
        for name in names:
            core.patch_node(name, undo)


@pytest.fixture
def operator_deployment(admin: client.ApiClient) -> Iterator[Callable[[int], None]]:
    """What an installed operator shows of itself; here it is no pod. Called with how many of its pods are available."""
    apps, names = client.AppsV1Api(admin), ("training-operator", "kubeflow")
    labels = {"app": "training-operator"}
    container = {"name": "training-operator", "image": "kubeflow/training-operator:v1-855e096"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    body = {"metadata": {"name": names[0]}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    apps.create_namespaced_deployment(names[1], body)

    def available(pods: int) -> None:
        apps.patch_namespaced_deployment_status(*names, {"status": {"replicas": 1, "readyReplicas": pods, "availableReplicas": pods}})

    available(1)
    yield available
    apps.delete_namespaced_deployment(*names)


def init(you: User, team: Team, *words: str) -> Path:
    common = ("--namespace", team.name, "--image", "registry.example.org/mdiff:0.1.0", "--runs-dir", str(you.home / "runs"))
    return Path(you.mdiff(*INIT, *common, *words).stdout.strip())


def change(you: User, path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    you.site(text.replace(old, new))


def findings(you: User, code: int = 0) -> list[dict]:
    result = you.mdiff("doctor", "--json", check=False)
    assert "Traceback" not in result.stderr, result.stderr
    assert result.returncode == code, result.stdout + result.stderr
    return json.loads(result.stdout)


def of(rows: list[dict], check: str) -> dict:
    return next(row for row in reversed(rows) if row["check"] == check)


def failed(rows: list[dict]) -> list[str]:
    return [row["check"] for row in rows if row["verdict"] == "fail"]


def test_new_site_file_is_one_with_which_the_doctor_has_no_quarrel(you: User, team: Team, jobs: Jobs, products, operator_deployment):
    team.furnish()
    path = init(you, team, "--nodes", "2")
    site = load_site(path)
    assert path == you.home / ".config/mdiff/site.toml"
    assert (site.name, site.kubernetes.context, site.kubernetes.namespace) == ("admin", "admin", team.name)
    assert (site.hardware.device, site.hardware.nodes, site.hardware.devices_per_node) == ("H100", 2, 8)
    assert "# 2 nodes x 8 NVIDIA-H100-80GB-HBM3\n" in path.read_text()
    assert "# Claims of the namespace: mdiff-data (ReadWriteMany, 1Gi), mdiff-runs (ReadWriteMany, 1Gi)\n" in path.read_text()
    lines = you.mdiff("doctor").stdout.splitlines()
    assert lines[-1] == "0 failures, 0 warnings", "\n".join(lines)
    assert lines[1:-1] == [
        "  ok    you are admin",
        f"  ok    namespace {team.name}",
        f"  ok    rights: pods, their logs and PyTorchJobs in namespace {team.name}",
        "  ok    PyTorchJob kubeflow.org/v1 is served",
        "  ok    operator: training-operator v1-855e096 in namespace kubeflow",
        "  ok    2 nodes x 8 NVIDIA-H100-80GB-HBM3, 16 of 16 GPUs free",
        "  ok    claim mdiff-runs (ReadWriteMany, 1Gi): Bound",
        "  ok    claim mdiff-data (ReadWriteMany, 1Gi): Bound",
        "  ok    service account mdiff",
        "  ok    image registry.example.org/mdiff:0.1.0",
        "  ok    trial job (dry run): the server would take it, and the operator's webhook answers",
        "  ok    price: $2.99 per GPU-hour (contract, read 2026-11-25)".replace("2026-11-25", site.price.read_on),
        f"  ok    run directory {you.home}/runs can be written from here",
    ]
    assert jobs.custom.list_cluster_custom_object("kubeflow.org", "v1", "pytorchjobs")["items"] == []


def test_user_without_rights_is_told_which_and_gets_a_site_file_all_the_same(you: User, team: Team):
    team.furnish()
    path = init(you, team, "--context", "limited", "--device", "H100")
    assert load_site(path).kubernetes.context == "limited"
    assert "# The nodes of this cluster could not be seen: check device and devices_per_node.\n" in path.read_text()
    rows = findings(you, code=4)
    assert failed(rows) == ["rights"]
    missing = "get, list, watch pods; get pods/log; get, list, watch, create, delete pytorchjobs.kubeflow.org"
    assert of(rows, "rights")["detail"] == f"rights: in namespace {team.name} you may not {missing}"
    assert of(rows, "rights")["fix"].endswith(f"kubectl apply --namespace {team.name} -f deploy/rbac.yaml")
    assert of(rows, "trial job")["verdict"] == "warn"


def test_role_of_a_team_suffices_and_what_it_does_not_show_is_a_warning(you: User, team: Team):
    team.furnish()
    team.allow("limited")
    init(you, team, "--context", "limited")
    rows = findings(you)
    assert [row["check"] for row in rows if row["verdict"] == "warn"] == [
        "namespace", "operator", "nodes", "quota", "runs claim", "data claim", "service account",
    ]  # fmt: skip
    assert all("cannot be seen with your rights" in row["detail"] for row in rows if row["verdict"] == "warn")
    assert of(rows, "trial job")["verdict"] == "ok"


def test_busy_nodes_are_a_warning_and_too_few_nodes_a_failure(you: User, team: Team, jobs: Jobs, products):
    team.furnish()
    jobs.create("busy", shell("sleep 60", resources={"limits": {"nvidia.com/gpu": "4"}}))
    jobs.wait_for_pods("busy", 1, "Running")
    path = init(you, team, "--nodes", "2")
    rows = findings(you)
    assert "2 nodes x 8 NVIDIA-H100-80GB-HBM3, 12 of 16 GPUs free" in [row["detail"] for row in rows]
    assert of(rows, "nodes")["detail"] == "a job of 2 nodes x 8 GPUs would wait now: 1 node has 8 free GPUs"
    change(you, path, "nodes = 2", "nodes = 3")
    assert of(findings(you, code=4), "nodes")["detail"] == "a job of 3 nodes x 8 GPUs does not fit: 2 nodes can take a pod of it"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("devices_per_node = 8", "devices_per_node = 16", "0 nodes can take a pod of it (2 x nvidia.com/gpu: 8 of 16)"),
        ("#cpus_per_node = 96", "cpus_per_node = 96", "0 nodes can take a pod of it (2 x cpu: 64 of 96)"),
        ('#memory_per_node = "800Gi"', 'memory_per_node = "800Gi"', "0 nodes can take a pod of it (2 x memory: 512Gi of 800Gi)"),
        ('#node_selector = { "nvidia.com/gpu.product"', 'node_selector = { "pool"', "label pool=NVIDIA-H100-80GB-HBM3 missing"),
        ('#resources = { "rdma/ib" = "8" }', 'resources = { "rdma/ib" = "8" }', "0 nodes can take a pod of it (2 x rdma/ib: 0 of 8)"),
    ],
)  # fmt: skip
def test_pod_that_no_node_can_take_is_a_failure_with_its_reason(you: User, team: Team, old: str, new: str, words: str):
    team.furnish()
    change(you, init(you, team), old, new)
    rows = findings(you, code=4)
    assert failed(rows) == ["nodes"]
    assert words in of(rows, "nodes")["detail"]


def test_taints_are_tolerated_by_a_new_site_file_and_missed_in_an_old_one(you: User, team: Team, admin, kubelet: Kubelet):
    team.furnish()
    old = init(you, team).read_text()
    with patched_nodes(admin, kubelet.nodes, {"spec": {"taints": [TAINT]}}, {"spec": {"taints": []}}):
        rows = findings(you, code=4)
        assert "2 x taint dedicated=training:NoSchedule not tolerated" in of(rows, "nodes")["detail"]
        toleration = '{ key = "dedicated", operator = "Equal", value = "training", effect = "NoSchedule" }'
        assert toleration in of(rows, "nodes")["fix"]
        new = init(you, team).read_text()
        assert toleration in new
        assert toleration not in old
        assert failed(findings(you)) == []


def test_device_that_the_nodes_do_not_have_is_a_warning(you: User, team: Team, products):
    team.furnish()
    change(you, init(you, team), 'device = "H100"', 'device = "A100"')
    assert of(findings(you), "device")["detail"] == "the site says A100, and these nodes have NVIDIA-H100-80GB-HBM3"


def test_nodes_of_several_kinds_need_a_selector_and_a_new_file_has_it(you: User, team: Team, admin, kubelet: Kubelet, products):
    team.furnish()
    label = "nvidia.com/gpu.product"
    with patched_nodes(admin, ["node2"], {"metadata": {"labels": {label: "NVIDIA-A100-SXM4-80GB"}}}, {"metadata": {"labels": PRODUCT}}):
        path = init(you, team, "--device", "a100")
        site = load_site(path)
        assert (site.hardware.device, site.kubernetes.node_selector) == ("A100", {label: "NVIDIA-A100-SXM4-80GB"})
        assert of(findings(you), "nodes")["detail"] == "1 node x 8 NVIDIA-A100-SXM4-80GB, 8 of 8 GPUs free"
        change(you, path, "node_selector", "#node_selector")
        assert f'{label}" = "NVIDIA-A100-SXM4-80GB"' in of(findings(you), "device")["fix"]


def test_claims_that_are_missing_or_for_one_node_are_failures(you: User, team: Team):
    team.account()
    team.claim("mdiff-runs", ONE)
    path = init(you, team, "--nodes", "2")
    rows = findings(you, code=4)
    assert failed(rows) == ["runs claim", "data claim"]
    words = "claim mdiff-runs (ReadWriteOnce, 1Gi) is for one node, and a job takes 2: it must be ReadWriteMany"
    assert of(rows, "runs claim")["detail"] == words
    assert of(rows, "data claim")["detail"] == f"claim mdiff-data is not there in namespace {team.name}"
    change(you, path, "nodes = 2", "nodes = 1")
    assert failed(findings(you, code=4)) == ["data claim"]


@pytest.mark.parametrize(("mode", "verdict"), [("WaitForFirstConsumer", "ok"), ("Immediate", "fail")])
def test_claim_that_waits_is_fine_where_the_first_pod_binds_it(you: User, team: Team, admin, mode: str, verdict: str):
    storage, name = client.StorageV1Api(admin), f"class-{mode.lower()}"
    storage.create_storage_class({"metadata": {"name": name}, "provisioner": "none", "volumeBindingMode": mode})
    team.account()
    team.claim("mdiff-data")
    team.claim("mdiff-runs", phase="Pending", storageClassName=name)
    try:
        init(you, team)
        row = of(findings(you, code=4 if verdict == "fail" else 0), "runs claim")
        assert (row["verdict"], "Pending" in row["detail"]) == (verdict, True)
    finally:
        storage.delete_storage_class(name)


def test_quota_that_leaves_too_little_fails_with_its_numbers(you: User, team: Team):
    team.furnish()
    team.quota(requests_nvidia_com__gpu="12", requests_cpu="100")
    change(you, init(you, team), "nodes = 1", "nodes = 2")
    rows = findings(you, code=4)
    assert failed(rows) == ["quota"]
    details = [row["detail"] for row in rows if row["check"] == "quota"]
    assert "quota ours: a job takes 16 requests.nvidia.com/gpu, and 12 of 12 are left" in details
    assert "quota ours counts requests.cpu, and the site does not say how much a pod takes" in details


def test_account_secret_and_priority_class_must_be_there(you: User, team: Team, admin):
    team.claim("mdiff-runs")
    team.claim("mdiff-data")
    client.CoreV1Api(admin).create_namespaced_secret(team.name, {"metadata": {"name": "tokens"}, "stringData": {"HF_TOKEN": "x"}})
    path = init(you, team)
    for setting in ("image_pull_secrets", "secrets", "priority_class"):
        change(you, path, f"#{setting}", setting)
    rows = findings(you, code=4)
    details = {row["detail"]: row["verdict"] for row in rows}
    assert details[f"service account mdiff is not there in namespace {team.name}"] == "fail"
    assert details[f"secret registry is not there in namespace {team.name}"] == "fail"
    assert details["priority class high is not there"] == "fail"
    assert details["secret tokens"] == "ok"


def test_webhook_that_does_not_answer_fails_in_the_servers_words(you: User, team: Team, control_plane: ControlPlane):
    team.furnish()
    init(you, team)
    control_plane.stop_program("operator")
    try:
        row = of(findings(you, code=4), "trial job")
        assert "failed calling webhook" in row["detail"]
        assert "is training-operator running?" in row["fix"]
    finally:
        control_plane.start_operator()


def test_operator_of_which_no_pod_runs_is_a_failure(you: User, team: Team, operator_deployment):
    team.furnish()
    init(you, team)
    operator_deployment(0)
    assert of(findings(you, code=4), "operator")["detail"].endswith("in namespace kubeflow does not run: 0 pods are available")


def test_setting_that_kubernetes_does_not_know_is_no_traceback(you: User, team: Team):
    team.furnish()
    change(you, init(you, team), '#memory_per_node = "800Gi"', 'memory_per_node = "lots"')
    rows = findings(you, code=4)
    assert of(rows, "nodes")["detail"] == 'nodes: "lots" is no amount that Kubernetes knows, such as 8, 500m or 800Gi'
    assert "resources.requests.memory" in of(rows, "trial job")["detail"]


def test_namespace_that_is_not_there_stops_the_rest(you: User, team: Team):
    refused = you.mdiff(*INIT, "--namespace", "nowhere", check=False)
    assert (refused.returncode, "error: namespace nowhere is not there" in refused.stderr) == (4, True)
    change(you, init(you, team), f'namespace = "{team.name}"', 'namespace = "nowhere"')
    rows = findings(you, code=4)
    assert [row["check"] for row in rows] == ["server", "credentials", "namespace", "other checks"]


def test_namespace_that_forbids_the_capabilities_of_rdma_is_a_failure(you: User, team: Team):
    team.furnish()
    label = {"pod-security.kubernetes.io/enforce": "baseline"}
    team.core.patch_namespace(team.name, {"metadata": {"labels": label}})
    path = init(you, team)
    assert of(findings(you), "namespace")["detail"] == f"namespace {team.name}, which enforces baseline pods"
    change(you, path, '#service_account = "mdiff"', 'capabilities = ["IPC_LOCK"]')
    assert "may not add IPC_LOCK" in of(findings(you, code=4), "namespace")["detail"]


@pytest.fixture
def kueue(admin: client.ApiClient, you: User) -> Iterator[client.CustomObjectsApi]:
    """Of Kueue only the kind of its queues."""
    names = {"plural": "localqueues", "singular": "localqueue", "kind": "LocalQueue", "listKind": "LocalQueueList"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": "v1beta1", "served": True, "storage": True, "schema": schema}]
    spec = {"group": "kueue.x-k8s.io", "scope": "Namespaced", "names": names, "versions": versions}
    # The group belongs to Kubernetes' own projects, which must say that a kind was approved.
    approved = {"api-approved.kubernetes.io": "unapproved, for a test"}
    extensions, custom = client.ApiextensionsV1Api(admin), client.CustomObjectsApi(admin)
    extensions.create_custom_resource_definition(
        {"metadata": {"name": "localqueues.kueue.x-k8s.io", "annotations": approved}, "spec": spec}
    )

    def is_served() -> bool:
        try:
            return bool(custom.list_namespaced_custom_object("kueue.x-k8s.io", "v1beta1", NAMESPACE, "localqueues"))
        except client.ApiException:
            return False

    wait_until(is_served, 30, "localqueues are not served")
    yield custom
    extensions.delete_custom_resource_definition("localqueues.kueue.x-k8s.io")


def test_queue_is_taken_where_there_is_one_and_missed_where_it_is_not(you: User, team: Team, kueue: client.CustomObjectsApi):
    team.furnish()
    stopped = {"conditions": [{"type": "Active", "status": "False", "message": "Can't submit new workloads to clusterQueue"}]}
    queue = {"apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "LocalQueue", "metadata": {"name": "gpu"}, "status": stopped}
    kueue.create_namespaced_custom_object("kueue.x-k8s.io", "v1beta1", team.name, "localqueues", queue)
    path = init(you, team)
    assert load_site(path).kubernetes.queue == "gpu"
    assert of(findings(you), "queue")["detail"] == "queue gpu takes no jobs now: Can't submit new workloads to clusterQueue"
    change(you, path, 'queue = "gpu"', 'queue = "night"')
    assert of(findings(you, code=4), "queue")["detail"] == f"queue night is not there; namespace {team.name} has gpu"
    change(you, path, 'queue = "night"', 'queue = ""')
    assert of(findings(you), "queue")["detail"] == f"the site names no queue, and namespace {team.name} has gpu: jobs may never start"
    refused = you.mdiff(*INIT, "--namespace", team.name, "--queue", "day", check=False)
    assert (refused.returncode, refused.stderr.splitlines()[-1]) == (2, f"error: --queue day: namespace {team.name} has gpu")
