"""What a job on a Kubernetes cluster needs, asked of the cluster itself. Nothing is created: the trial job is a dry run."""

from collections.abc import Iterator
from functools import wraps
from typing import Any

from mdiff.launch.doctor import Check, Checks, Finding, Patient, check_price, check_runs_root
from mdiff.launch.kubernetes.claims import check_claims
from mdiff.launch.kubernetes.names import QUEUE_LABEL
from mdiff.launch.kubernetes.operator import check_job_kind, check_operator, check_trial_job
from mdiff.launch.kubernetes.pod import DEFAULT_IMAGE
from mdiff.launch.kubernetes.refusals import RefusedError
from mdiff.launch.kubernetes.rights import check_rights
from mdiff.launch.kubernetes.room import check_nodes, check_quota
from mdiff.launch.kubernetes.survey import found, read_queues, visible
from mdiff.launch.kubernetes.visit import Look, Visit, hidden

ENFORCED = "pod-security.kubernetes.io/enforce"
POD_SECURITY = {
    "baseline": (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP",
        "SETUID", "SYS_CHROOT",
    ),
    "restricted": ("NET_BIND_SERVICE",),
}  # fmt: skip
"""Capabilities that a pod may add. Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/."""
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


def kubernetes_checks(patient: Patient) -> Checks:
    """With one connection for all of them."""
    visit = Visit(patient)
    vital, others = ([_on(visit, look) for look in looks] for looks in (VITAL, OTHERS))
    return Checks(vital=tuple(vital), others=(*others, check_price, check_runs_root))


def check_server(visit: Visit) -> Iterator[Finding]:
    from kubernetes import client

    version = visit.cluster.read(client.VersionApi(visit.cluster.api).get_code)["gitVersion"]
    yield Finding("server", "ok", f"Kubernetes {version} at {visit.cluster}")


def check_credentials(visit: Visit) -> Iterator[Finding]:
    from kubernetes import client

    asking = client.AuthenticationV1Api(visit.cluster.api).create_self_subject_review
    try:
        answer = found(lambda: visit.cluster.read(asking, {})) or {}
    except RefusedError as error:
        # Whoever is known may ask this.
        if error.status == 403:
            detail = f"credentials: the server does not know who you are ({str(error).splitlines()[0]})"
            yield Finding("credentials", "fail", detail, "log in again, and check with: kubectl auth whoami")
            return
        raise
    user = answer.get("status", {}).get("userInfo", {}).get("username", "")
    yield Finding("credentials", "ok", f"you are {user}" if user else "the server takes your credentials")


def check_namespace(visit: Visit) -> Iterator[Finding]:
    name = visit.namespace
    answer = found(lambda: visible(lambda: visit.cluster.read(visit.cluster.core.read_namespace, name)) or {})
    if answer is None:
        fix = f"kubectl create namespace {name}, or in the site file: [kubernetes] namespace"
        yield Finding("namespace", "fail", f"namespace {name} is not there", fix)
    elif not answer:
        yield hidden("namespace", f"namespace {name}")
    else:
        yield _pod_security(visit, answer["metadata"].get("labels") or {})


def _pod_security(visit: Visit, labels: dict[str, str]) -> Finding:
    level = labels.get(ENFORCED, "")
    refused = [each for each in visit.settings.capabilities if level in POD_SECURITY and each not in POD_SECURITY[level]]
    if refused:
        fix = f"ask the administrators for: kubectl label namespace {visit.namespace} --overwrite {ENFORCED}=privileged"
        detail = f"namespace {visit.namespace} enforces {level} pods, which may not add {', '.join(refused)}"
        return Finding("namespace", "fail", detail, fix)
    return Finding("namespace", "ok", f"namespace {visit.namespace}{f', which enforces {level} pods' if level else ''}")


