"""Where a supervisor stands among those of its attempt, and what only it can know: first host, port, time left."""

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from string import Template

from mdiff.recipe.job import JobSpec, Submission
from mdiff.recipe.site import Hardware
from mdiff.units import utc_now, utc_stamp

FIRST_PORT, NUM_PORTS = 20_000, 10_000
"""The rendezvous port is derived from the job's number; Linux hands out ports from 32768 on."""

JOIN_SECONDS = 600
"""How long the nodes of an attempt wait for each other: an image may take minutes to arrive on one of them."""

RDZV_ID, RDZV_ENDPOINT, RDZV_IS_HOST = "MDIFF_RDZV_ID", "MDIFF_RDZV_ENDPOINT", "MDIFF_RDZV_IS_HOST"
RECIPE_FILE = "MDIFF_RECIPE_FILE"
NUM_NODES = "MDIFF_NODES"
"""What a job's argv may refer to as `$NAME`."""


def _unlimited() -> float:
    return float("inf")


def _no() -> bool:
    return False


def _host_name() -> str:
    """SLURM's name of this machine, else the system's."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


@dataclass(frozen=True, kw_only=True)
class Node:
    """One supervisor of an attempt."""

    attempt: str
    """Name of the attempt, the same on all its nodes."""
    scheduler_job: str
    index: int = 0
    """Node 0 keeps the ledger record."""
    count: int = 1
    members: tuple[int, ...] = ()
    """Numbers of the nodes that take part, where these may be fewer than the job asked for; empty: all from 0 on."""
    host: str = field(default_factory=_host_name)
    """The machine, as the scheduler calls it."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of the job's argv."""
    seconds_left: Callable[[], float] = _unlimited
    """Until the scheduler kills this attempt."""
    is_superseded: Callable[[], bool] = _no
    """Whether a newer attempt of the job has begun, so that this one has lost its node 0."""
    may_requeue: bool = False
    """Whether whoever started us starts the job again when asked to."""

    @property
    def others(self) -> tuple[int, ...]:
        """Numbers of all nodes but node 0."""
        return tuple(index for index in self.members or range(self.count) if index)

    def hardware(self, job: JobSpec) -> Hardware:
        """What the attempt uses: all that the job asked for or, in an elastic job, what came of it."""
        return job.hardware.model_copy(update={"nodes": self.count}) if job.elastic else job.hardware


def this_machine(submission: Submission) -> Node:
    """The local backend's only node."""
    pid = str(os.getpid())
    return Node(attempt=f"{utc_stamp(utc_now())}-{pid}", scheduler_job=submission.scheduler_job or pid)


def slurm_attempt(job: str, restarts: int) -> str:
    """
    >>> slurm_attempt("8841207", 2)
    '8841207-002'
    """
    return f"{job}-{restarts:03d}"


def slurm_node(
    environment: Mapping[str, str],
    hostnames: Sequence[str],
    attempt_limit_seconds: float | None,
    clock: Callable[[], float] = time.time,
) -> Node:
    """The node of this task, by the variables that SLURM sets (https://slurm.schedmd.com/srun.html).

    Args:
        hostnames: of the allocation, in SLURM's order.
        attempt_limit_seconds: what was asked for with --time; for versions that do not tell the job when it ends.
    """
    job, restarts = environment["SLURM_JOB_ID"], int(environment.get("SLURM_RESTART_COUNT", "0"))
    index = int(environment.get("SLURM_NODEID", "0"))
    end = _end_of_attempt(environment, attempt_limit_seconds, clock)
    return Node(
        attempt=slurm_attempt(job, restarts),
        scheduler_job=job,
        index=index,
        count=len(hostnames),
        variables={
            RDZV_ID: f"{job}-{restarts}",
            RDZV_ENDPOINT: f"{hostnames[0]}:{FIRST_PORT + int(job) % NUM_PORTS}",
            # Said, not guessed: matching the endpoint against the own host name hangs where names differ from addresses.
            RDZV_IS_HOST: "true" if index == 0 else "false",
        },
        seconds_left=lambda: end - clock(),
        may_requeue=True,
    )


def _end_of_attempt(environment: Mapping[str, str], limit_seconds: float | None, clock: Callable[[], float]) -> float:
    """Unix time."""
    if "SLURM_JOB_END_TIME" in environment:
        return float(environment["SLURM_JOB_END_TIME"])
    begin = float(environment.get("SLURM_JOB_START_TIME", clock()))
    return begin + limit_seconds if limit_seconds else float("inf")


def expand(argv: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    """The command of this node. A `$` of anything else stays.

    >>> expand(["run", "--id", "$MDIFF_RDZV_ID", "$HOME"], {"MDIFF_RDZV_ID": "7-0"})
    ['run', '--id', '7-0', '$HOME']
    """
    return [Template(word).safe_substitute(variables) for word in argv]
