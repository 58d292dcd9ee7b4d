"""Is there room for a job: on the nodes ever, on the nodes now, and in the namespace's quota?"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from mdiff.launch.doctor import Finding
from mdiff.launch.kubernetes.nodes import (
    Node,
    free_gpus,
    free_text,
    group_nodes,
    is_of_device,
    nodes_text,
    obstacles,
    products_of,
    quantity,
    short,
    toleration_of,
    untolerated,
)  # fmt: skip
from mdiff.launch.kubernetes.site_text import tolerations_text
from mdiff.launch.kubernetes.survey import read_held_gpus, read_nodes, visible
from mdiff.launch.kubernetes.visit import Visit, hidden

MOST_REASONS = 4
PODS, JOBS = ("pods", "count/pods"), "count/pytorchjobs.kubeflow.org"
MUST_BE_SAID = ("cpu", "memory")
"""Where a quota counts them, a pod that does not ask for them is refused."""


def check_nodes(visit: Visit) -> Iterator[Finding]:
    nodes = read_nodes(visit.cluster)
    if nodes is None:
        yield hidden("nodes", "nodes", f"whether {_job_text(visit)} fits, the first job shows")
        return
    hardware, resource = visit.patient.site.hardware, visit.settings.gpu_resource
    held = read_held_gpus(visit.cluster, resource)
    able = [node for node in nodes if not obstacles(node, visit.settings, visit.demands)]
    if len(able) < hardware.nodes:
        yield _never_fits(visit, nodes, len(able))
    elif hardware.device == "cpu":
        yield Finding("nodes", "ok", f"{len(able)} nodes on which {_job_text(visit)} fits")
    else:
        yield from _groups(visit, able, held)
        yield from _fits_now(visit, able, held)
    if hardware.device != "cpu":
        yield from _device(visit, able)


def _groups(visit: Visit, able: Sequence[Node], held: Mapping[str, int] | None) -> Iterator[Finding]:
    for group in group_nodes(able, visit.settings.gpu_resource, held):
        yield Finding("nodes", "ok", f"{nodes_text(group)}, {free_text(group)}")


def _never_fits(visit: Visit, nodes: Sequence[Node], able: int) -> Finding:
    """However idle the cluster is; unless an autoscaler adds nodes."""
    resource = visit.settings.gpu_resource
    gpu_nodes = [node for node in nodes if node.amount(resource)] if resource in visit.demands else list(nodes)
    reasons = Counter(reason for node in gpu_nodes for reason in obstacles(node, visit.settings, visit.demands)[:1])
    counted = [f"{count} x {reason}" for reason, count in reasons.most_common(MOST_REASONS)]
    words = f" ({'; '.join(counted) if gpu_nodes else f'no node has {resource}'})" if counted or not gpu_nodes else ""
    detail = f"{_job_text(visit)} does not fit: {able} node{'s' if able != 1 else ''} can take a pod of it{words}"
    if any(node.may_multiply for node in nodes):
        return Finding("nodes", "warn", f"{detail}; an autoscaler may add some", _remedy(visit, gpu_nodes))
    return Finding("nodes", "fail", detail, _remedy(visit, gpu_nodes))


def _remedy(visit: Visit, nodes: Sequence[Node]) -> str:
    """Tolerations where these alone are missing."""
    settings = visit.settings
    taints = [taint for node in nodes for taint in untolerated(node.taints, settings) if len(obstacles(node, settings, visit.demands)) == 1]
    if taints:
        wanted = (*settings.tolerations, *(toleration_of(taint) for taint in dict.fromkeys(taints)))
        return f"if these nodes are for you, in the site file: [kubernetes] {tolerations_text(wanted)}"
    return "in the site file: [hardware] nodes and devices_per_node, or [kubernetes] node_selector and what pods ask for"


def _fits_now(visit: Visit, able: Sequence[Node], held: Mapping[str, int] | None) -> Iterator[Finding]:
    hardware, resource = visit.patient.site.hardware, visit.settings.gpu_resource
    if held is None:
        return
    free = sum(free_gpus(node, resource, held) >= hardware.devices_per_node for node in able)
    if free < hardware.nodes:
        detail = f"{_job_text(visit)} would wait now: {free} node{'s have' if free != 1 else ' has'} {hardware.devices_per_node} free GPUs"
        yield Finding("nodes", "warn", detail)


def _device(visit: Visit, able: Sequence[Node]) -> Iterator[Finding]:
    """Prices and estimates go by the device that the site names."""
    device = visit.patient.site.hardware.device
    groups = group_nodes(able, visit.settings.gpu_resource, None)
    products = products_of(groups)
    others = products_of([group for group in groups if group.product and not is_of_device(group, device)])
    if products and others == products:
        detail = f"the site says {device}, and these nodes have {', '.join(products)}"
        yield Finding("device", "warn", detail, "in the site file: [hardware] device, and the price of such an hour")
    elif others:
        label = next(group.product_label for group in groups if group.product not in others)
        right = next(product for product in products if product not in others)
        detail = f"a job may get any of {', '.join(products)}, and the site says {device}"
        yield Finding("device", "warn", detail, f'in the site file: [kubernetes] node_selector = {{ "{label}" = "{right}" }}')


def _job_text(visit: Visit) -> str:
    hardware = visit.patient.site.hardware
    count = hardware.devices_per_node
    gpus = f" x {count} GPU{'s' if count > 1 else ''}" if hardware.device != "cpu" else ""
    return f"a job of {hardware.nodes} node{'s' if hardware.nodes > 1 else ''}{gpus}"


def check_quota(visit: Visit) -> Iterator[Finding]:
    listing = visit.cluster.core.list_namespaced_resource_quota
    quotas = visible(lambda: visit.cluster.listed(listing, visit.namespace))
    if quotas is None:
        yield hidden("quota", "quota", "a job waits for ever if it does not fit")
        return
    findings = [finding for quota in quotas for finding in _quota(visit, quota)]
    yield from findings
    if quotas and not findings:
        yield Finding("quota", "ok", f"quota {', '.join(quota['metadata']['name'] for quota in quotas)}: a job fits into what is left")


def _quota(visit: Visit, quota: Mapping[str, Any]) -> Iterator[Finding]:
    """Quotas for certain pods only are left to the server."""
    name, spec, used = quota["metadata"]["name"], quota.get("spec", {}), quota.get("status", {}).get("used") or {}
    if spec.get("scopes") or spec.get("scopeSelector"):
        return
    for resource, hard in (spec.get("hard") or {}).items():
        wanted = _wanted(visit, resource)
        left = quantity(hard) - quantity(used.get(resource, "0"))
        if wanted is None:
            key = "cpus_per_node" if resource.endswith("cpu") else "memory_per_node"
            fix = f"in the site file: [kubernetes] {key if not resource.startswith('limits') else 'resources'}"
            yield Finding("quota", "warn", f"quota {name} counts {resource}, and the site does not say how much a pod takes", fix)
        elif wanted > left:
            fix = f"wait for other jobs, or ask for more: kubectl describe quota {name} --namespace {visit.namespace}"
            rest = f"{short(max(left, Decimal(0)))} of {short(quantity(hard))}"
            yield Finding("quota", "fail", f"quota {name}: a job takes {short(wanted)} {resource}, and {rest} are left", fix)


def _wanted(visit: Visit, resource: str) -> Decimal | None:
    """Of the whole job; None where a pod would have to say it, and does not."""
    nodes = visit.patient.site.hardware.nodes
    if resource in PODS:
        return Decimal(nodes)
    if resource == JOBS:
        return Decimal(1)
    name = resource.removeprefix("requests.").removeprefix("limits.")
    amount = (visit.limits if resource.startswith("limits.") else visit.demands).get(name)
    if amount is None:
        return None if name in MUST_BE_SAID else Decimal(0)
    return amount * nodes
