"""The text of a new site file. Prose begins with "# "; a line that begins with "#" alone is a setting that waits to be used."""

import math
from dataclasses import dataclass

from mdiff.launch.kubernetes import site_text as kubernetes
from mdiff.launch.kubernetes.nodes import NodeGroup
from mdiff.launch.kubernetes.survey import Survey
from mdiff.launch.site_lines import setting
from mdiff.launch.slurm.cluster import NodeKind, Partition
from mdiff.launch.slurm.survey import gpu_types, gpus_of, main_kind
from mdiff.recipe.devices import DEVICES, device_named
from mdiff.recipe.price import Price
from mdiff.recipe.site import Site
from mdiff.units import duration_text

USUAL_DEVICE = "H100"
"""Where a cluster does not say which GPUs it has."""


@dataclass(frozen=True, kw_only=True)
class NewSite:
    """What was chosen, and what was seen meanwhile."""

    site: Site
    written_on: str
    """ISO date."""
    partition: Partition | None = None
    accounts: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    cluster: Survey | None = None
    """Kubernetes: what it offers, and the nodes that were chosen."""
    group: NodeGroup | None = None


def device_of(gpu_type: str) -> str:
    """Our name for a type of GPU; where we have none, the cluster's own in capitals.

    >>> device_of("h100"), device_of("nvidia_a100_80gb"), device_of("v100"), device_of("")
    ('H100', 'A100', 'V100', 'H100')
    """
    known = device_named(gpu_type)
    return known.name if known else gpu_type.upper() or USUAL_DEVICE


def gres_of(partition: Partition) -> str:
    """Which GPUs to ask for where a partition has several types of them; "" where any will do."""
    kind = main_kind(partition)
    return f"gpu:{kind.gpu_type}:{kind.gpus}" if kind.gpu_type and len(gpu_types(partition)) > 1 else ""


def site_text(new: NewSite) -> str:
    """A whole site file, which loads as `new.site`."""
    return "\n\n".join([_head(new), _hardware(new), _price(new.site.price), *_place(new)]) + "\n"


def _place(new: NewSite) -> list[str]:
    """What only this kind of place has, and what jobs there find."""
    if new.cluster:
        tables = [kubernetes.container_text(new.site), kubernetes.kubernetes_text(new.site, new.cluster)]
        return [*tables, kubernetes.datasets_text(new.site), kubernetes.environment_text()]
    slurm = [_slurm(new), _container(new)] if new.site.backend == "slurm" else []
    return [*slurm, _datasets(), _environment()]


def _head(new: NewSite) -> str:
    site = new.site
    where = {
        "local": "# Run directories lie here.",
        "slurm": "# Run directories lie here, on a file system that compute nodes see.",
        "kubernetes": "# On this machine, where what the cluster tells of each run is kept; run directories lie on the claim below.",
    }
    return "\n".join(
        [
            f"# Site file of mdiff: where jobs run, and what an hour there costs. Made by `mdiff site init` on {new.written_on}.",
            f"# All settings with their defaults: mdiff site show      Is all there that jobs need? mdiff doctor --backend {site.backend}",
            "",
            setting("name", site.name),
            setting("backend", site.backend),
            where[site.backend],
            setting("runs_dir", site.runs_dir),
            "# How long a job that was asked to stop may take for its checkpoint; large models on slow disks need more.",
            "#grace_seconds = 300.0",
        ]
    )


def _hardware(new: NewSite) -> str:
    hardware = new.site.hardware
    facts = [f"# {line}" for line in _hardware_facts(new)]
    values = [setting(name, getattr(hardware, name)) for name in ("device", "nodes", "devices_per_node")]
    return "\n".join(["[hardware]", "# What one job gets.", *facts, *values])


