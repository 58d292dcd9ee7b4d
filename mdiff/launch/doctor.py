"""Checks of what a job needs: each finds out one thing, and says how to mend it. Here what all places have in common."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from mdiff.errors import LaunchError
from mdiff.launch.job import job_environment, job_python, job_run_dir
from mdiff.launch.place import Place
from mdiff.recipe.job import JobSpec
from mdiff.recipe.price import PAPER_PRICE
from mdiff.recipe.site import Site
from mdiff.run_dir import RunDir

TRIAL_NAME = "mdiff-doctor"

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    check: str
    """Short name of what was looked at."""
    verdict: Verdict
    detail: str
    fix: str = ""
    """What to do about it; "" where all is well, or where `detail` says it."""


@dataclass(frozen=True)
class Patient:
    """What is examined."""

    site: Site
    runs_root: Path


Check = Callable[[Patient], Iterable[Finding]]


@dataclass(frozen=True)
class Checks:
    vital: tuple[Check, ...]
    """If one of them fails, the others cannot be made."""
    others: tuple[Check, ...]


def examine(patient: Patient, checks: Checks) -> Iterator[Finding]:
    """Findings as they come: a check may take a minute."""
    alive = True
    for check in checks.vital:
        for finding in _made(check, patient):
            alive = alive and finding.verdict != "fail"
            yield finding
        if not alive:
            yield Finding("other checks", "warn", "all other checks need this, and were not made")
            return
    for check in checks.others:
        yield from _made(check, patient)


def _made(check: Check, patient: Patient) -> Iterator[Finding]:
    """A command that does not answer, or answers oddly, is a failure in its own words."""
    name = check.__name__.removeprefix("check_").replace("_", " ")
    try:
        yield from check(patient)
    except LaunchError as error:
        problem, _, advice = str(error).partition("\n")
        yield Finding(name, "fail", f"{name}: {problem}", advice.strip())


def check_runs_root(patient: Patient) -> Iterator[Finding]:
    root, name = patient.runs_root, "run directory"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=root, prefix=".mdiff-doctor-"):
            pass
    except OSError as error:
        fix = 'choose another one: --runs-dir, or runs_dir = "..." in the site file'
        yield Finding(name, "fail", f"{name} {root} cannot be written: {error.strerror}", fix)
        return
    yield Finding(name, "ok", f"{name} {root} can be written from here")


def check_price(patient: Patient) -> Iterator[Finding]:
    """An unknown price is never $0, and one that was only assumed is not the bill."""
    site = patient.site
    init = f"mdiff site init --backend {site.backend}"
    if site.price is None:
        fix = f"write [price] into the site file, or make a new one: {init}"
        yield Finding("price", "fail", f"price: an hour of {site.hardware.device} has no known price", fix)
        return
    text = f"price: {site.price}".replace("{unit}", "process" if site.hardware.device == "cpu" else "GPU")
    yield Finding("price", "warn", text, init) if site.price == PAPER_PRICE else Finding("price", "ok", text)


def trial_job(patient: Patient) -> JobSpec:
    """A job as the site would have it, without a recipe."""
    site = patient.site
    place = Place(site, site.hardware, site.price or PAPER_PRICE)
    return JobSpec(
        kind="train",
        run="doctor",
        name=TRIAL_NAME if site.backend == "kubernetes" else "",
        run_dir=job_run_dir(place, RunDir(patient.runs_root / "doctor")),
        argv=(job_python(place),),
        backend=site.backend,
        hardware=site.hardware,
        grace_seconds=site.grace_seconds,
        environment=job_environment(place),
        price=place.price,
        limit_usd=Decimal(0),
        container=site.container,
        slurm=site.slurm if site.backend == "slurm" else None,
        kubernetes=site.kubernetes if site.backend == "kubernetes" else None,
    )
