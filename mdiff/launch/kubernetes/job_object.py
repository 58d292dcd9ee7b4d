"""What a PyTorchJob object says of itself: its state, and the submission that travels in it. Pure."""

import re
from datetime import datetime
from typing import Any

from mdiff.errors import LaunchError
from mdiff.launch.kubernetes.names import QUEUE_LABEL
from mdiff.launch.kubernetes.pod import CONTAINER
from mdiff.recipe.carried import RECIPE, SUBMISSION, SUBMISSION_ID, unpack
from mdiff.recipe.job import Submission
from mdiff.recipe.kubernetes_settings import KubernetesSettings
from mdiff.run_dir import PLAIN_NAME
from mdiff.units import utc_stamp


def conditions(job: dict[str, Any]) -> dict[str, str]:
    """Type -> message of those that hold: Created, Running, Restarting, Suspended, Succeeded, Failed."""
    return {each["type"]: each.get("message", "") for each in job.get("status", {}).get("conditions") or [] if each["status"] == "True"}


def has_ended(job: dict[str, Any]) -> bool:
    return bool({"Succeeded", "Failed"} & set(conditions(job)))


def is_being_deleted(job: dict[str, Any]) -> bool:
    return "deletionTimestamp" in job["metadata"]


def queue_of(job: dict[str, Any]) -> str:
    return job["metadata"].get("labels", {}).get(QUEUE_LABEL, "")


def num_pods(job: dict[str, Any]) -> int:
    """That it shall have."""
    return sum(replica.get("replicas", 1) for replica in job["spec"]["pytorchReplicaSpecs"].values())


def id_of(job: dict[str, Any]) -> str:
    """Name of its submission. A job that was applied by hand has none; it gets one that is the same wherever it is read."""
    metadata = job["metadata"]
    created = datetime.fromisoformat(metadata["creationTimestamp"])
    return _variables(job).get(SUBMISSION_ID) or f"{utc_stamp(created)}-{metadata['uid'][:4]}"


def is_job_of(job: dict[str, Any], submission: Submission) -> bool:
    """Whether this object is the submission's job, and not one that has its name by now.

    One that was applied by hand carries no name of a submission; its pod, or whoever read it first, wrote one down after it was created.
    """
    told = _variables(job).get(SUBMISSION_ID)
    if told:
        return told == submission.id
    return datetime.fromisoformat(submission.submitted_at) >= datetime.fromisoformat(job["metadata"]["creationTimestamp"])


def submission_of(job: dict[str, Any], settings: KubernetesSettings) -> Submission | None:
    """The submission that the job carries; None where it carries none, or one of another version.

    Args:
        settings: how its cluster is reached from here.
    """
    variables = {name: value.replace("$$(", "$(") for name, value in _variables(job).items() if name in (SUBMISSION, RECIPE)}
    try:
        told = unpack(variables, id_of(job), job["metadata"]["creationTimestamp"])
    except LaunchError:
        return None
    if not all(re.match(PLAIN_NAME, name) for name in (told.id, told.job.run)):
        return None
    spec = told.job.model_copy(update={"kubernetes": settings})
    return told.model_copy(update={"scheduler_job": job["metadata"]["name"], "job": spec})


def _variables(job: dict[str, Any]) -> dict[str, str]:
    master = job["spec"].get("pytorchReplicaSpecs", {}).get("Master", {})
    containers = master.get("template", {}).get("spec", {}).get("containers") or []
    ours: dict[str, Any] = next((each for each in containers if each["name"] == CONTAINER), {})
    return {each["name"]: each["value"] for each in ours.get("env") or [] if "value" in each}
