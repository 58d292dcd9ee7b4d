"""Jobs on Kubernetes: one PyTorchJob each, in every pod of which a supervisor runs."""

import time
from collections.abc import Callable
from typing import Any

from mdiff.budget.ledger import Ledger
from mdiff.budget.sync import Reading
from mdiff.errors import LaunchError
from mdiff.launch.kubernetes.account import attempts_told, may_lack, merge_uses
from mdiff.launch.kubernetes.connection import BUSY, Cluster, open_cluster
from mdiff.launch.kubernetes.job_object import conditions, has_ended, id_of, is_job_of, num_pods
from mdiff.launch.kubernetes.manifest import manifest_text, named, pytorch_job
from mdiff.launch.kubernetes.mirror import mirror_logs
from mdiff.launch.kubernetes.names import JOB_LABEL, first_name, numbered_name
from mdiff.launch.kubernetes.pod import END_MARGIN_SECONDS
from mdiff.launch.kubernetes.pods import PodFacts, pod_facts
from mdiff.launch.kubernetes.refusals import RefusedError
from mdiff.launch.kubernetes.state import job_look
from mdiff.launch.prepared import Look, Prepared
from mdiff.recipe.job import JobSpec, Submission
from mdiff.recipe.kubernetes_settings import KubernetesSettings
from mdiff.run_dir import RunDir
from mdiff.units import duration_text, utc_now

LOOK_SECONDS = 2.0
MOST_NAMES = 1000


class KubernetesBackend:
    """The job's id is its name."""

    def prepare(self, job: JobSpec, dry_run: bool) -> Prepared:
        """The job under a name that is free. A dry run asks nobody: what it prints depends on recipe and site alone."""
        if dry_run:
            return Prepared(job)
        cluster = open_cluster(_settings(job))
        return Prepared(job.model_copy(update={"name": free_name(cluster, job), "kubernetes": cluster.pinned(_settings(job))}))

    def render(self, run_dir: RunDir, submission: Submission) -> str:
        return manifest_text(pytorch_job(submission)).rstrip("\n")

    def try_out(self, submission: Submission) -> str:
        """Let the server check the manifest, webhook and quota included, without creating anything; what it says.

        Raises:
            LaunchError: it refuses.
        """
        cluster = open_cluster(_settings(submission.job))
        job = submission.job.model_copy(update={"name": free_name(cluster, submission.job)})
        cluster.create_job(pytorch_job(submission.model_copy(update={"job": job})), dry_run=True)
        return f"{cluster} would accept {job.name} in namespace {cluster.namespace}"

    def start(self, run_dir: RunDir, submission: Submission) -> str:
        """
        Raises:
            LaunchError: the server refuses, or does not answer.
        """
        cluster = open_cluster(_settings(submission.job))
        name = submission.job.name
        try:
            cluster.create_job(named(pytorch_job(submission), submission.id))
        except LaunchError as error:
            status = error.status if isinstance(error, RefusedError) else 0
            # An answer may have been lost, and the job of our first try be there.
            if status == 409 and _is_there(cluster, submission, name):
                return name
            if status and status not in BUSY:
                raise
            unknown = f"Whether {name} was created is not known; if it was, mdiff status finds it once the cluster answers"
            raise LaunchError(f"{error}\n  {unknown}") from error
        return name

    def look(self, submission: Submission, ledger: Ledger) -> Look:
        cluster = open_cluster(_settings(submission.job))
        job, pods = _read(cluster, submission)
        records = ledger.records_of(submission.id)
        complaints = _complaints(cluster, submission) if job and len(pods) < num_pods(job) else ()
        return job_look(job, pods, records[-1] if records else None, complaints)

    def read(self, submission: Submission, ledger: Ledger) -> Reading:
        cluster = open_cluster(_settings(submission.job))
        job, pods = _read(cluster, submission)
        earlier, records, now = ledger.readings.get(submission.id), ledger.records_of(submission.id), utc_now().isoformat()
        metered = [record for record in records if record.supervisor_pid]
        name = submission.scheduler_job or submission.job.name
        namesakes = [record for record in ledger.records if record.supervisor_pid and record.scheduler_job == name]
        uses = merge_uses(earlier.pods if earlier else (), pods, submission.job, now)
        # Without a name of the scheduler's it is just being created.
        is_over = (job is None and bool(submission.scheduler_job)) or (job is not None and has_ended(job))
        ended = is_over and not any(pod.held_from and not pod.held_to for pod in pods)
        return Reading(
            submission=submission.id, scheduler_job=name, read_at=now, state=_word(job), ended=ended, has_accounting=True,
            attempts=attempts_told(name, uses, metered), pods=uses, may_lack=may_lack(uses, metered, ended, namesakes),
        )  # fmt: skip

    def catch_up(self, run_dir: RunDir, submission: Submission, ledger: Ledger) -> bool:
        cluster = open_cluster(_settings(submission.job))
        _, pods = _read(cluster, submission)
        return mirror_logs(cluster.log, run_dir, submission, pods)

    def cancel(
        self, run_dir: RunDir, submission: Submission, ledger: Ledger, now: bool, sleep: Callable[[float], None] = time.sleep
    ) -> str:
        cluster = open_cluster(_settings(submission.job))
        job, pods = _read(cluster, submission)
        name = submission.scheduler_job or submission.job.name
        running = [pod for pod in pods if pod.phase == "Running"]
        if job is not None:
            cluster.delete_job(name, job["metadata"]["uid"])
        if now:
            return self._kill(cluster, name, pods)
        if not running:
            return f"cancelled job {name}, which was not running"
        # Pods take their logs with them, and with these what only their supervisors know.
        mirror_logs(cluster.log_to_its_end, run_dir, submission, [pod for pod in running if pod.index == 0], wait=True)
        deadline = time.monotonic() + submission.job.grace_seconds + 2 * END_MARGIN_SECONDS
        while (left := _read(cluster, submission)[1]) and time.monotonic() < deadline:
            sleep(LOOK_SECONDS)
        if left:
            names = ", ".join(f"{pod.name} on {pod.machine}" for pod in left)
            return f"deleted job {name}; still there: {names} (a node that does not answer? kubectl delete pod --force, once it is off)"
        return f"deleted job {name}; its pods had {duration_text(submission.job.grace_seconds)} to save their work"

    def _kill(self, cluster: Cluster, name: str, pods: list[PodFacts]) -> str:
        try:
            for pod in pods:
                cluster.delete_pod_at_once(pod.name)
        except RefusedError as error:
            return f"deleted job {name}; its pods get their grace time, for you may not delete pods ({str(error).splitlines()[0]})"
        return f"killed job {name}; work since its newest checkpoint is lost"


