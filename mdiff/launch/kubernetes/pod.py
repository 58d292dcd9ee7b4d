"""The pod template of a job's replicas. Pure."""

import math
from typing import Any

from mdiff.attempt.pod import FIELDS
from mdiff.launch.kubernetes.names import MANAGED, RUN_LABEL, run_label
from mdiff.recipe.carried import carry
from mdiff.recipe.job import JobSpec, Submission
from mdiff.recipe.kubernetes_settings import KubernetesSettings

DEFAULT_IMAGE = "mdiff"
"""Until a site names the one that its cluster can pull."""
CONTAINER = "pytorch"
"""The operator accepts no other name."""
HOME = "/scratch"
"""The user of the image may write nowhere else; Triton and Inductor keep what they compile there."""
END_MARGIN_SECONDS = 60.0
"""Of a pod's grace time, for the supervisor to end and write down why, once the job has had its own grace time."""
DEADLINE_MARGIN_SECONDS = 600.0
"""The supervisor holds the time limit over all attempts; the pod's own deadline is there should it hang."""


def pod_template(submission: Submission) -> dict[str, Any]:
    from kubernetes import client

    job = submission.job
    settings = job.kubernetes or KubernetesSettings()
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(
            labels={**MANAGED, RUN_LABEL: run_label(job.run), **settings.labels}, annotations=dict(settings.annotations) or None
        ),
        spec=client.V1PodSpec(
            service_account_name=settings.service_account or None,
            # The job talks to no API server.
            automount_service_account_token=False,
            image_pull_secrets=[client.V1LocalObjectReference(name=name) for name in settings.image_pull_secrets] or None,
            node_selector=dict(settings.node_selector) or None,
            tolerations=_tolerations(job, settings),
            priority_class_name=settings.priority_class or None,
            scheduler_name=settings.scheduler or None,
            termination_grace_period_seconds=math.ceil(job.grace_seconds + END_MARGIN_SECONDS),
            active_deadline_seconds=_deadline(job),
            security_context=client.V1PodSecurityContext(
                run_as_non_root=True, run_as_user=settings.user_id, run_as_group=settings.user_id,
                # Fresh volumes belong to root. A run directory has many files, and asking once suffices.
                fs_group=settings.user_id, fs_group_change_policy="OnRootMismatch",
                seccomp_profile=client.V1SeccompProfile(type="RuntimeDefault"),
            ),
            containers=[_container(submission, settings)],
            volumes=_volumes(settings),
        ),
    )  # fmt: skip
    return client.ApiClient().sanitize_for_serialization(template)


def _container(submission: Submission, settings: KubernetesSettings) -> Any:
    from kubernetes import client

    job = submission.job
    python = job.container.python
    return client.V1Container(
        name=CONTAINER,
        image=job.container.image or DEFAULT_IMAGE,
        image_pull_policy=settings.image_pull_policy or None,
        command=[python, "-m", "mdiff.attempt.kubernetes"],
        working_dir=job.container.workdir or HOME,
        env=_environment(submission),
        env_from=[client.V1EnvFromSource(secret_ref=client.V1SecretEnvSource(name=name)) for name in settings.secrets] or None,
        resources=_resources(job, settings),
        volume_mounts=[
            client.V1VolumeMount(name="runs", mount_path=settings.runs_mount),
            client.V1VolumeMount(name="data", mount_path=settings.data_mount, read_only=True),
            client.V1VolumeMount(name="shm", mount_path="/dev/shm"),
            client.V1VolumeMount(name="scratch", mount_path=HOME),
        ],
        security_context=client.V1SecurityContext(
            allow_privilege_escalation=False,
            capabilities=client.V1Capabilities(drop=["ALL"], add=list(settings.capabilities) or None),
        ),
        lifecycle=client.V1Lifecycle(
            pre_stop=client.V1LifecycleHandler(_exec=client.V1ExecAction(command=[python, "-m", "mdiff.attempt.pre_stop"]))
        ),
        # The last lines of the log are shown by `kubectl describe` when the job fails.
        termination_message_policy="FallbackToLogsOnError",
    )


def _environment(submission: Submission) -> list[Any]:
    from kubernetes import client

    def of_pod(name: str, path: str) -> Any:
        source = client.V1EnvVarSource(field_ref=client.V1ObjectFieldSelector(field_path=path))
        return client.V1EnvVar(name=name, value_from=source)

    caches = {
        "HOME": HOME,
        "XDG_CACHE_HOME": f"{HOME}/cache",
        "TRITON_CACHE_DIR": f"{HOME}/triton",
        "TORCHINDUCTOR_CACHE_DIR": f"{HOME}/inductor",
    }
    texts = {**caches, **submission.job.environment, **carry(submission)}
    return [
        *(of_pod(name, path) for name, path in FIELDS.items()),
        # Kubernetes would put other variables in place of $(NAME).
        *(client.V1EnvVar(name=name, value=value.replace("$(", "$$(")) for name, value in texts.items()),
    ]


def _resources(job: JobSpec, settings: KubernetesSettings) -> Any:
    from kubernetes import client

    gpus = {settings.gpu_resource: str(job.hardware.devices_per_node)} if job.hardware.device != "cpu" else {}
    limits = {**gpus, **settings.resources}
    cpu = {"cpu": str(settings.cpus_per_node)} if settings.cpus_per_node else {}
    memory = {"memory": settings.memory_per_node} if settings.memory_per_node else {}
    return client.V1ResourceRequirements(requests={**cpu, **memory} or None, limits=limits or None)


def _tolerations(job: JobSpec, settings: KubernetesSettings) -> list[Any] | None:
    from kubernetes import client

    wanted = settings.tolerations if job.hardware.device != "cpu" else ()
    return [
        client.V1Toleration(key=each.key or None, operator=each.operator, value=each.value or None, effect=each.effect or None)
        for each in wanted
    ] or None


def _volumes(settings: KubernetesSettings) -> list[Any]:
    from kubernetes import client

    def claim(name: str, claim_name: str, read_only: bool | None = None) -> Any:
        source = client.V1PersistentVolumeClaimVolumeSource(claim_name=claim_name, read_only=read_only)
        return client.V1Volume(name=name, persistent_volume_claim=source)

    shared_memory = client.V1EmptyDirVolumeSource(medium="Memory", size_limit=settings.shared_memory)
    return [
        claim("runs", settings.runs_claim),
        claim("data", settings.data_claim),
        client.V1Volume(name="shm", empty_dir=shared_memory),
        client.V1Volume(name="scratch", empty_dir=client.V1EmptyDirVolumeSource()),
    ]


def _deadline(job: JobSpec) -> int | None:
    """Of one pod. The job's own activeDeadlineSeconds is not enforced by the operator (kubeflow/trainer#3358)."""
    if job.time_limit_seconds is None:
        return None
    return math.ceil(job.time_limit_seconds + job.grace_seconds + END_MARGIN_SECONDS + DEADLINE_MARGIN_SECONDS)
