"""`[kubernetes]` of a site: what a PyTorchJob and its pods are told. Names are Kubernetes' own, in this project's spelling."""

from typing import Literal

from pydantic import Field, model_validator

from mdiff.recipe.settings import BadSettingError, Settings

GPU_RESOURCE = "nvidia.com/gpu"


class Toleration(Settings):
    """Of a taint of the GPU nodes (https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/)."""

    key: str = ""
    """Empty: of every taint."""
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


class KubernetesSettings(Settings):
    """Empty texts leave the choice to the cluster."""

    context: str = ""
    """Of the kubeconfig file; without it the current one and, inside of a cluster, the pod's own account."""
    namespace: str = ""
    """Without it: the context's."""
    runs_claim: str = Field(default="mdiff-runs", min_length=1)
    """PersistentVolumeClaim of the run directories. Several nodes need one that many may write (ReadWriteMany)."""
    runs_mount: str = Field(default="/runs", pattern="^/.+")
    data_claim: str = Field(default="mdiff-data", min_length=1)
    """PersistentVolumeClaim of the data sets; mounted read-only."""
    data_mount: str = Field(default="/data", pattern="^/.+")
    """A data set that [datasets] does not name lies in <data_mount>/<name>."""
    service_account: str = "mdiff"
    image_pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = ""
    image_pull_secrets: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    """Secrets whose keys become variables of the job, such as tokens. They are referred to, never read."""
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = (Toleration(key=GPU_RESOURCE, effect="NoSchedule"),)
    labels: dict[str, str] = {}
    """Further ones of the job and its pods."""
    annotations: dict[str, str] = {}
    """Of the pods, such as the networks that RDMA needs."""
    queue: str = ""
    """Kueue's LocalQueue, which starts the job when there is room."""
    priority_class: str = ""
    """Of the pods and, with a queue, of the workload."""
    scheduler: str = ""
    """schedulerName of the pods."""
    gpu_resource: str = GPU_RESOURCE
    cpus_per_node: int | None = Field(default=None, ge=1)
    """Asked for by each pod."""
    memory_per_node: str = ""
    """Asked for by each pod: "800Gi"."""
    shared_memory: str = Field(default="64Gi", min_length=2)
    """Most that /dev/shm may take; Kubernetes' own default of 64 MB breaks NCCL and data loaders."""
    resources: dict[str, str] = {}
    """Further ones of each pod, such as "rdma/ib" = "1"."""
    capabilities: tuple[str, ...] = ()
    """Added to the container after all others were dropped. A user other than root gains nothing by one: how much memory RDMA may pin
    is the container runtime's own limit."""
    least_nodes: int | None = Field(default=None, ge=1)
    """With how many nodes an attempt may begin when no more can be had within a minute. hardware.nodes is the most; without this an
    attempt waits for all. A node that comes later waits until the running attempt has worked for a while, and holds its GPUs meanwhile;
    then the job saves its work, and the next attempt begins with all that are there."""
    rejoin_after_seconds: float = Field(default=600.0, ge=0)
    """How long an attempt runs at least before a node that came later makes it begin anew."""
    user_id: int = Field(default=1000, ge=1)
    """Under which the container runs, and the group to which the volumes are handed: the user of the image."""

    @model_validator(mode="after")
    def _mounts_are_apart(self) -> "KubernetesSettings":
        if self.runs_mount == self.data_mount:
            raise BadSettingError("data_mount", f'"{self.data_mount}"', "must not be runs_mount: data sets are mounted read-only")
        return self
