"""`site init` and `doctor` for Kubernetes, answered by a server of few words; and without any cluster."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdiff.recipe.site import load_site
from tests.cli.kubernetes_api import NAMESPACE, Api, serving, write_kubeconfig
from tests.cli.test_site import at_terminal

INIT = "site init --backend kubernetes --usd-per-gpu-hour 2.99"
KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
QUEUES = f"{KUEUE}/namespaces/vision/localqueues"


@pytest.fixture(autouse=True)
def only_this_kubeconfig(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client reads the variable when it is loaded, and nobody waits for a server that is not there."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", "~/.kube/config")
    monkeypatch.setattr("mdiff.launch.kubernetes.connection.PAUSES", ())


@pytest.fixture
def api(home: Path) -> Iterator[Api]:
    api = Api()
    with serving(api) as server:
        write_kubeconfig(home, server)
        yield api


@pytest.fixture
def file(home: Path) -> Path:
    return home / ".config" / "mdiff" / "site.toml"


def with_queues(api: Api, *names: str) -> None:
    api.answers |= {KUEUE: {"resources": [{"name": "localqueues"}]}, QUEUES: [{"metadata": {"name": name}} for name in names]}


def findings(mdiff, code=0):
    result = mdiff("doctor --json")
    assert result.code == code, result.out + result.err
    return {row["check"]: row for row in json.loads(result.out)}


@pytest.mark.parametrize("command", ["doctor --backend kubernetes", INIT])
def test_server_that_is_not_there_is_a_line_with_its_remedy(mdiff, home, command):
    write_kubeconfig(home, "http://127.0.0.1:1")
    result = mdiff(command)
    assert result.code == 4
    assert "cannot reach the cluster at http://127.0.0.1:1 (context prod): Connection refused\n" in result.out + result.err
    assert "Traceback" not in result.err


def test_without_a_kubeconfig_the_doctor_says_so_and_stops(mdiff):
    result = mdiff("doctor --backend kubernetes")
    lines = result.out.splitlines()
    assert (result.code, result.err) == (4, "")
    assert lines[0].startswith("  fail  server: no kubeconfig (")
    assert lines[1:] == ["  warn  all other checks need this, and were not made", "1 failure, 1 warning"]


def test_without_a_kubeconfig_there_is_no_site_file(mdiff, file):
    result = mdiff(INIT)
    assert (result.code, result.out, len(result.err.splitlines())) == (4, "", 1)
    assert result.err.startswith("error: no kubeconfig (")
    assert not file.exists()


def test_unknown_context_names_those_that_are_there(mdiff, api, home):
    result = mdiff(f"{INIT} --context staging")
    assert (result.code, result.err.endswith("no such context in the kubeconfig; it has: prod\n")) == (4, True)


def test_init_takes_the_nodes_with_most_gpus_and_writes_a_file_that_loads(mdiff, api, file):
    result = mdiff(INIT)
    assert result.code == 0, result.err
    assert result.err.splitlines()[1:] == [
        "2 nodes x 8 NVIDIA-H100-80GB-HBM3, 8 of 16 GPUs free, taints nvidia.com/gpu=present:NoSchedule",
        "1 node x 4 NVIDIA-A100-SXM4-80GB, 4 of 4 GPUs free",
        "queues: none",
        "claims: mdiff-runs (ReadWriteMany, 1Ti), mdiff-data (ReadWriteMany, 1Ti)",
        "Next: mdiff doctor --backend kubernetes",
    ]
    site = load_site(file)
    assert (site.name, site.kubernetes.context, site.kubernetes.namespace, site.container.image) == ("prod", "prod", "vision", "")
    assert (site.hardware.device, site.hardware.devices_per_node) == ("H100", 8)
    assert site.kubernetes.node_selector == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    assert len(site.kubernetes.tolerations) == 1


def test_flags_win_over_what_the_cluster_says(mdiff, api, home):
    with_queues(api, "gpu", "night")
    result = mdiff(f"{INIT} --device a100 --nodes 2 --image r/mdiff:1 --queue night --runs-dir here --out other.toml")
    assert result.code == 0, result.err
    assert result.err.endswith("Next: mdiff doctor --backend kubernetes --site other.toml\n")
    site = load_site(home / "other.toml")
    assert (site.hardware.device, site.hardware.nodes, site.hardware.devices_per_node) == ("A100", 2, 4)
    assert (site.container.image, site.kubernetes.queue, site.runs_dir) == ("r/mdiff:1", "night", str(home / "here"))


def test_several_queues_are_told_but_not_chosen_for_the_user(mdiff, api, file):
    with_queues(api, "gpu", "night")
    assert mdiff(INIT).code == 0
    assert "# Queues of the namespace: gpu, night\n" in file.read_text()
    assert load_site(file).kubernetes.queue == ""


def test_device_that_no_node_has_is_told(mdiff, api, file):
    result = mdiff(f"{INIT} --device b200")
    assert "No node says that its GPUs are b200; they are called NVIDIA-H100-80GB-HBM3, NVIDIA-A100-SXM4-80GB." in result.err
    assert load_site(file).hardware.device == "B200"


def test_cluster_without_gpus_may_get_some(mdiff, api, file):
    api.answers["/api/v1/nodes"] = []
    result = mdiff(INIT)
    assert "no node has GPUs now; an autoscaler may add some" in result.err
    assert "taken for H100" in result.err
    assert (load_site(file).hardware.device, load_site(file).hardware.devices_per_node) == ("H100", 8)


def test_at_a_terminal_the_user_is_asked_with_defaults(api, file, home):
    with_queues(api, "gpu", "night")
    api.answers[f"{NAMESPACE}/persistentvolumeclaims"] = [{"metadata": {"name": name}, "spec": {}} for name in ("team", "sets")]
    # GPUs; price; source; runs; image; claims of runs and data; queue: a wrong one, then one.
    answers = ["NVIDIA-A100-SXM4-80GB", "1.50", "price list", "", "registry/mdiff:1", "team", "sets", "day", "night"]
    shown = at_terminal(["site", "init", "--backend", "kubernetes"], answers)
    assert "GPUs [NVIDIA-H100-80GB-HBM3]: " in shown
    assert "Image that the nodes pull [mdiff]: " in shown
    assert "day must be one of gpu, night" in shown
    site = load_site(file)
    assert (site.hardware.device, site.container.image, site.kubernetes.queue) == ("A100", "registry/mdiff:1", "night")
    assert (site.kubernetes.runs_claim, site.kubernetes.data_claim) == ("team", "sets")


def test_doctor_finds_what_is_missing_and_says_how_to_mend_it(mdiff, api, file):
    assert mdiff(f"{INIT} --nodes 2").code == 0
    found = findings(mdiff)
    assert found["nodes"]["detail"] == "a job of 2 nodes x 8 GPUs would wait now: 1 node has 8 free GPUs"
    assert found["operator"]["detail"] == "operator: no deployment training-operator in this cluster"
    assert found["image"]["detail"] == "image mdiff names no registry: it must be on every node already"
    assert {name for name, row in found.items() if row["verdict"] == "warn"} == {"nodes", "operator", "image"}
    assert all("dryRun=All" in path for path in api.asked if "pytorchjobs" in path)


def test_cluster_without_the_operator_is_told_how_to_get_it(mdiff, api):
    assert mdiff(INIT).code == 0
    del api.answers["/apis/kubeflow.org/v1"]
    api.answers["/apis/trainer.kubeflow.org/v1alpha1"] = {"resources": [{"name": "trainjobs"}]}
    found = findings(mdiff, code=4)
    assert found["PyTorchJob"]["detail"].endswith(
        "no training operator is installed; it has the operator's successor, whose TrainJob is another kind"
    )
    assert "kubectl apply -k 'github.com/kubeflow/trainer" in found["PyTorchJob"]["fix"]
    assert not {"operator", "trial job"} & set(found)


def test_nodes_that_an_autoscaler_may_add_are_no_failure(mdiff, api):
    assert mdiff(f"{INIT} --nodes 4").code == 0
    assert findings(mdiff, code=4)["nodes"]["verdict"] == "fail"
    api.answers["/api/v1/nodes"][0]["metadata"]["labels"]["karpenter.sh/nodepool"] = "gpu"
    row = findings(mdiff)["nodes"]
    assert (row["verdict"], row["detail"].endswith("; an autoscaler may add some")) == ("warn", True)


@pytest.mark.parametrize("hidden", ["/api/v1/nodes", "/api/v1/pods", f"{NAMESPACE}/", "/apis/apps", "/apis/apiextensions.k8s.io"])
def test_what_a_role_hides_is_never_a_failure(mdiff, api, hidden):
    api.forbidden.add(hidden)
    assert mdiff(INIT).code == 0
    assert {row["verdict"] for row in findings(mdiff).values()} <= {"ok", "warn"}