def free_name(cluster: Cluster, job: JobSpec) -> str:
    """The job's first name unless an ended job has it, then the next one.

    Raises:
        LaunchError: a job of this name has not ended.
    """
    first = job.name or first_name(job.run, job.stages or (1, 1))
    for number in range(1, MOST_NAMES):
        name = numbered_name(first, number)
        found = cluster.job(name)
        if found is None:
            return name
        if not has_ended(found):
            raise LaunchError(
                f"job {name} exists already in namespace {cluster.namespace}, and has not ended ({_word(found)})\n"
                f"  Wait for it (mdiff status --run {job.run}), stop it (mdiff cancel --run {job.run}), or take another --run."
            )
    raise LaunchError(f"no free name for job {first}: delete old ones: kubectl delete pytorchjob {first}")


def _settings(job: JobSpec) -> KubernetesSettings:
    return job.kubernetes or KubernetesSettings()


def _read(cluster: Cluster, submission: Submission) -> tuple[dict[str, Any] | None, list[PodFacts]]:
    """The job, unless another one has its name by now, and its pods."""
    name = submission.scheduler_job or submission.job.name
    job = cluster.job(name)
    if job is not None and not is_job_of(job, submission):
        return None, []
    pods = [pod for pod in cluster.pods({JOB_LABEL: name}) if job is None or _owner(pod) == job["metadata"]["uid"]]
    resource = _settings(submission.job).gpu_resource
    return job, [pod_facts(pod, resource) for pod in pods]


def _owner(pod: dict[str, Any]) -> str:
    return next((owner["uid"] for owner in pod["metadata"].get("ownerReferences") or []), "")


def _is_there(cluster: Cluster, submission: Submission, name: str) -> bool:
    job = cluster.job(name)
    return job is not None and id_of(job) == submission.id


def _complaints(cluster: Cluster, submission: Submission) -> list[str]:
    events = cluster.events_of(submission.scheduler_job)
    return [" ".join(event.get("message", "").split()) for event in events if event.get("type") == "Warning"]


def _word(job: dict[str, Any] | None) -> str:
    return (list(conditions(job)) or ["Created"])[-1] if job else ""
