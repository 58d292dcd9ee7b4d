"""May this user do what mdiff does? The server is asked about each thing; a Role of deploy/rbac.yaml grants them all."""

from collections.abc import Iterator

from mdiff.launch.doctor import Finding
from mdiff.launch.kubernetes.names import GROUP, PLURAL
from mdiff.launch.kubernetes.visit import Visit

NEEDED = {
    ("", "pods", ""): ("get", "list", "watch"),
    ("", "pods", "log"): ("get",),
    (GROUP, PLURAL, ""): ("get", "list", "watch", "create", "delete"),
}
"""(API group, resource, subresource) -> verbs."""


def check_rights(visit: Visit) -> Iterator[Finding]:
    missing = [text for (kind, verbs) in NEEDED.items() if (text := _missing(visit, kind, verbs))]
    if not missing:
        yield Finding("rights", "ok", f"rights: pods, their logs and PyTorchJobs in namespace {visit.namespace}")
        return
    fix = f"an administrator grants them: kubectl apply --namespace {visit.namespace} -f deploy/rbac.yaml"
    yield Finding("rights", "fail", f"rights: in namespace {visit.namespace} you may not {'; '.join(missing)}", fix)


def _missing(visit: Visit, kind: tuple[str, str, str], verbs: tuple[str, ...]) -> str:
    """get, list pods"""
    refused = [verb for verb in verbs if not may(visit, kind, verb)]
    group, resource, subresource = kind
    name = resource + (f".{group}" if group else "") + (f"/{subresource}" if subresource else "")
    return f"{', '.join(refused)} {name}" if refused else ""


def may(visit: Visit, kind: tuple[str, str, str], verb: str) -> bool:
    from kubernetes import client

    group, resource, subresource = kind
    attributes = {"namespace": visit.namespace, "verb": verb, "group": group, "resource": resource, "subresource": subresource}
    review = client.AuthorizationV1Api(visit.cluster.api).create_self_subject_access_review
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}
    return bool(visit.cluster.read(review, body).get("status", {}).get("allowed"))
