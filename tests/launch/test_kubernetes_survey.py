"""What nodes, claims and queues tell, and the site file that is made of it."""

import re
from decimal import Decimal

import pytest

from mdiff.errors import LaunchError
from mdiff.launch.kubernetes.nodes import (
    Taint,
    free_text,
    group_nodes,
    held_gpus,
    is_of_device,
    nodes_text,
    obstacles,
    parse_node,
    quantity,
    tolerates,
)
from mdiff.launch.kubernetes.survey import Survey, parse_claim, parse_queue
from mdiff.launch.site_file import NewSite, site_text
from mdiff.recipe.container import Container
from mdiff.recipe.kubernetes_settings import KubernetesSettings, Toleration
from mdiff.recipe.load import parse_settings
from mdiff.recipe.price import Price
from mdiff.recipe.site import Hardware, Site
from tests.launch.kubernetes_objects import DEDICATED, GPU_TAINT, node, pod

RESOURCE = "nvidia.com/gpu"
GKE = {"cloud.google.com__gke-accelerator": "nvidia-tesla-a100"}
PRICE = Price(usd_per_gpu_hour=Decimal("2.99"), source="contract", read_on="2026-11-20")


def groups(*nodes, held=None):
    return group_nodes([parse_node(each) for each in nodes], RESOURCE, held)


def texts(*nodes, held=None):
    return [f"{nodes_text(group)}, {free_text(group)}" for group in groups(*nodes, held=held)]


def test_nodes_are_told_by_their_kind_most_gpus_first():
    few = node("x", gpus=4, product="", **{"node.kubernetes.io__instance-type": "n1"}) | {}
    few["metadata"]["labels"] = {
        "cloud.google.com/gke-accelerator": "nvidia-tesla-a100",
        "node.kubernetes.io/instance-type": "a2-highgpu-4g",
    }
    assert texts(few, node("a"), node("b"), node("c", gpus=0), held={"a": 8, "b": 2, "elsewhere": 8}) == [
        "2 nodes x 8 NVIDIA-H100-80GB-HBM3, 6 of 16 GPUs free",
        "1 node x 4 nvidia-tesla-a100 (a2-highgpu-4g), 4 of 4 GPUs free",
    ]


def test_free_gpus_are_unknown_where_pods_are_hidden():
    assert texts(node(product="")) == ["1 node x 8 GPUs, ? of 8 GPUs free"]


@pytest.mark.parametrize("broken", [{"ready": "False"}, {"ready": "Unknown"}, {"cordoned": True}])
def test_nodes_that_take_no_pods_are_no_offer(broken):
    assert [group.count for group in groups(node("a"), node("b", **broken))] == [1]


