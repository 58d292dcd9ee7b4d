"""One look of the doctor at a cluster: one connection, and one job as the site would have it, for all checks."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from mdiff.launch.doctor import Finding, Patient
from mdiff.launch.job import job_environment, job_python, job_run_dir
from mdiff.launch.kubernetes.connection import Cluster, open_cluster
from mdiff.launch.kubernetes.manifest import pytorch_job
from mdiff.launch.kubernetes.nodes import quantity
from mdiff.launch.kubernetes.survey import HIDDEN
from mdiff.launch.place import Place
from mdiff.recipe.job import JobSpec, Submission
from mdiff.recipe.kubernetes_settings import KubernetesSettings
from mdiff.recipe.price import PAPER_PRICE
from mdiff.run_dir import RunDir
from mdiff.units import utc_now

JOB_NAME = "mdiff-doctor"


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
        submission = Submission(id=JOB_NAME, submitted_at=utc_now().isoformat(), job=job, recipe_toml="", reservation_usd=Decimal(0))
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


def trial_job(patient: Patient) -> JobSpec:
    site = patient.site
    place = Place(site, site.hardware, site.price or PAPER_PRICE)
    return JobSpec(
        kind="train",
        run="doctor",
        name=JOB_NAME,
        run_dir=job_run_dir(place, RunDir(patient.runs_root / "doctor")),
        argv=(job_python(place),),
        backend="kubernetes",
        hardware=site.hardware,
        grace_seconds=site.grace_seconds,
        environment=job_environment(place),
        price=place.price,
        limit_usd=Decimal(0),
        container=site.container,
        kubernetes=site.kubernetes,
    )


def hidden(check: str, what: str, why_it_matters: str = "") -> Finding:
    """What a Role does not let this user see is no failure: jobs do not need it."""
    return Finding(check, "warn", f"{what} {HIDDEN}{f'; {why_it_matters}' if why_it_matters else ''}")


def _amounts(texts: Mapping[str, str]) -> dict[str, Decimal]:
    return {name: quantity(text) for name, text in texts.items()}
