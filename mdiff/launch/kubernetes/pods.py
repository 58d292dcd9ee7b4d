"""What the API says of a pod: which node of which attempt it is, whether it runs or why it waits, and how long it held its GPUs. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mdiff.attempt.pod import LABELS

FINAL_PHASES = ("Succeeded", "Failed")
IMAGE_TROUBLES = ("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull")


@dataclass(frozen=True, kw_only=True)
class PodFacts:
    """One pod at one moment. Times are UTC, ISO; "" for what has not happened."""

    name: str
    uid: str
    index: int
    """Number of its node; the master is node 0."""
    phase: str
    is_leaving: bool
    machine: str
    gpus: int | None
    """Billed devices; None where it asks for none, as on the CPU."""
    held_from: str
    """When it was given its machine: from then on nobody else can have the GPUs."""
    held_to: str
    """When its containers had ended."""
    exit_code: int | None
    reason: str
    """Why it failed, in Kubernetes' word: Evicted, DeadlineExceeded, OOMKilled."""
    last_words: str
    """The error that its log ends with, if it failed."""
    waiting: str
    """Why it does not run yet, for people."""


def pod_facts(pod: dict[str, Any], gpu_resource: str) -> PodFacts:
    metadata, status = pod["metadata"], pod.get("status", {})
    containers = status.get("containerStatuses") or []
    ended = [state["terminated"] for each in containers if "terminated" in (state := each.get("state") or {})]
    last = ended[0] if ended else {}
    phase = status.get("phase", "Pending")
    return PodFacts(
        name=metadata["name"],
        uid=metadata["uid"],
        index=_index(metadata.get("labels", {})),
        phase=phase,
        is_leaving="deletionTimestamp" in metadata,
        machine=pod["spec"].get("nodeName", ""),
        gpus=_gpus(pod, gpu_resource),
        held_from=_scheduled_at(status) if pod["spec"].get("nodeName") else "",
        held_to=_ended_at(pod, ended) if phase in FINAL_PHASES else "",
        exit_code=last.get("exitCode"),
        reason=status.get("reason") or last.get("reason", ""),
        last_words=_last_words(last),
        waiting=_waiting(status, phase),
    )


def seconds_between(begin: str, end: str) -> float:
    return max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds())


def _index(labels: dict[str, str]) -> int:
    return 0 if labels.get(f"{LABELS}/replica-type") == "master" else int(labels.get(f"{LABELS}/replica-index", "0")) + 1


def _gpus(pod: dict[str, Any], gpu_resource: str) -> int | None:
    counts = [int(each.get("resources", {}).get("limits", {}).get(gpu_resource, 0)) for each in pod["spec"]["containers"]]
    return sum(counts) or None


def _scheduled_at(status: dict[str, Any]) -> str:
    conditions = {each["type"]: each for each in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled", {})
    times = (scheduled.get("lastTransitionTime") if scheduled.get("status") == "True" else "", status.get("startTime"))
    return min(filter(None, times), default="")


def _ended_at(pod: dict[str, Any], ended: list[dict[str, Any]]) -> str:
    """A pod that was evicted may have no container left that could say when."""
    times = [each["finishedAt"] for each in ended if each.get("finishedAt")]
    conditions = [each["lastTransitionTime"] for each in pod["status"].get("conditions") or [] if each.get("lastTransitionTime")]
    return max(times, default="") or max(conditions, default="")


def _last_words(terminated: dict[str, Any]) -> str:
    """Out of the end of the log, which Kubernetes keeps with terminationMessagePolicy FallbackToLogsOnError."""
    lines = terminated.get("message", "").splitlines() if terminated.get("exitCode") else []
    return next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), "")


def _waiting(status: dict[str, Any], phase: str) -> str:
    if phase != "Pending":
        return ""
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"unschedulable: {condition.get('message') or condition.get('reason', '')}"
    operators = "the operator's --pytorch-init-container-image names it"
    ours = "name another one: [container] image in the site file"
    for key, advice in (("initContainerStatuses", operators), ("containerStatuses", ours)):
        for each in status.get(key) or []:
            waiting = (each.get("state") or {}).get("waiting")
            if waiting and waiting.get("reason") != "PodInitializing":
                return _container_waits(waiting, each.get("image", ""), advice)
    return "its containers are being made"


def _container_waits(waiting: dict[str, str], image: str, advice: str) -> str:
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in IMAGE_TROUBLES:
        return f"image {image} cannot be pulled ({message or reason}); {advice}"
    return f"{reason}: {message}" if message else reason or "its containers are being made"
