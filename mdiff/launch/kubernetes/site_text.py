"""What the site file of a Kubernetes cluster says that other sites do not; written as in mdiff.launch.site_file."""

from collections.abc import Iterable

from mdiff.launch.kubernetes.nodes import NodeGroup, nodes_text
from mdiff.launch.kubernetes.survey import Survey
from mdiff.launch.site_lines import inline, setting
from mdiff.recipe.kubernetes_settings import KubernetesSettings, Toleration
from mdiff.recipe.site import Site


def hardware_facts(survey: Survey, group: NodeGroup | None) -> list[str]:
    if survey.groups is None:
        return ["The nodes of this cluster could not be seen: check device and devices_per_node."]
    if group is None:
        return ["No node of this cluster had GPUs; an autoscaler may add some. Check device and devices_per_node."]
    return [nodes_text(group), *([] if group.product else ["The cluster does not say which GPUs these are: check the device."])]


def container_text(site: Site) -> str:
    image = site.container.image
    return "\n".join(
        [
            "[container]",
            "# What the nodes pull, best with its digest: NAME@sha256:...",
            setting("image", image) if image else '#image = "registry.example.org/mdiff:0.1.0"',
            "# Interpreter in the image, with mdiff[train].",
            '#python = "python3"',
        ]
    )


def kubernetes_text(site: Site, survey: Survey) -> str:
    chosen = site.kubernetes
    place = [setting(name, value) for name in ("context", "namespace") if (value := getattr(chosen, name))]
    parts = [
        ["[kubernetes]", "# What is left out is the cluster's choice.", *place],
        _claims(chosen, survey),
        _queue(chosen, survey),
        ["# Account of the pods, and secrets that are pulled with, or whose keys become variables of the job.",
         '#service_account = "mdiff"', '#image_pull_secrets = ["registry"]', '#secrets = ["tokens"]'],
        ["# What each pod asks for besides its GPUs.", "#cpus_per_node = 96", '#memory_per_node = "800Gi"', '#shared_memory = "64Gi"'],
        _nodes(chosen),
        ["# RDMA between nodes; see NCCL's variables in [environment] as well.",
         '#resources = { "rdma/ib" = "8" }',
         '#annotations = { "k8s.v1.cni.cncf.io/networks" = "rdma" }'],
    ]  # fmt: skip
    return "\n".join(line for part in parts for line in part)


def datasets_text(site: Site) -> str:
    mount = site.kubernetes.data_mount
    return f'# Folder of each data set in the pods; one that is not named lies in {mount}/<name>.\n#[datasets]\n#sa1b = "{mount}/sa1b"'


def environment_text() -> str:
    variables = ('#NCCL_DEBUG = "WARN"', '#NCCL_SOCKET_IFNAME = "eth0"', '#NCCL_IB_HCA = "mlx5"')
    return "\n".join(["# Variables of every job; the last two say over which devices nodes talk.", "#[environment]", *variables])


def tolerations_text(tolerations: Iterable[Toleration]) -> str:
    """
    >>> tolerations_text([Toleration(key="dedicated")])
    'tolerations = [{ key = "dedicated" }]'
    """
    rows = [inline(each.model_dump(exclude_defaults=True)) for each in tolerations]
    return f"tolerations = [{', '.join(rows)}]"


def _claims(chosen: KubernetesSettings, survey: Survey) -> list[str]:
    seen = [f"# Claims of the namespace: {', '.join(map(str, survey.claims))}"] if survey.claims else []
    unseen = ["# The claims of the namespace could not be seen: check their names."] if survey.claims is None else []
    return [
        "# PersistentVolumeClaims: of the run directories (several nodes need ReadWriteMany), and of the data sets.",
        *seen,
        *unseen,
        setting("runs_claim", chosen.runs_claim),
        setting("data_claim", chosen.data_claim),
    ]


def _queue(chosen: KubernetesSettings, survey: Survey) -> list[str]:
    seen = [f"# Queues of the namespace: {', '.join(queue.name for queue in survey.queues)}"] if survey.queues else []
    queue = setting("queue", chosen.queue) if chosen.queue else '#queue = "gpu"'
    return ["# Kueue's LocalQueue, and the priority of pods and workload.", *seen, queue, '#priority_class = "high"']


def _nodes(chosen: KubernetesSettings) -> list[str]:
    product = "NVIDIA-H100-80GB-HBM3"
    selector = f"node_selector = {inline(chosen.node_selector)}" if chosen.node_selector else ""
    is_usual = chosen.tolerations == KubernetesSettings().tolerations
    return [
        "# Which nodes, by their labels, and which of their taints are tolerated.",
        selector or f'#node_selector = {{ "nvidia.com/gpu.product" = "{product}" }}',
        ("#" if is_usual else "") + tolerations_text(chosen.tolerations),
    ]
