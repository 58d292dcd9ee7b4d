"""One look of the doctor at a cluster: one connection, and one job as the site would have it, for all checks."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from mdiff.launch.doctor import TRIAL_NAME, Finding, Patient, trial_job
from mdiff.launch.kubernetes.connection import Cluster, open_cluster
from mdiff.launch.kubernetes.manifest import pytorch_job
from mdiff.launch.kubernetes.nodes import quantity
from mdiff.launch.kubernetes.survey import HIDDEN
from mdiff.recipe.job import Submission
from mdiff.recipe.kubernetes_settings import KubernetesSettings
from mdiff.units import utc_now


@dataclass(frozen=True)
class Visit:
    patient: Patient

    @cached_property
    def cluster(self) -> Cluster:
        """
        Raises:
            LaunchError: there is no kubeconfig, or no such context.
        """
        return open_cluster(self.settings)

    @property
    def settings(self) -> KubernetesSettings:
        return self.patient.site.kubernetes

    @property
    def namespace(self) -> str:
        return self.cluster.namespace

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """A job as the site would have it, without a recipe."""
        job = trial_job(self.patient)
        submission = Submission(id=TRIAL_NAME, submitted_at=utc_now().isoformat(), job=job, recipe_toml="", reservation_usd=Decimal(0))
        return pytorch_job(submission)

    @property
    def pod(self) -> dict[str, Any]:
        """The spec of each of the job's pods."""
        return self.manifest["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]

    @property
    def demands(self) -> dict[str, Decimal]:
        """What each pod asks for; limits are requests where there are no others."""
        resources = self.pod["containers"][0].get("resources") or {}
        return _amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})

    @property
    def limits(self) -> dict[str, Decimal]:
        return _amounts((self.pod["containers"][0].get("resources") or {}).get("limits") or {})


Look = Callable[[Visit], Iterable[Finding]]


def hidden(check: str, what: str, why_it_matters: str = "") -> Finding:
    """What a Role does not let this user see is no failure: jobs do not need it."""
    return Finding(check, "warn", f"{what} {HIDDEN}{f'; {why_it_matters}' if why_it_matters else ''}")


def _amounts(texts: Mapping[str, str]) -> dict[str, Decimal]:
    return {name: quantity(text) for name, text in texts.items()}
