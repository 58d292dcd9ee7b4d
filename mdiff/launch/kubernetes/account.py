"""The account that Kubernetes does not keep: for how long every pod of a job held its GPUs. Pure.

Pods are forgotten when they are deleted, and the operator deletes each one that it makes anew. So what was seen once is kept, and the
record that the supervisor tells in its log closes the gaps; where it does not, the sum is a lower bound and says so.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mdiff.attempt.pod import UID_CHARACTERS
from mdiff.budget.record import AttemptRecord
from mdiff.budget.sync import UNMETERED, PodUse, SchedulerAttempt
from mdiff.launch.kubernetes.pods import PodFacts, seconds_between
from mdiff.recipe.job import JobSpec


def merge_uses(earlier: Sequence[PodUse], pods: Iterable[PodFacts], job: JobSpec, now: str) -> tuple[PodUse, ...]:
    """All pods that were ever seen, in order of their start."""
    seen = {pod.uid: _use(pod, job, now) for pod in pods if pod.held_from}
    kept = {use.uid: use.model_copy(update={"is_gone": True}) for use in earlier if use.uid not in seen}
    return tuple(sorted((kept | seen).values(), key=lambda use: (use.held_from, use.name)))


def pod_seconds(use: PodUse) -> float:
    return use.devices * seconds_between(use.held_from, use.held_to or use.seen_at)


def attempts_told(job_name: str, uses: Sequence[PodUse], records: Sequence[AttemptRecord]) -> tuple[SchedulerAttempt, ...]:
    """What the pods' times say of each attempt. A pod other than the master's belongs to the attempt with which it ran longest."""
    spans = _spans(job_name, uses, records)
    attempts: dict[str, list[PodUse]] = {}
    for use in uses:
        attempts.setdefault(_attempt_of(use, job_name, spans), []).append(use)
    return tuple(_attempt(name, pods) for name, pods in sorted(attempts.items(), key=lambda item: min(use.held_from for use in item[1])))


def may_lack(uses: Sequence[PodUse], records: Sequence[AttemptRecord], has_ended: bool, namesakes: Sequence[AttemptRecord] = ()) -> bool:
    """Whether devices may have been held that neither pods nor records tell of.

    Args:
        records: of this submission.
        namesakes: of all submissions whose job had the same name: their attempts are numbered together.
    """
    closed = {uid_of(record.attempt) for record in records if record.reason is not None}
    if any(use.node == 0 and use.is_gone and not use.held_to and use.uid[:UID_CHARACTERS] not in closed for use in uses):
        return True
    seen = {use.uid[:UID_CHARACTERS] for use in uses}
    died_unseen = [record for record in records if record.reason is None and uid_of(record.attempt) not in seen and has_ended]
    is_missing = max(map(_number, records), default=-1) >= len({_number(record) for record in [*records, *namesakes]})
    return is_missing or bool(died_unseen) or (has_ended and not uses and not records)


def uid_of(attempt: str) -> str:
    """First characters of the uid of the pod that was its node 0."""
    return attempt.rpartition(".")[2].removeprefix(UNMETERED)


def _number(record: AttemptRecord) -> int:
    return int(record.attempt.split(".")[1])


class _Span(NamedTuple):
    attempt: str
    begin: str
    end: str


def _use(pod: PodFacts, job: JobSpec, now: str) -> PodUse:
    return PodUse(
        name=pod.name, uid=pod.uid, node=pod.index, devices=pod.gpus or job.hardware.devices_per_node, state=pod.reason or pod.phase,
        held_from=pod.held_from, held_to=pod.held_to, seen_at=now,
    )  # fmt: skip


def _spans(job_name: str, uses: Sequence[PodUse], records: Sequence[AttemptRecord]) -> list[_Span]:
    """When each attempt ran: by its master pod and, where that was never seen, by its record."""
    names = {uid_of(record.attempt): record.attempt for record in records}
    masters = {use.uid[:UID_CHARACTERS]: use for use in uses if use.node == 0}
    by_pod = [
        _Span(names.get(uid, f"{job_name}.{UNMETERED}{uid}"), use.held_from, use.held_to or use.seen_at) for uid, use in masters.items()
    ]
    by_record = [_Span(r.attempt, r.started_at, r.heartbeat_at) for r in records if uid_of(r.attempt) not in masters]
    return [*by_pod, *by_record]


def _attempt_of(use: PodUse, job_name: str, spans: Sequence[_Span]) -> str:
    uid = use.uid[:UID_CHARACTERS]
    if use.node == 0:
        return next(span.attempt for span in spans if uid_of(span.attempt) == uid)
    longest = max(spans, key=lambda span: _overlap(use, span), default=None)
    return longest.attempt if longest and _overlap(use, longest) > 0 else f"{job_name}.{UNMETERED}{uid}"


def _overlap(use: PodUse, span: _Span) -> float:
    begin, end = max(use.held_from, span.begin, key=_moment), min(use.held_to or use.seen_at, span.end, key=_moment)
    return seconds_between(begin, end)


def _moment(text: str) -> float:
    return seconds_between("1970-01-01T00:00:00+00:00", text)


def _attempt(name: str, pods: Sequence[PodUse]) -> SchedulerAttempt:
    first = min(pods, key=lambda use: (use.node, use.held_from))
    return SchedulerAttempt(
        attempt=name, state=first.state, device_seconds=sum(pod_seconds(use) for use in pods), started_at=min(use.held_from for use in pods)
    )
