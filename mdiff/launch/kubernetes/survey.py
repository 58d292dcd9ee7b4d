"""What a Kubernetes cluster offers to a user who writes a site file: GPU nodes, queues, claims. Whatever the user may not see is None."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mdiff.errors import LaunchError
from mdiff.launch.kubernetes.connection import Cluster, kubeconfig
from mdiff.launch.kubernetes.nodes import Node, NodeGroup, group_nodes, held_gpus, parse_node
from mdiff.launch.kubernetes.refusals import RefusedError

Answer = TypeVar("Answer")

KUEUE, QUEUES = "kueue.x-k8s.io", "localqueues"
KUEUE_VERSIONS = ("v1beta1", "v1beta2")
HIDDEN = "cannot be seen with your rights"
MANY_WRITERS = "ReadWriteMany"


@dataclass(frozen=True)
class Claim:
    """A PersistentVolumeClaim."""

    name: str
    phase: str
    """Pending, Bound or Lost."""
    modes: tuple[str, ...]
    size: str
    storage_class: str

    def __str__(self) -> str:
        return f"{self.name} ({', '.join([*self.modes, *([self.size] if self.size else [])])})"


@dataclass(frozen=True)
class Queue:
    """A LocalQueue of Kueue."""

    name: str
    trouble: str
    """Why it takes no jobs; "" if it does."""

    def __str__(self) -> str:
        return f"{self.name} (takes no jobs: {self.trouble})" if self.trouble else self.name


@dataclass(frozen=True, kw_only=True)
class Survey:
    server: str
    context: str
    """Of the kubeconfig; "" inside of a pod."""
    namespace: str
    groups: tuple[NodeGroup, ...] | None
    queues: tuple[Queue, ...] | None
    """Of the namespace; none where Kueue is not installed."""
    claims: tuple[Claim, ...] | None


def survey_cluster(cluster: Cluster, gpu_resource: str) -> Survey:
    """
    Raises:
        LaunchError: the cluster does not answer, does not know who asks, or has no such namespace.
    """
    refuse_missing_namespace(cluster)
    nodes = read_nodes(cluster)
    return Survey(
        server=str(cluster),
        context=cluster.context,
        namespace=cluster.namespace,
        groups=None if nodes is None else group_nodes(nodes, gpu_resource, read_held_gpus(cluster, gpu_resource)),
        queues=read_queues(cluster),
        claims=read_claims(cluster),
    )


def visible(ask: Callable[[], Answer]) -> Answer | None:
    """The answer; None where this user may not have it."""
    try:
        return ask()
    except RefusedError as error:
        if error.status == 403:
            return None
        raise


def found(ask: Callable[[], Answer]) -> Answer | None:
    """The answer; None where there is no such thing."""
    try:
        return ask()
    except RefusedError as error:
        if error.status == 404:
            return None
        raise


def refuse_missing_namespace(cluster: Cluster) -> None:
    """
    Raises:
        LaunchError: the cluster says that there is none of this name. Not everybody may ask.
    """
    if found(lambda: visible(lambda: cluster.read(cluster.core.read_namespace, cluster.namespace)) or {}) is None:
        raise LaunchError(f"namespace {cluster.namespace} is not there; ask for it, or name another one: --namespace in mdiff site init")


def read_contexts() -> tuple[list[str], str]:
    """Names of the kubeconfig's contexts, and which of them is the current one; none where there is no kubeconfig."""
    from kubernetes import config
    from kubernetes.config.config_exception import ConfigException
    from yaml import YAMLError

    try:
        contexts, current = config.list_kube_config_contexts(config_file=kubeconfig())
    except (ConfigException, YAMLError, TypeError, AttributeError, OSError):
        # Whoever opens the cluster says what is wrong with it.
        return [], ""
    return [context["name"] for context in contexts], current["name"]


def read_nodes(cluster: Cluster) -> list[Node] | None:
    objects = visible(lambda: cluster.listed(cluster.core.list_node))
    return None if objects is None else [parse_node(node) for node in objects]


def read_held_gpus(cluster: Cluster, gpu_resource: str) -> Mapping[str, int] | None:
    """Node -> GPUs that pods of all namespaces have there."""
    unended = "status.phase!=Succeeded,status.phase!=Failed"
    pods = visible(lambda: cluster.listed(cluster.core.list_pod_for_all_namespaces, field_selector=unended))
    return None if pods is None else held_gpus(pods, gpu_resource)


def read_queues(cluster: Cluster) -> tuple[Queue, ...] | None:
    """Of the namespace; none where Kueue is not installed, which everybody may see."""
    from kubernetes import client

    custom = client.CustomObjectsApi(cluster.api)
    served = next((version for version in KUEUE_VERSIONS if is_served(cluster, KUEUE, version, QUEUES)), None)
    if served is None:
        return ()
    objects = visible(lambda: cluster.listed(custom.list_namespaced_custom_object, KUEUE, served, cluster.namespace, QUEUES))
    return None if objects is None else tuple(parse_queue(queue) for queue in objects)


def is_served(cluster: Cluster, group: str, version: str, plural: str) -> bool:
    """Whether the cluster knows this kind of object in this version."""
    from kubernetes import client

    answer = found(lambda: cluster.read(client.CustomObjectsApi(cluster.api).get_api_resources, group, version))
    return plural in [each["name"] for each in answer["resources"]] if answer else False


def read_claims(cluster: Cluster) -> tuple[Claim, ...] | None:
    listing = cluster.core.list_namespaced_persistent_volume_claim
    objects = visible(lambda: cluster.listed(listing, cluster.namespace))
    return None if objects is None else tuple(parse_claim(claim) for claim in objects)


def parse_claim(claim: Mapping[str, Any]) -> Claim:
    spec, status = claim.get("spec", {}), claim.get("status") or {}
    size = (status.get("capacity") or spec.get("resources", {}).get("requests") or {}).get("storage", "")
    return Claim(
        name=claim["metadata"]["name"],
        phase=status.get("phase", "Pending"),
        modes=tuple(status.get("accessModes") or spec.get("accessModes") or ()),
        size=size,
        storage_class=spec.get("storageClassName") or "",
    )


def parse_queue(queue: Mapping[str, Any]) -> Queue:
    conditions = queue.get("status", {}).get("conditions") or []
    inactive = [each for each in conditions if each["type"] == "Active" and each["status"] == "False"]
    return Queue(queue["metadata"]["name"], inactive[0].get("message") or inactive[0].get("reason", "not active") if inactive else "")