def test_nodes_with_other_taints_are_another_group_and_kubernetes_own_taints_do_not_count():
    pressed = {"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}
    preferred = {"key": "spot", "effect": "PreferNoSchedule"}
    found = groups(node("a"), node("b", taints=[DEDICATED]), node("c", taints=[pressed, preferred]))
    assert [(group.count, [str(taint) for taint in group.taints]) for group in found] == [(2, []), (1, ["dedicated=training:NoSchedule"])]


def test_gpus_are_held_by_pods_that_have_a_node_and_have_not_ended():
    pods = [
        pod("a", 2),
        pod("a", 1, "Pending"),
        pod("a", 4, "Succeeded"),
        pod("a", 4, "Failed"),
        pod("", 8, "Pending"),
        pod("b", 1, first_gpus=4),
    ]
    assert held_gpus(pods, RESOURCE) == {"a": 3, "b": 4}


@pytest.mark.parametrize(
    ("toleration", "does"),
    [
        ({"key": "dedicated"}, True),
        ({"key": "dedicated", "effect": "NoSchedule"}, True),
        ({"key": "dedicated", "effect": "NoExecute"}, False),
        ({"key": "dedicated", "operator": "Equal", "value": "training"}, True),
        ({"key": "dedicated", "operator": "Equal", "value": "serving"}, False),
        ({"operator": "Exists"}, True),
        ({"operator": "Equal"}, False),
        ({"key": "other"}, False),
    ],
)
def test_taint_is_tolerated_by_the_rules_of_kubernetes(toleration, does):
    assert tolerates([Toleration(**toleration)], Taint("dedicated", "training", "NoSchedule")) is does


def test_obstacles_say_what_keeps_a_pod_from_a_node():
    there = parse_node(node(taints=[DEDICATED, GPU_TAINT]))
    settings = KubernetesSettings(node_selector={"pool": "h100"})
    assert obstacles(there, settings, {RESOURCE: Decimal(16), "memory": quantity("1Ti"), "rdma/ib": Decimal(1)}) == [
        "label pool=h100 missing",
        "taint dedicated=training:NoSchedule not tolerated",
        "nvidia.com/gpu: 8 of 16",
        "rdma/ib: 0 of 1",
    ]


def test_amount_that_is_none_is_an_error_in_one_line():
    with pytest.raises(LaunchError, match='^"lots" is no amount that Kubernetes knows, such as 8, 500m or 800Gi$'):
        quantity("lots")


@pytest.mark.parametrize(
    ("product", "device", "does"),
    [
        ("NVIDIA-H100-80GB-HBM3", "h100", True), ("nvidia-tesla-a100", "A100", True), ("Tesla-V100-SXM2-32GB", "V100", True),
        ("NVIDIA-H100-80GB-HBM3", "A100", False), ("NVIDIA-H100-80GB-HBM3", "", False), ("", "H100", False),
    ],
)  # fmt: skip
def test_device_is_known_by_the_name_that_people_use(product, device, does):
    assert is_of_device(groups(node(product=product))[0], device) is does


def test_claim_says_its_phase_modes_and_size():
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Ti"}}, "storageClassName": "nfs"}
    claim = parse_claim({"metadata": {"name": "runs"}, "spec": spec, "status": {"phase": "Bound", "capacity": {"storage": "2Ti"}}})
    assert (claim.phase, str(claim), claim.storage_class) == ("Bound", "runs (ReadWriteMany, 2Ti)", "nfs")
    assert str(parse_claim({"metadata": {"name": "new"}, "spec": spec | {"accessModes": ["ReadWriteOnce"]}})) == "new (ReadWriteOnce, 1Ti)"


def test_queue_that_takes_no_jobs_says_why():
    stopped = {"type": "Active", "status": "False", "reason": "ClusterQueueDoesNotExist", "message": "Can't submit new workloads"}
    assert parse_queue({"metadata": {"name": "gpu"}, "status": {"conditions": [stopped]}}).trouble == "Can't submit new workloads"
    assert parse_queue({"metadata": {"name": "gpu"}}).trouble == ""


def new_site(**settings):
    group = groups(node("a", taints=[DEDICATED]), node("b", taints=[DEDICATED]), held={})[0]
    claims = (parse_claim({"metadata": {"name": "team"}, "spec": {"accessModes": ["ReadWriteMany"]}}),)
    queues = (parse_queue({"metadata": {"name": "gpu"}}), parse_queue({"metadata": {"name": "spare"}}))
    survey = Survey(server="https://cluster", context="prod", namespace="vision", groups=(group,), queues=queues, claims=claims)
    image = settings.pop("image", "")
    site = Site(
        name="prod", backend="kubernetes", hardware=Hardware(device="H100", nodes=2, devices_per_node=8), price=PRICE, runs_dir="/home/you/runs",
        container=Container(image=image), kubernetes=KubernetesSettings(context="prod", namespace="vision", **settings),
    )  # fmt: skip
    return NewSite(site=site, written_on="2026-11-25", cluster=survey, group=group)


TOLERATIONS = (Toleration(key=RESOURCE, effect="NoSchedule"), Toleration(key="dedicated", operator="Equal", value='a "b"'))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"queue": "gpu", "image": "registry/mdiff@sha256:1f", "runs_claim": "team", "tolerations": TOLERATIONS},
        {"node_selector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", 'odd "one"': "x"}, "tolerations": ()},
    ],
)  # fmt: skip
def test_text_loads_as_the_same_site(settings):
    new = new_site(**settings)
    assert parse_settings(Site, site_text(new), "text") == new.site


@pytest.mark.parametrize("settings", [{}, {"queue": "gpu", "image": "r/m", "node_selector": {"a": "b"}, "tolerations": TOLERATIONS}])
def test_every_setting_that_waits_in_a_comment_is_a_real_one(settings):
    text = site_text(new_site(**settings))
    awake = parse_settings(Site, re.sub(r"(?m)^#(?! )", "", text), "awake")
    assert awake.kubernetes.resources == {"rdma/ib": "8"}
    assert awake.kubernetes.queue == "gpu"
    assert awake.environment == {"NCCL_DEBUG": "WARN", "NCCL_SOCKET_IFNAME": "eth0", "NCCL_IB_HCA": "mlx5"}
    assert max(map(len, text.splitlines())) <= 140


def test_file_says_what_was_seen():
    text = site_text(new_site())
    for line in (
        "# 2 nodes x 8 NVIDIA-H100-80GB-HBM3",
        "# Claims of the namespace: team (ReadWriteMany)",
        "# Queues of the namespace: gpu, spare",
        '#queue = "gpu"',
    ):
        assert f"\n{line}\n" in text
