"""The nodes of a cluster, and which of them a pod may go to. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mdiff.errors import LaunchError
from mdiff.recipe.devices import device_named
from mdiff.recipe.kubernetes_settings import KubernetesSettings, Toleration

PRODUCT_LABELS = ("nvidia.com/gpu.product", "cloud.google.com/gke-accelerator")
"""By which the GPU operator or a cloud says which GPUs these are."""
INSTANCE_LABEL = "node.kubernetes.io/instance-type"
POOL_LABELS = ("karpenter.sh/nodepool", "cloud.google.com/gke-nodepool", "eks.amazonaws.com/nodegroup", "kubernetes.azure.com/agentpool")
"""Of nodes that an autoscaler may add and take away."""
OWN_TAINTS = "node.kubernetes.io/"
"""Kubernetes' own, of nodes that are not well; nobody should tolerate them."""
KEEPING_AWAY = ("NoSchedule", "NoExecute")
FINAL_PHASES = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Taint:
    key: str
    value: str
    effect: str

    def __str__(self) -> str:
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"


@dataclass(frozen=True, kw_only=True)
class Node:
    name: str
    labels: Mapping[str, str]
    allocatable: Mapping[str, Decimal]
    taints: tuple[Taint, ...]
    """Those that keep pods away."""
    is_usable: bool
    """Ready, and not cordoned."""

    @property
    def product_label(self) -> str:
        return next((label for label in PRODUCT_LABELS if self.labels.get(label)), "")

    @property
    def product(self) -> str:
        """Its GPUs, as the cluster calls them; "" where it does not."""
        return self.labels.get(self.product_label, "")

    @property
    def may_multiply(self) -> bool:
        return any(label in self.labels for label in POOL_LABELS)

    def amount(self, resource: str) -> int:
        return int(self.allocatable.get(resource, 0))


@dataclass(frozen=True, kw_only=True)
class NodeGroup:
    """Usable nodes of one kind."""

    product: str
    product_label: str
    instance: str
    count: int
    gpus: int
    """Of each node."""
    free: int | None
    """GPUs of all of them together that no pod has; None where nobody may see the pods."""
    taints: tuple[Taint, ...]

    @property
    def all_gpus(self) -> int:
        return self.count * self.gpus


def parse_node(node: Mapping[str, Any]) -> Node:
    spec, status = node.get("spec", {}), node.get("status", {})
    taints = [Taint(taint["key"], taint.get("value", ""), taint["effect"]) for taint in spec.get("taints") or []]
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or [])
    return Node(
        name=node["metadata"]["name"],
        labels=node["metadata"].get("labels") or {},
        allocatable={name: quantity(amount) for name, amount in (status.get("allocatable") or {}).items()},
        taints=tuple(taint for taint in taints if taint.effect in KEEPING_AWAY and not taint.key.startswith(OWN_TAINTS)),
        is_usable=ready and not spec.get("unschedulable"),
    )


def quantity(text: str | int) -> Decimal:
    """
    >>> quantity("64"), quantity("250m"), quantity("1Gi")
    (Decimal('64'), Decimal('0.250'), Decimal('1073741824'))

    Raises:
        LaunchError: it is none.
    """
    from kubernetes.utils import parse_quantity

    try:
        return parse_quantity(text)
    except ValueError as error:
        raise LaunchError(f'"{text}" is no amount that Kubernetes knows, such as 8, 500m or 800Gi') from error


def group_nodes(nodes: Iterable[Node], resource: str, held: Mapping[str, int] | None) -> tuple[NodeGroup, ...]:
    """The usable nodes with GPUs, most GPUs first; `held` as from `held_gpus`."""
    kinds: dict[tuple[str, int, tuple[Taint, ...]], list[Node]] = {}
    for node in nodes:
        if node.is_usable and node.amount(resource):
            kinds.setdefault((node.product, node.amount(resource), node.taints), []).append(node)
    groups = [
        NodeGroup(
            product=product, product_label=some[0].product_label, instance=some[0].labels.get(INSTANCE_LABEL, ""), count=len(some),
            gpus=gpus, free=None if held is None else sum(free_gpus(node, resource, held) for node in some), taints=taints,
        )
        for (product, gpus, taints), some in kinds.items()
    ]  # fmt: skip
    return tuple(sorted(groups, key=lambda group: group.all_gpus, reverse=True))


