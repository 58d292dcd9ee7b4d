"""What a SLURM cluster offers, as `sinfo` tells it. Parsing is pure; `run_slurm` is the only way to a command."""

import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from mdiff.errors import LaunchError
from mdiff.units import SECONDS_PER_HOUR

SINFO = ("sinfo", "--noheader", "--format=%P|%l|%c|%D|%G|%m")
"""Partition, time limit, CPUs, nodes, generic resources, memory in MB: one line for each kind of node in each partition."""
ANSWER_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class NodeKind:
    """Nodes of a partition that are alike."""

    count: int
    cpus: int
    gpus: int
    gpu_type: str
    """"" where the cluster gives GPUs no types."""


@dataclass(frozen=True, kw_only=True)
class Partition:
    name: str
    is_default: bool
    max_seconds: float
    """MaxTime; inf where there is none."""
    kinds: tuple[NodeKind, ...]

    def cpus_per_node(self, gpus: int) -> int:
        """CPUs that every node with so many GPUs has; of all nodes, if none has them."""
        fitting = [kind.cpus for kind in self.kinds if kind.gpus >= gpus]
        return min(fitting or [kind.cpus for kind in self.kinds])


def has_slurm() -> bool:
    return shutil.which("sbatch") is not None


def run_slurm(*command: str) -> str:
    """Standard output of one of SLURM's commands, times in UTC.

    Raises:
        LaunchError: it is not there, does not answer, or refuses; with its own words.
    """
    try:
        # Its times are local ones otherwise.
        environment = os.environ | {"TZ": "UTC"}
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=ANSWER_SECONDS)
    except FileNotFoundError as error:
        raise LaunchError(f"no {command[0]} on this machine: run this on a login node of the cluster") from error
    except subprocess.TimeoutExpired as error:
        raise LaunchError(f"{command[0]} did not answer within {ANSWER_SECONDS:.0f} s; is slurmctld up? Try: scontrol ping") from error
    if answer.returncode:
        raise LaunchError(_words(answer.stderr or answer.stdout) or f"{command[0]}: exit code {answer.returncode}")
    return answer.stdout


def _words(output: str) -> str:
    """What a command says of its failure: the fatal line, where there is one, else each line once."""
    lines = list(dict.fromkeys(output.strip().splitlines()))
    fatal = [line for line in lines if "fatal:" in line]
    return "; ".join(fatal or lines)


def read_partitions() -> list[Partition]:
    """
    Raises:
        LaunchError: the cluster does not answer.
    """
    return parse_partitions(run_slurm(*SINFO))


def parse_partitions(sinfo: str) -> list[Partition]:
    """
    >>> parse_partitions("h100*|4:00:00|96|12|gpu:h100:8(S:0-1)|1000000")[0].kinds[0].gpus
    8
    """
    rows = [line.split("|") for line in sinfo.splitlines() if line.count("|") >= 5]
    names = dict.fromkeys(row[0] for row in rows)
    return [_partition(name, [row for row in rows if row[0] == name]) for name in names]


def _partition(name: str, rows: list[list[str]]) -> Partition:
    return Partition(
        name=name.removesuffix("*"),
        is_default=name.endswith("*"),
        max_seconds=parse_duration(rows[0][1]),
        kinds=tuple(_node_kind(row) for row in rows),
    )


def _node_kind(row: list[str]) -> NodeKind:
    # "96+": nodes of this line differ, and 96 is the least.
    cpus, count = (int(re.sub(r"\D.*", "", cell) or 0) for cell in (row[2], row[3]))
    gpus, gpu_type = parse_gres(row[4])
    return NodeKind(count=count, cpus=cpus, gpus=gpus, gpu_type=gpu_type)


def parse_gres(text: str) -> tuple[int, str]:
    """Number and type of the GPUs among generic resources.

    >>> parse_gres("gpu:h100:8(S:0-1),lustre:1"), parse_gres("gpu:8"), parse_gres("(null)")
    ((8, 'h100'), (8, ''), (0, ''))
    """
    found = re.findall(r"(?:^|,)gpu(?::([^:,()]+))??:(\d+)", text)
    return sum(int(count) for _, count in found), next((kind for kind, _ in found), "")


def parse_duration(text: str) -> float:
    """Seconds; SLURM writes minutes, minutes:seconds, hours:minutes:seconds, days-hours:minutes:seconds.

    >>> parse_duration("4:00:00"), parse_duration("1-12:00:00"), parse_duration("30:00"), parse_duration("infinite")
    (14400.0, 129600.0, 1800.0, inf)
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if match is None:
        return math.inf
    days, *parts = (int(part) if part else 0 for part in match.groups())
    given = [part for part in match.groups()[1:] if part is not None]
    if match[1] or len(given) == 3:
        hours, minutes, seconds = parts
    elif len(given) == 2:
        hours, minutes, seconds = 0, parts[0], parts[1]
    else:
        hours, minutes, seconds = 0, parts[0], 0
    return float(days * 24 * SECONDS_PER_HOUR + hours * SECONDS_PER_HOUR + minutes * 60 + seconds)


def choose_partition(partitions: Iterable[Partition], name: str) -> Partition:
    """The one of this name, else the cluster's default one.

    Raises:
        LaunchError: there is none.
    """
    known = list(partitions)
    found = next((partition for partition in known if (partition.name == name if name else partition.is_default)), None)
    if found is None:
        names = ", ".join(partition.name for partition in known) or "none"
        what = f'slurm.partition = "{name}": no such partition' if name else "the cluster has no default partition; set slurm.partition"
        raise LaunchError(f"{what}; this cluster has: {names}")
    return found
