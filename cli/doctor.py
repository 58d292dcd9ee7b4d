"""`mdiff doctor`: is everything there that a job needs?"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from mdiff.errors import LaunchError

from .options import BackendOption, JsonOption, RunsDirOption, SiteOption, backend_name

if TYPE_CHECKING:
    from mdiff.launch.doctor import Checks, Finding, Patient

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(
    backend: BackendOption = None,
    site: SiteOption = None,
    runs_dir: RunsDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check everything that a job needs, and say how to mend what is not right.

    On SLURM a tiny job is part of it, on Kubernetes one that the server only checks (dry run).
    Without --backend and site file: this machine. Exit code 4 if anything fails.

    \b
      mdiff doctor
      mdiff doctor --backend slurm
      mdiff doctor --backend kubernetes
      mdiff doctor --json | jq '.[] | select(.verdict == "fail")'
    """
    from mdiff.launch.doctor import Patient, examine
    from mdiff.launch.place import find_site, open_run, read_site, visible_gpus

    the_site = find_site(backend_name(backend) or (None if read_site(site) else "local"), site, visible_gpus)
    patient = Patient(the_site, open_run("any", runs_dir, the_site).path.parent)
    findings = []
    for finding in examine(patient, _checks(patient)):
        findings.append(finding)
        if not as_json:
            _print(finding)
    typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2) if as_json else _total(findings))
    if any(finding.verdict == "fail" for finding in findings):
        raise typer.Exit(LaunchError.exit_code)


def _checks(patient: "Patient") -> "Checks":
    from mdiff.launch.kubernetes.doctor import kubernetes_checks
    from mdiff.launch.local_doctor import LOCAL_CHECKS
    from mdiff.launch.slurm.doctor import SLURM_CHECKS

    if patient.site.backend == "kubernetes":
        return kubernetes_checks(patient)
    return SLURM_CHECKS if patient.site.backend == "slurm" else LOCAL_CHECKS


def _print(finding: "Finding") -> None:
    verdict = typer.style(f"{finding.verdict:<4}", fg=COLOURS[finding.verdict])
    typer.echo(f"  {verdict}  {finding.detail}")
    if finding.fix:
        typer.echo(f"          {finding.fix}")


def _total(findings: Sequence["Finding"]) -> str:
    counts = {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in ("fail", "warn")}
    failures, warnings = (
        f"{count} {word}{'s' if count != 1 else ''}" for word, count in zip(("failure", "warning"), counts.values(), strict=True)
    )
    return f"{failures}, {warnings}"
