"""Where a job runs: which site, hardware and price apply."""

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from mdiff.errors import RecipeError, UsageError
from mdiff.recipe.price import EXAMPLE_PRICE, Price
from mdiff.recipe.site import BackendName, Hardware, Site, built_in_site, load_site, user_site_file
from mdiff.run_dir import RunDir

RUNS_VARIABLE = "MDIFF_RUNS"
MOST_CPU_PROCESSES = 2
"""More of them teach the demo nothing, and leave a laptop no core."""
NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")


@dataclass(frozen=True)
class Place:
    """Everything about a job that is not science."""

    site: Site
    hardware: Hardware
    price: Price

    @property
    def backend(self) -> BackendName:
        return self.site.backend

    @property
    def unit(self) -> str:
        """What an hour is billed of."""
        return "process" if self.hardware.device == "cpu" else "GPU"

    def __str__(self) -> str:
        """
        >>> print(Place(built_in_site("slurm"), Hardware(), EXAMPLE_PRICE))
        slurm, 1 node of 8 x H100
        """
        nodes, device = self.hardware.nodes, self.hardware.device
        count = self.hardware.devices_per_node
        each = f"{count} x {device}" if device != "cpu" else f"{count} process{'es' if count > 1 else ''} on the CPU"
        if self.backend == "local":
            return f"local, {each}"
        return f"{self.backend}, {nodes} node{'s' if nodes > 1 else ''} of {each}"


def resolve_place(
    backend: BackendName | None = None,
    site_file: Path | None = None,
    *,
    nodes: int | None = None,
    usd_per_gpu_hour: Decimal | None = None,
    gpus: Callable[[], Sequence[str]] | None = None,
) -> Place:
    """The place that flags and the site file describe together; flags win.

    Args:
        backend: None: the site file's.
        site_file: None: the user's site file, if there is one.
        gpus: names of the GPUs of this machine; asked for the local backend only.

    Raises:
        UsageError: there is neither a backend nor a site file.
        RecipeError: the site file is wrong, is for another backend, or the price is unknown.
    """
    site = find_site(backend, site_file, gpus or visible_gpus)
    hardware = site.hardware if nodes is None else site.hardware.model_copy(update={"nodes": nodes})
    return Place(site, hardware, _price(site, hardware, usd_per_gpu_hour))


def find_site(backend: BackendName | None, site_file: Path | None, gpus: Callable[[], Sequence[str]]) -> Site:
    """The site file's, if it is for this backend, else the built-in one."""
    path, site = site_file or user_site_file(), read_site(site_file)
    if site is not None and backend in (None, site.backend):
        return site
    if backend is None:
        raise UsageError(f"--backend: say where to run: local, slurm or kubernetes (there is no site file {path} that would say it)")
    if site is not None and (site_file or backend != "local"):
        problem = f"does not fit --backend {backend}; take another site file: --site FILE"
        raise RecipeError(f'backend = "{site.backend}"', problem, where=str(path))
    if backend != "local":
        return built_in_site(backend)
    # A cluster's site file still says where this user's runs and data lie.
    known = {"runs_dir": site.runs_dir, "datasets": site.datasets} if site else {}
    return this_machine(gpus()).model_copy(update=known)


def read_site(site_file: Path | None) -> Site | None:
    """The site file that was asked for, else the user's own; None if there is none."""
    path = site_file or user_site_file()
    return load_site(path) if site_file or path.is_file() else None


def this_machine(gpu_names: Sequence[str]) -> Site:
    """All its GPUs, at a price that only the user knows; without GPUs a few processes, at the example price."""
    if gpu_names:
        return Site(name="this machine", backend="local", hardware=Hardware(device=gpu_names[0], devices_per_node=len(gpu_names)))
    processes = min(MOST_CPU_PROCESSES, usable_cores())
    return Site(name="this machine", backend="local", hardware=Hardware(device="cpu", devices_per_node=processes), price=EXAMPLE_PRICE)


def visible_gpus() -> list[str]:
    """Names of this machine's GPUs, as the driver tells them; empty without a driver."""
    try:
        answer = subprocess.run(NVIDIA_SMI, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()] if answer.returncode == 0 else []


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_per_process(hardware: Hardware) -> int:
    """Of each process on the CPU, so that together they use the machine once."""
    return max(1, usable_cores() // hardware.devices_per_node)


def open_run(run: str, runs_dir: Path | None, site: Site | None) -> RunDir:
    """The directory of a run; it need not be there yet. --runs-dir, else MDIFF_RUNS, else the site's, else ./runs."""
    root = runs_dir or os.environ.get(RUNS_VARIABLE) or (site.runs_dir if site else "") or "runs"
    return RunDir(Path(root).expanduser().absolute() / run)


def _price(site: Site, hardware: Hardware, usd_per_gpu_hour: Decimal | None) -> Price:
    if usd_per_gpu_hour is not None:
        return Price(usd_per_gpu_hour=usd_per_gpu_hour, source="--usd-per-gpu-hour", basis="flag")
    if site.price is None:
        problem = f"an hour of {hardware.device} has no known price; pass --usd-per-gpu-hour, or write [price] into the site file"
        raise RecipeError("price", problem, where=site.name)
    return site.price
