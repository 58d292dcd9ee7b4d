"""What a job on this machine needs."""

import importlib.util
from collections.abc import Iterator

from mdiff.launch.doctor import Checks, Finding, Patient, check_price, check_runs_root
from mdiff.launch.place import usable_cores, visible_gpus

NEEDED = ("torch", "safetensors")
"""The packages of mdiff[train] without which nothing trains."""


def check_cores(patient: Patient) -> Iterator[Finding]:
    cores = usable_cores()
    yield Finding("cores", "ok", f"{cores} core{'s' if cores > 1 else ''} for this process")


def check_gpus(patient: Patient) -> Iterator[Finding]:
    names, hardware = visible_gpus(), patient.site.hardware
    count = hardware.devices_per_node
    if hardware.device == "cpu":
        unused = f"; {len(names)} x {names[0]} stay unused" if names else ""
        yield Finding("gpus", "ok", f"jobs run on the CPU, {count} process{'es' if count > 1 else ''}{unused}")
    elif len(names) < count:
        fix = "[hardware] of the site file says what a job gets: device, devices_per_node"
        yield Finding("gpus", "fail", f"nvidia-smi shows {len(names)} GPUs, and the site says {count} x {hardware.device}", fix)
    else:
        yield Finding("gpus", "ok", f"{len(names)} x {names[0]}")


def check_packages(patient: Patient) -> Iterator[Finding]:
    """Looks for them without loading them: torch alone takes seconds."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        yield Finding("packages", "fail", f"this Python lacks {', '.join(missing)}", "pip install 'mdiff[train]'")
    else:
        yield Finding("packages", "ok", f"{' and '.join(NEEDED)} are there")


LOCAL_CHECKS = Checks(vital=(), others=(check_cores, check_gpus, check_packages, check_runs_root, check_price))