def held_gpus(pods: Iterable[Mapping[str, Any]], resource: str) -> Counter[str]:
    """Node -> GPUs that pods have there, which have not ended."""
    held: Counter[str] = Counter()
    for pod in pods:
        node = pod["spec"].get("nodeName")
        if node and pod.get("status", {}).get("phase") not in FINAL_PHASES:
            held[node] += _limit(pod, resource)
    return held


def free_gpus(node: Node, resource: str, held: Mapping[str, int]) -> int:
    return max(0, node.amount(resource) - held.get(node.name, 0))


def tolerates(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    """By the rules of https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/."""
    return any(
        each.effect in ("", taint.effect)
        and (each.key == taint.key or (not each.key and each.operator == "Exists"))
        and (each.operator == "Exists" or each.value == taint.value)
        for each in tolerations
    )


def obstacles(node: Node, settings: KubernetesSettings, demands: Mapping[str, Decimal]) -> list[str]:
    """Why a pod can never go to this node, however idle it is; empty if it can."""
    return [
        *([] if node.is_usable else ["not ready, or cordoned"]),
        *(f"label {name}={value} missing" for name, value in settings.node_selector.items() if node.labels.get(name) != value),
        *(f"taint {taint} not tolerated" for taint in untolerated(node.taints, settings)),
        *(f"{name}: {short(node.allocatable.get(name, Decimal(0)))} of {short(amount)}" for name, amount in demands.items()
          if node.allocatable.get(name, Decimal(0)) < amount),
    ]  # fmt: skip


def untolerated(taints: Iterable[Taint], settings: KubernetesSettings) -> list[Taint]:
    return [taint for taint in taints if not tolerates(settings.tolerations, taint)]


def toleration_of(taint: Taint) -> Toleration:
    """
    >>> toleration_of(Taint("dedicated", "training", "NoSchedule")).value
    'training'
    """
    operator = "Equal" if taint.value else "Exists"
    return Toleration.model_validate({"key": taint.key, "operator": operator, "value": taint.value, "effect": taint.effect})


def short(amount: Decimal) -> str:
    """
    >>> short(Decimal(8)), short(Decimal(2**30)), short(Decimal("0.5"))
    ('8', '1Gi', '0.5')
    """
    for unit, size in (("Gi", 2**30), ("Mi", 2**20)):
        if amount >= size:
            return f"{(amount / size).quantize(Decimal(1))}{unit}"
    return f"{amount.normalize():f}"


def nodes_text(group: NodeGroup) -> str:
    """12 nodes x 8 NVIDIA-H100-80GB-HBM3 (p5.48xlarge)"""
    kind = group.product or ("GPUs" if group.gpus > 1 else "GPU")
    instance = f" ({group.instance})" if group.instance else ""
    return f"{group.count} node{'s' if group.count != 1 else ''} x {group.gpus} {kind}{instance}"


def free_text(group: NodeGroup) -> str:
    """64 of 96 GPUs free; "?" where nobody may see the pods."""
    return f"{'?' if group.free is None else group.free} of {group.all_gpus} GPU{'s' if group.all_gpus != 1 else ''} free"


def products_of(groups: Sequence[NodeGroup]) -> list[str]:
    """Each once; empty where the cluster names none."""
    return list(dict.fromkeys(group.product for group in groups if group.product))


def is_of_device(group: NodeGroup, device: str) -> bool:
    """Whether the group's GPUs are what the user calls `device`; nothing is of no device."""
    known = device_named(device)
    if known:
        return known == device_named(group.product)
    return bool(device) and device.lower() in group.product.lower()


def _limit(pod: Mapping[str, Any], resource: str) -> int:
    """Containers that begin a pod run before the others, and one after the other."""
    spec = pod["spec"]
    return max(
        sum(_of_container(each, resource) for each in spec.get("containers") or []),
        max((_of_container(each, resource) for each in spec.get("initContainers") or []), default=0),
    )


def _of_container(container: Mapping[str, Any], resource: str) -> int:
    return int(quantity((container.get("resources", {}).get("limits") or {}).get(resource, 0)))
