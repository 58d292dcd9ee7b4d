"""The volumes of a job: are their claims there, bound, and for as many nodes as a job has?"""

from collections.abc import Iterator

from mdiff.launch.doctor import Finding
from mdiff.launch.kubernetes.survey import MANY_WRITERS, Claim, found, parse_claim, visible
from mdiff.launch.kubernetes.visit import Visit, hidden

MANY_READERS = "ReadOnlyMany"
BOUND_LATER = "WaitForFirstConsumer"


def check_claims(visit: Visit) -> Iterator[Finding]:
    yield _claim(visit, "runs_claim", (MANY_WRITERS,))
    # Data sets are mounted read-only.
    yield _claim(visit, "data_claim", (MANY_WRITERS, MANY_READERS))


def _claim(visit: Visit, setting: str, modes: tuple[str, ...]) -> Finding:
    name, check = getattr(visit.settings, setting), setting.replace("_", " ")
    reading = visit.cluster.core.read_namespaced_persistent_volume_claim
    answer = visible(lambda: found(lambda: visit.cluster.read(reading, name, visit.namespace)) or {})
    if answer is None:
        return hidden(check, f"claim {name}", "a job waits for ever if it is not there")
    if not answer:
        fix = f"kubectl get pvc --namespace {visit.namespace} shows what is there; make one, or in the site file: [kubernetes] {setting}"
        return Finding(check, "fail", f"claim {name} is not there in namespace {visit.namespace}", fix)
    claim, nodes = parse_claim(answer), visit.patient.site.hardware.nodes
    if nodes > 1 and not set(modes) & set(claim.modes):
        detail = f"claim {claim} is for one node, and a job takes {nodes}: it must be {' or '.join(modes)}"
        return Finding(check, "fail", detail, f"make a claim with accessModes: [{modes[0]}], or in the site file: [kubernetes] {setting}")
    return _binding(visit, check, claim)


def _binding(visit: Visit, check: str, claim: Claim) -> Finding:
    if claim.phase == "Bound":
        return Finding(check, "ok", f"claim {claim}: Bound")
    fix = f"see why: kubectl describe pvc {claim.name} --namespace {visit.namespace}"
    if claim.phase == "Pending":
        mode = _binding_mode(visit, claim.storage_class) if claim.storage_class else ""
        if mode == BOUND_LATER:
            return Finding(check, "ok", f"claim {claim}: Pending, and bound when the first pod needs it ({BOUND_LATER})")
        if mode is None:
            return Finding(check, "warn", f"claim {claim}: Pending; whether a first pod would bind it cannot be seen with your rights", fix)
    return Finding(check, "fail", f"claim {claim}: {claim.phase}", fix)


def _binding_mode(visit: Visit, storage_class: str) -> str | None:
    """None where this user may not see it, "" where there is no such class."""
    from kubernetes import client

    reading = client.StorageV1Api(visit.cluster.api).read_storage_class
    answer = visible(lambda: found(lambda: visit.cluster.read(reading, storage_class)) or {})
    return None if answer is None else answer.get("volumeBindingMode", "")
