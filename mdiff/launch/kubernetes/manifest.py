"""The PyTorchJob of a submission: what `--dry-run` prints, what is created, and what deploy/pytorchjob.yaml holds. Pure."""

from typing import Any

import yaml

from mdiff.attempt.pod import RDZV_PORT
from mdiff.launch.kubernetes.names import API_VERSION, KIND, MANAGED, QUEUE_LABEL, QUEUE_PRIORITY_LABEL, RUN_LABEL, run_label
from mdiff.launch.kubernetes.pod import pod_template
from mdiff.recipe.carried import SUBMISSION_ID
from mdiff.recipe.job import JobSpec, Submission
from mdiff.recipe.kubernetes_settings import KubernetesSettings


def pytorch_job(submission: Submission) -> dict[str, Any]:
    """As the API takes it. Source: kubeflow/trainer v1.9, docs of PyTorchJob; what its code does differently is said here.

    The container of a pod runs the supervisor once: whoever is to come back ends with 143, which `ExitCode` takes for a retry, and
    everything else for an end (1-127). `OnFailure` would restart after every mistake, and backoffLimit does not count such retries.
    """
    job = submission.job
    replicas = {"Master": _replica(submission, 1)}
    if job.hardware.nodes > 1:
        replicas["Worker"] = _replica(submission, job.hardware.nodes - 1)
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": job.name, "labels": job_labels(job)},
        "spec": {
            # A text, and never "auto", which one version took for 1.
            "nprocPerNode": str(job.hardware.devices_per_node),
            **_elastic_policy(job),
            # The default leaves workers running, and billed, when the master is done.
            "runPolicy": {"cleanPodPolicy": "Running"},
            "pytorchReplicaSpecs": replicas,
        },
    }


def named(manifest: dict[str, Any], submission_id: str) -> dict[str, Any]:
    """The manifest with the name of its submission in it, by which a job is known again."""
    replicas = manifest["spec"]["pytorchReplicaSpecs"]
    variable = {"name": SUBMISSION_ID, "value": submission_id}
    return manifest | {
        "spec": manifest["spec"] | {"pytorchReplicaSpecs": {kind: _with_variable(replica, variable) for kind, replica in replicas.items()}}
    }


def manifest_text(manifest: dict[str, Any]) -> str:
    """YAML that people read: long texts as blocks."""
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=1000)


def job_labels(job: JobSpec) -> dict[str, str]:
    settings = job.kubernetes or KubernetesSettings()
    queue = {QUEUE_LABEL: settings.queue} if settings.queue else {}
    priority = {QUEUE_PRIORITY_LABEL: settings.priority_class} if settings.queue and settings.priority_class else {}
    return {**MANAGED, RUN_LABEL: run_label(job.run), **queue, **priority, **settings.labels}


def _elastic_policy(job: JobSpec) -> dict[str, Any]:
    """What the operator makes of it are variables for torchrun, which the supervisor takes away: it decides itself who takes part."""
    if job.elastic is None:
        return {}
    policy = {
        "minReplicas": job.elastic.least_nodes, "maxReplicas": job.hardware.nodes,
        "rdzvBackend": "c10d", "rdzvHost": f"{job.name}-master-0", "rdzvPort": RDZV_PORT,
    }  # fmt: skip
    return {"elasticPolicy": policy}


def _replica(submission: Submission, count: int) -> dict[str, Any]:
    return {"replicas": count, "restartPolicy": "ExitCode", "template": pod_template(submission)}


def _with_variable(replica: dict[str, Any], variable: dict[str, str]) -> dict[str, Any]:
    pod = replica["template"]["spec"]
    containers = [container | {"env": [*container["env"], variable]} for container in pod["containers"]]
    return replica | {"template": replica["template"] | {"spec": pod | {"containers": containers}}}


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Master and worker are alike, and both are written out."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
