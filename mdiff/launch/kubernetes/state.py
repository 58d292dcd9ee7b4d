"""What a job on Kubernetes is doing, in our own words: by the job's conditions and, where they say little, by its pods. Pure."""

from collections.abc import Sequence
from typing import Any

from mdiff.attempt.pod import UID_CHARACTERS
from mdiff.budget.record import AttemptRecord
from mdiff.launch.kubernetes.job_object import conditions, is_being_deleted, num_pods, queue_of
from mdiff.launch.kubernetes.pods import PodFacts
from mdiff.launch.prepared import Look
from mdiff.launch.state import STATE_AFTER, JobState


def job_look(job: dict[str, Any] | None, pods: Sequence[PodFacts], newest: AttemptRecord | None, events: Sequence[str] = ()) -> Look:
    """
    Args:
        job: the object; None when it has been deleted.
        newest: record of the newest attempt, which says why it ended.
        events: the operator's complaints, newest last.
    """
    if job is None:
        return _deleted(pods, newest)
    holds = conditions(job)
    if "Succeeded" in holds or "Failed" in holds:
        return _ended(holds, newest, pods)
    if is_being_deleted(job):
        return Look(JobState.STOPPING, "deleted; its pods may still be saving their work")
    if "Suspended" in holds:
        queue = queue_of(job)
        return Look(JobState.PENDING, f"waiting in queue {queue}") if queue else Look(JobState.SUSPENDED, "spec.runPolicy.suspend is true")
    return _by_pods(job["metadata"]["name"], num_pods(job), pods, holds, events)


def _by_pods(name: str, expected: int, pods: Sequence[PodFacts], holds: dict[str, str], events: Sequence[str]) -> Look:
    if not pods:
        why = events[-1] if events else f"a quota, perhaps; see kubectl describe pytorchjob {name}"
        return Look(JobState.PENDING, f"its pods have not been created: {why}")
    if any(pod.is_leaving for pod in pods):
        return Look(JobState.STOPPING, "pods are being ended; they save their work before")
    waiting = [f"{pod.name} {pod.waiting}" for pod in pods if pod.phase == "Pending"]
    if waiting:
        return Look(JobState.PENDING, f"{waiting[0]}{f', and {len(waiting) - 1} more' if len(waiting) > 1 else ''}")
    if len(pods) < expected:
        return Look(JobState.RUNNING, f"{len(pods)} of {expected} pods are there{f': {events[-1]}' if events else ''}")
    return Look(JobState.RUNNING, "starting again" if "Restarting" in holds else "")


def _ended(holds: dict[str, str], newest: AttemptRecord | None, pods: Sequence[PodFacts]) -> Look:
    """The supervisor's reason says more than success and failure."""
    master = next((pod for pod in pods if pod.index == 0), None)
    is_of_newest = newest is not None and (master is None or newest.attempt.endswith(f".{master.uid[:UID_CHARACTERS]}"))
    if newest is not None and newest.reason is not None and is_of_newest:
        return Look(STATE_AFTER[newest.reason])
    if "Succeeded" in holds:
        return Look(JobState.COMPLETED)
    failed = [pod for pod in pods if pod.phase == "Failed" and pod.exit_code is not None]
    codes = ", ".join(f"{pod.name}: {pod.last_words or f'{pod.reason}, exit code {pod.exit_code}'}" for pod in failed)
    return Look(JobState.FAILED, codes or holds["Failed"])


def _deleted(pods: Sequence[PodFacts], newest: AttemptRecord | None) -> Look:
    if any(pod.phase == "Running" for pod in pods):
        return Look(JobState.STOPPING, "deleted; its pods may still be saving their work")
    if newest is not None and newest.reason is not None:
        state = STATE_AFTER[newest.reason]
        # Whoever is told to leave cannot know that nobody will make it anew.
        return Look(JobState.CANCELLED if state is JobState.STOPPED and newest.reason != "budget" else state, "the job has been deleted")
    return Look(JobState.CANCELLED, "the job has been deleted")