def _hardware_facts(new: NewSite) -> list[str]:
    device, partition = new.site.hardware.device, new.partition
    lines = kubernetes.hardware_facts(new.cluster, new.group) if new.cluster else []
    lines += [partition_text(partition)] if partition else []
    if partition and not gpu_types(partition):
        lines.append("The cluster does not say which GPUs these are: check the device.")
    if device_named(device) is None:
        lines.append(f"The speed of {device} is not known, so jobs there have no estimate; known are {', '.join(DEVICES)}.")
    return lines


def partition_text(partition: Partition) -> str:
    """partition h100: 12 nodes x 8 h100, 96 CPUs each, MaxTime 4 h 0 min"""
    kinds = " + ".join(f"{kind.count} node{'s' if kind.count != 1 else ''} x {_gpus(kind)}" for kind in partition.kinds)
    cpus = sorted({kind.cpus for kind in partition.kinds if kind.gpus or not gpus_of(partition)})
    limit = "unlimited" if math.isinf(partition.max_seconds) else duration_text(partition.max_seconds)
    return f"partition {partition.name}: {kinds}, {' or '.join(map(str, cpus))} CPUs each, MaxTime {limit}"


def _gpus(kind: NodeKind) -> str:
    return f"{kind.gpus} {kind.gpu_type or 'GPUs'}" if kind.gpus else "no GPU"


def _price(price: Price | None) -> str:
    if price is None:
        raise ValueError("a site file needs a price: expected a Price, got None")
    basis = [] if price.basis == "site" else [setting("basis", price.basis)]
    date = [setting("read_on", price.read_on)] if price.read_on else []
    unit = "# Of one GPU; on a machine without GPUs, of one process."
    return "\n".join(["[price]", unit, setting("usd_per_gpu_hour", price.usd_per_gpu_hour), setting("source", price.source), *date, *basis])


def _slurm(new: NewSite) -> str:
    slurm = new.site.slurm
    chosen = [setting(name, value) for name in ("partition", "account", "gres") if (value := getattr(slurm, name))]
    others = [f"# Your accounts: {', '.join(new.accounts)}"] if len(new.accounts) > 1 else []
    account = [] if slurm.account else ['#account = "my-project"']
    return "\n".join(
        [
            "[slurm]",
            "# Names are sbatch's own; what is left out is the cluster's choice.",
            *others,
            *chosen,
            *account,
            '#qos = "normal"',
            "# Of one attempt; without it as long as the job may take, at most the partition's MaxTime.",
            "#time_limit_hours = 4.0",
            "# Interpreter on the compute nodes, with mdiff[train]; without it, the one that runs mdiff here.",
            '#python = "/shared/venv/bin/python"',
            "# Shell lines before a job begins.",
            '#setup = ["module load cuda"]',
            "# Any other option of sbatch, without its dashes.",
            "#[slurm.sbatch]",
            '#mail-type = "FAIL"',
        ]
    )


def _container(new: NewSite) -> str:
    seen = (
        f"# Seen here: {', '.join(new.runtimes)}." if new.runtimes else "# No container runtime was seen here; compute nodes may have one."
    )
    pyxis = "pyxis" in new.runtimes or not {"apptainer", "singularity"} & set(new.runtimes)
    runtime, image = ("pyxis", "/shared/mdiff.sqsh") if pyxis else ("apptainer", "/shared/mdiff.sif")
    other = "apptainer takes a .sif file" if pyxis else "pyxis takes a .sqsh file or REGISTRY#NAME:TAG"
    return "\n".join(
        [
            f"# Jobs may run in a container ({other}).",
            seen,
            "#[container]",
            f"#{setting('runtime', runtime)}",
            f"#{setting('image', image)}",
            "# The folder of the runs and the data sets must be among the mounts, under the same path.",
            f"#mounts = [{setting('x', new.site.runs_dir).removeprefix('x = ')}]",
        ]
    )


def _datasets() -> str:
    return '# Folder of each data set; one that is not named lies in ./data/<name>.\n#[datasets]\n#sa1b = "/shared/data/sa1b"'


def _environment() -> str:
    return '# Variables of every job.\n#[environment]\n#NCCL_DEBUG = "WARN"'