def check_image(visit: Visit) -> Iterator[Finding]:
    image = visit.patient.site.container.image or DEFAULT_IMAGE
    if "/" in image:
        yield Finding("image", "ok", f"image {image}")
        return
    fix = 'in the site file: [container] image = "REGISTRY/mdiff@sha256:..."'
    yield Finding("image", "warn", f"image {image} names no registry: it must be on every node already", fix)


def check_queue(visit: Visit) -> Iterator[Finding]:
    wanted = visit.settings.queue or visit.settings.labels.get(QUEUE_LABEL, "")
    queues = read_queues(visit.cluster)
    if queues is None:
        if wanted:
            yield hidden("queue", f"queue {wanted}")
        return
    names = ", ".join(queue.name for queue in queues)
    if not wanted and queues:
        fix = f'in the site file: [kubernetes] queue = "{queues[0].name}"'
        yield Finding("queue", "warn", f"the site names no queue, and namespace {visit.namespace} has {names}: jobs may never start", fix)
    elif wanted and wanted not in [queue.name for queue in queues]:
        detail = f"queue {wanted} is not there; namespace {visit.namespace} has {names or 'none (is Kueue installed?)'}"
        yield Finding("queue", "fail", detail, "in the site file: [kubernetes] queue")
    else:
        yield from (_queue(queue.name, queue.trouble) for queue in queues if queue.name == wanted)


def _queue(name: str, trouble: str) -> Finding:
    if trouble:
        return Finding("queue", "warn", f"queue {name} takes no jobs now: {trouble}", "ask the administrators of the queue")
    return Finding("queue", "ok", f"queue {name}")


def check_service_account(visit: Visit) -> Iterator[Finding]:
    name = visit.settings.service_account
    if name:
        fix = f"kubectl create serviceaccount --namespace {visit.namespace} {name}, or in the site file: [kubernetes] service_account"
        yield _presence(visit, "service account", name, visit.cluster.core.read_namespaced_service_account, fix)


def check_secrets(visit: Visit) -> Iterator[Finding]:
    """That they are there; what is in them stays with the server."""
    from kubernetes import client

    class OnlyMetadata(client.ApiClient):
        def select_header_accept(self, *_: Any) -> str:
            return METADATA

    reading = client.CoreV1Api(OnlyMetadata(visit.cluster.api.configuration)).read_namespaced_secret
    for setting, names in {"image_pull_secrets": visit.settings.image_pull_secrets, "secrets": visit.settings.secrets}.items():
        for name in names:
            fix = f"kubectl create secret ... {name} --namespace {visit.namespace}, or in the site file: [kubernetes] {setting}"
            yield _presence(visit, "secret", name, reading, fix)


def check_priority_class(visit: Visit) -> Iterator[Finding]:
    from kubernetes import client

    name = visit.settings.priority_class
    if name:
        reading = client.SchedulingV1Api(visit.cluster.api).read_priority_class
        yield _presence(visit, "priority class", name, reading, "in the site file: [kubernetes] priority_class", in_namespace=False)


def _presence(visit: Visit, kind: str, name: str, reading: Any, fix: str, in_namespace: bool = True) -> Finding:
    place = (visit.namespace,) if in_namespace else ()
    answer = visible(lambda: found(lambda: visit.cluster.read(reading, name, *place)) or {})
    if answer is None:
        return hidden(kind, f"{kind} {name}")
    if not answer:
        return Finding(kind, "fail", f"{kind} {name} is not there{f' in namespace {visit.namespace}' if in_namespace else ''}", fix)
    return Finding(kind, "ok", f"{kind} {name}")


def _on(visit: Visit, look: Look) -> Check:
    @wraps(look)
    def check(_: Patient) -> Any:
        return look(visit)

    return check


VITAL: tuple[Look, ...] = (check_server, check_credentials, check_namespace)
OTHERS: tuple[Look, ...] = (
    check_rights, check_job_kind, check_operator, check_nodes, check_quota, check_queue, check_claims, check_service_account,
    check_secrets, check_priority_class, check_image, check_trial_job,
)  # fmt: skip
