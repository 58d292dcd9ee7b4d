"""The training operator: does the cluster know PyTorchJobs, does the operator run, and would it take a job of this site?"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from mdiff.launch.doctor import Finding
from mdiff.launch.kubernetes.connection import Object
from mdiff.launch.kubernetes.names import API_VERSION, GROUP, PLURAL, VERSION
from mdiff.launch.kubernetes.pod import CONTAINER
from mdiff.launch.kubernetes.refusals import OPERATOR, RefusedError
from mdiff.launch.kubernetes.survey import found, is_served, visible
from mdiff.launch.kubernetes.visit import Visit, hidden

DEPLOYMENT, USUAL_NAMESPACE = "training-operator", "kubeflow"
SUCCESSOR = ("trainer.kubeflow.org", "v1alpha1", "trainjobs")
MADE_WITH = "controller-gen.kubebuilder.io/version"
INSTALL = f"an administrator installs it: kubectl apply -k '{OPERATOR}'"


def check_job_kind(visit: Visit) -> Iterator[Finding]:
    if is_served(visit.cluster, GROUP, VERSION, PLURAL):
        yield Finding("PyTorchJob", "ok", f"PyTorchJob {API_VERSION} is served")
        return
    other = "; it has the operator's successor, whose TrainJob is another kind" if is_served(visit.cluster, *SUCCESSOR) else ""
    yield Finding("PyTorchJob", "fail", f"the cluster knows no PyTorchJob {API_VERSION}: no training operator is installed{other}", INSTALL)


def check_operator(visit: Visit) -> Iterator[Finding]:
    if not is_served(visit.cluster, GROUP, VERSION, PLURAL):
        return
    deployment, may_look = _find_deployment(visit)
    if deployment:
        yield _deployment_finding(deployment)
    elif may_look:
        detail = f"operator: no deployment {DEPLOYMENT} in this cluster{_crd_text(visit)}"
        yield Finding("operator", "warn", detail, "look under what name it runs: kubectl get deployments --all-namespaces")
    else:
        yield hidden("operator", f"operator: its deployment{_crd_text(visit)}")


def _find_deployment(visit: Visit) -> tuple[Object | None, bool]:
    """The operator's, and whether this user may see where it could be."""
    from kubernetes import client

    apps = client.AppsV1Api(visit.cluster.api)
    usual = visible(lambda: found(lambda: visit.cluster.read(apps.read_namespaced_deployment, DEPLOYMENT, USUAL_NAMESPACE)) or {})
    if usual:
        return usual, True
    called = {"field_selector": f"metadata.name={DEPLOYMENT}"}
    everywhere = visible(lambda: visit.cluster.listed(apps.list_deployment_for_all_namespaces, **called))
    return next(iter(everywhere or ()), None), everywhere is not None


def _deployment_finding(deployment: Mapping[str, Any]) -> Finding:
    text, ready = operator_text(deployment), deployment.get("status", {}).get("availableReplicas", 0)
    if ready:
        return Finding("operator", "ok", f"operator: {text}")
    namespace = deployment["metadata"]["namespace"]
    fix = f"ask the administrators: kubectl describe deployment {DEPLOYMENT} --namespace {namespace}"
    return Finding("operator", "fail", f"operator: {text} does not run: 0 pods are available", fix)


def operator_text(deployment: Mapping[str, Any]) -> str:
    """
    >>> image = {"image": "docker.io/kubeflow/training-operator:v1-855e096@sha256:1f"}
    >>> operator_text({"metadata": {"namespace": "ml"}, "spec": {"template": {"spec": {"containers": [image]}}}})
    'training-operator v1-855e096 in namespace ml'
    """
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2] or digest or "of unknown version"
    return f"{DEPLOYMENT} {tag} in namespace {deployment['metadata']['namespace']}"


def _crd_text(visit: Visit) -> str:
    """What the definition of PyTorchJobs tells of its age."""
    from kubernetes import client

    reading = client.ApiextensionsV1Api(visit.cluster.api).read_custom_resource_definition
    definition = visible(lambda: found(lambda: visit.cluster.read(reading, f"{PLURAL}.{GROUP}")) or {}) or {}
    made_with = definition.get("metadata", {}).get("annotations", {}).get(MADE_WITH, "")
    return f" (its definition was made with controller-gen {made_with})" if made_with else ""


def check_trial_job(visit: Visit) -> Iterator[Finding]:
    """The whole way into the cluster, admission and quota included; the server forgets it at once."""
    if not is_served(visit.cluster, GROUP, VERSION, PLURAL):
        return
    try:
        visit.cluster.create_job(visit.manifest, dry_run=True)
    except RefusedError as error:
        problem, _, advice = str(error).partition("\n")
        if "cannot create resource" in problem:
            yield Finding("trial job", "warn", "trial job (dry run): could not try it, for you may not create PyTorchJobs")
            return
        yield Finding("trial job", "fail", f"trial job (dry run): {problem}", _advice(problem) or advice.strip())
        return
    yield Finding("trial job", "ok", f"trial job (dry run): the server would take it, and {_webhook_text(visit)}")


def _webhook_text(visit: Visit) -> str:
    """A webhook that does its work refuses a job whose container has a wrong name."""
    wrong = copy.deepcopy(visit.manifest)
    for replica in wrong["spec"]["pytorchReplicaSpecs"].values():
        replica["template"]["spec"]["containers"][0]["name"] = f"not-{CONTAINER}"
    try:
        visit.cluster.create_job(wrong, dry_run=True)
    except RefusedError:
        return "the operator's webhook answers"
    return "no webhook of the operator looks at jobs"


def _advice(problem: str) -> str:
    if "failed calling webhook" in problem:
        return f"ask the administrators: the operator's webhook does not answer; is {DEPLOYMENT} running?"
    return "" if "forbidden" in problem or "quota" in problem else "in the site file: the setting of what the message names"
