"""What a SLURM cluster offers to a user who writes a site file: partitions with GPUs, accounts, container runtimes."""

import shutil
from dataclasses import dataclass

from mdiff.errors import LaunchError, UsageError
from mdiff.launch.local import user_name
from mdiff.launch.slurm.cluster import NodeKind, Partition, read_partitions, run_slurm

PYXIS_FLAG = "--container-image"
RUNTIMES = ("apptainer", "singularity", "enroot")


@dataclass(frozen=True, kw_only=True)
class Survey:
    cluster: str
    """Its name; "" where it does not tell."""
    partitions: tuple[Partition, ...]
    """Those with GPUs, most GPUs first."""
    accounts: tuple[str, ...]
    """That the user may charge; none where there is no accounting."""
    runtimes: tuple[str, ...]
    """Container runtimes that this machine sees: pyxis, apptainer, singularity, enroot."""

    def partition(self, name: str) -> Partition:
        """
        Raises:
            UsageError: there is none of this name with GPUs.
        """
        found = next((partition for partition in self.partitions if partition.name == name), None)
        if found is None:
            raise UsageError(f"--partition {name}: no such partition with GPUs; this cluster has: {', '.join(self.partition_names)}")
        return found

    @property
    def partition_names(self) -> list[str]:
        return [partition.name for partition in self.partitions]


def survey_cluster() -> Survey:
    """
    Raises:
        LaunchError: the cluster does not answer, or no partition has GPUs.
    """
    partitions = sorted((each for each in read_partitions() if main_kind(each).gpus), key=gpus_of, reverse=True)
    if not partitions:
        raise LaunchError(
            "no partition of this cluster has GPUs (sinfo --format='%P %G'); look on its other login nodes, or ask its administrators"
        )
    return Survey(
        cluster=read_config().get("ClusterName", ""),
        partitions=tuple(partitions),
        accounts=read_accounts(),
        runtimes=seen_runtimes(),
    )


def gpus_of(partition: Partition) -> int:
    return sum(kind.count * kind.gpus for kind in partition.kinds)


def main_kind(partition: Partition) -> NodeKind:
    """The kind of node that brings most of a partition's GPUs."""
    return max(partition.kinds, key=lambda kind: kind.count * kind.gpus)


def gpu_types(partition: Partition) -> list[str]:
    """As the cluster calls them; empty where it does not."""
    return list(dict.fromkeys(kind.gpu_type for kind in partition.kinds if kind.gpu_type))


def read_accounts() -> tuple[str, ...]:
    """Of this user. Not every cluster keeps accounts, and that is no error."""
    try:
        answer = run_slurm("sacctmgr", "-n", "-P", "list", "associations", f"user={user_name()}", "format=Account")
    except LaunchError:
        return ()
    return tuple(dict.fromkeys(line.strip() for line in answer.splitlines() if line.strip()))


def read_config() -> dict[str, str]:
    """What `scontrol show config` says; empty where it says nothing."""
    try:
        return parse_config(run_slurm("scontrol", "show", "config"))
    except LaunchError:
        return {}


def parse_config(text: str) -> dict[str, str]:
    """
    >>> parse_config("JobRequeue              = 1")
    {'JobRequeue': '1'}
    """
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, sign, value in pairs if sign and not name.startswith(" ")}


def seen_runtimes() -> tuple[str, ...]:
    pyxis = ("pyxis",) if has_pyxis() else ()
    return (*pyxis, *(name for name in RUNTIMES if shutil.which(name)))


def has_pyxis() -> bool:
    """pyxis is a plug-in of srun, and shows by its options alone."""
    try:
        return PYXIS_FLAG in run_slurm("srun", "--help")
    except LaunchError:
        return False
