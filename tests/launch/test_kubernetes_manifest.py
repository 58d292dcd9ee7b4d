"""The PyTorchJob: what the site says stands in it, and nothing changes it but recipe and site."""

from pathlib import Path

import pytest
import yaml

from mdiff.errors import LaunchError
from mdiff.launch.kubernetes.job_object import id_of, submission_of
from mdiff.launch.kubernetes.manifest import named, pytorch_job
from mdiff.launch.submit import plan_submission
from mdiff.recipe.carried import SUBMISSION, carry, unpack
from mdiff.recipe.kubernetes_settings import KubernetesSettings
from tests.launch.conftest import order

SITE = """
name = "team"
backend = "kubernetes"
[hardware]
nodes = 4
[price]
usd_per_gpu_hour = 2.99
source = "contract"
read_on = "2026-11-20"
[container]
image = "registry.example.org/mdiff@sha256:41c0"
[kubernetes]
image_pull_secrets = ["registry"]
secrets = ["tokens"]
queue = "gpus"
priority_class = "high"
node_selector = { pool = "h100" }
tolerations = [{ key = "gpu-only", operator = "Equal", value = "yes", effect = "NoSchedule" }]
resources = { "rdma/ib" = "1" }
capabilities = ["IPC_LOCK"]
cpus_per_node = 64
memory_per_node = "800Gi"
user_id = 2000
[environment]
NCCL_DEBUG = "WARN"
GREETING = "$(HOME) stays"
"""


@pytest.fixture
def manifest(home: Path) -> dict:
    site = home / "site.toml"
    site.write_text(SITE)
    plan = plan_submission(order("all", recipe="microdit-tiny", backend="kubernetes", site_file=site, dry_run=True))
    return yaml.safe_load(plan.render())


def pod_of(manifest: dict, kind: str = "Master") -> dict:
    return manifest["spec"]["pytorchReplicaSpecs"][kind]["template"]["spec"]


def container_of(manifest: dict) -> dict:
    return pod_of(manifest)["containers"][0]


def test_four_nodes_are_a_master_and_three_workers_that_are_alike(manifest):
    replicas = manifest["spec"]["pytorchReplicaSpecs"]
    assert {kind: replica["replicas"] for kind, replica in replicas.items()} == {"Master": 1, "Worker": 3}
    assert {replica["restartPolicy"] for replica in replicas.values()} == {"ExitCode"}
    assert replicas["Master"]["template"] == replicas["Worker"]["template"]
    assert manifest["spec"]["nprocPerNode"] == "8"
    assert manifest["spec"]["runPolicy"] == {"cleanPodPolicy": "Running"}


def test_site_settings_stand_in_the_pod(manifest):
    pod, container = pod_of(manifest), container_of(manifest)
    assert container["image"] == "registry.example.org/mdiff@sha256:41c0"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert container["envFrom"] == [{"secretRef": {"name": "tokens"}}]
    assert pod["nodeSelector"] == {"pool": "h100"}
    assert pod["tolerations"] == [{"key": "gpu-only", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "8", "rdma/ib": "1"}
    assert container["resources"]["requests"] == {"cpu": "64", "memory": "800Gi"}
    labels = manifest["metadata"]["labels"]
    assert (labels["kueue.x-k8s.io/queue-name"], labels["kueue.x-k8s.io/priority-class"]) == ("gpus", "high")
    assert pod["priorityClassName"] == "high"


def test_container_has_no_more_rights_than_it_needs_and_may_write_where_it_must(manifest):
    pod, container = pod_of(manifest), container_of(manifest)
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"], "add": ["IPC_LOCK"]}}
    context = pod["securityContext"]
    assert (context["runAsNonRoot"], context["runAsUser"], context["fsGroup"]) == (True, 2000, 2000)
    assert pod["automountServiceAccountToken"] is False
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert mounts == {"/runs": False, "/data": True, "/dev/shm": False, "/scratch": False}
    memory = next(volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "shm")
    assert memory["medium"] == "Memory"
    variables = {each["name"]: each.get("value", "") for each in container["env"]}
    assert all(variables[name].startswith("/scratch") for name in ("HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"))


def test_pod_has_time_for_its_checkpoint_and_a_deadline_beyond_the_supervisors(manifest):
    pod = pod_of(manifest)
    assert pod["terminationGracePeriodSeconds"] >= 120 + 60
    assert container_of(manifest)["lifecycle"]["preStop"]["exec"]["command"] == ["python3", "-m", "mdiff.attempt.pre_stop"]
    told = submission_in(manifest)
    assert pod["activeDeadlineSeconds"] > told.job.time_limit_seconds


def submission_in(manifest: dict):
    applied = manifest | {"metadata": manifest["metadata"] | {"creationTimestamp": "2026-11-24T10:00:00Z", "uid": "0c4a8f6e"}}
    return submission_of(applied, KubernetesSettings())


def test_submission_comes_out_of_the_manifest_as_it_went_in(manifest):
    told = submission_in(manifest)
    assert (told.job.run, told.job.hardware.nodes) == ("microdit-tiny", 4)
    assert str(told.job.price.usd_per_gpu_hour) == "2.99"
    assert told.id.endswith("-0c4a")
    assert 'name = "microdit-tiny"' in told.recipe_toml
    again = pytorch_job(told.model_copy(update={"job": told.job}))
    assert carried(again)["MDIFF_RECIPE"] == carried(manifest)["MDIFF_RECIPE"]


def carried(manifest: dict) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container_of(manifest)["env"] if "value" in each}


def test_dollar_in_a_value_stays_what_it_is(manifest):
    assert carried(manifest)["GREETING"] == "$$(HOME) stays"


def test_name_of_the_submission_is_all_that_a_real_one_adds(manifest):
    real = named(manifest, "20261124T100000Z-beef")
    [added] = [each for each in container_of(real)["env"] if each not in container_of(manifest)["env"]]
    assert added == {"name": "MDIFF_SUBMISSION_ID", "value": "20261124T100000Z-beef"}
    applied = real | {"metadata": real["metadata"] | {"creationTimestamp": "2026-11-24T10:00:00Z", "uid": "0c4a8f6e"}}
    assert id_of(applied) == "20261124T100000Z-beef"


def test_dry_run_is_the_same_text_each_time(home):
    texts = {plan_submission(order("1", backend="kubernetes", dry_run=True)).render() for _ in range(2)}
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace('"limit_usd": "', '"limit_usd": "-'), "job.limit_usd: Input should be greater than or equal to 0"),
        (lambda text: text[:-5], "no JSON"),
    ],
)
def test_manifest_that_was_edited_wrongly_is_one_line(manifest, change, words):
    variables = carried(manifest)
    with pytest.raises(LaunchError, match=words):
        unpack(variables | {SUBMISSION: change(variables[SUBMISSION])}, "id", "2026-11-24T10:00:00Z")
    with pytest.raises(LaunchError, match="lacks MDIFF_SUBMISSION; render the manifest anew"):
        unpack({}, "id", "")


def test_what_is_carried_has_neither_names_nor_times_of_a_place(home):
    plan = plan_submission(order("1", backend="kubernetes", dry_run=True))
    assert plan.submission.id not in "".join(carry(plan.submission).values())
