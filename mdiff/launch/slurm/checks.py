"""What must be right before sbatch is asked: the interpreter, the partition, its time limit and CPUs."""

import subprocess
from pathlib import Path

from mdiff.errors import LaunchError
from mdiff.launch.prepared import Prepared
from mdiff.launch.slurm.cluster import Partition, choose_partition, read_partitions
from mdiff.recipe.job import JobSpec
from mdiff.recipe.slurm_settings import SlurmSettings
from mdiff.units import SECONDS_PER_HOUR, duration_text

IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")
SHARED = (
    "nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "fuse.cephfs", "wekafs", "fuse.glusterfs", "panfs", "pvfs2", "9p", "virtiofs",
)  # fmt: skip
TRAINS = "import importlib.util as u, sys; sys.exit(any(u.find_spec(n) is None for n in ('mdiff', 'torch', 'safetensors', 'submitit')))"
PROBE_SECONDS = 60.0
MOUNTS = Path("/proc/mounts")


def check_interpreter(job: JobSpec, dry_run: bool) -> tuple[str, ...]:
    """Warnings; in a container the image brings its own interpreter.

    Raises:
        LaunchError: compute nodes cannot have it, or it lacks mdiff[train]; in a dry run that is a warning.
    """
    if job.container.runtime != "none":
        return ()
    python = Path(job.argv[0])
    problem = _problem(python)
    if problem and not dry_run:
        raise LaunchError(problem)
    if problem:
        return (problem,)
    kind = file_system(python)
    if kind in SHARED:
        return ()
    return (f"{python} lies on {kind}, which compute nodes may not see; to make sure: mdiff doctor --backend slurm",)


def _problem(python: Path) -> str:
    advice = "set slurm.python in the site file to one on a shared file system, or use a container"
    if not python.is_file():
        return f"the jobs' interpreter {python} is not there; {advice}"
    if (kind := file_system(python)) in IN_MEMORY:
        return f"the jobs' interpreter {python} lies on {kind}, in this machine's memory; {advice}"
    if not can_train(python):
        return f"the jobs' interpreter {python} lacks mdiff[train]; install it there: {python} -m pip install 'mdiff[train]'"
    return ""


def can_train(python: Path) -> bool:
    try:
        return subprocess.run([python, "-c", TRAINS], capture_output=True, check=False, timeout=PROBE_SECONDS).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def file_system(path: Path) -> str:
    """Kind of the file system on which a path lies, as Linux calls it; "" where that cannot be seen."""
    try:
        rows = [line.split() for line in MOUNTS.read_text().splitlines()]
    except OSError:
        return ""
    # An interpreter of a virtual environment is a link, but the environment lies where the link lies.
    above = [Path(row[1]) for row in rows if path.is_relative_to(row[1])]
    longest = max(above, key=lambda mount: len(mount.parts), default=None)
    return next((row[2] for row in reversed(rows) if Path(row[1]) == longest), "")


def check_cluster(job: JobSpec) -> Prepared:
    """The job with its partition's limits.

    Raises:
        LaunchError: there is no such partition, or the cluster does not answer.
    """
    slurm = job.slurm or SlurmSettings()
    partition = choose_partition(read_partitions(), slurm.partition)
    gpus = job.hardware.devices_per_node if job.hardware.device != "cpu" else 0
    cpus = slurm.cpus_per_task or partition.cpus_per_node(gpus)
    asked = slurm.time_limit_hours * SECONDS_PER_HOUR if slurm.time_limit_hours else None
    if asked is not None and asked > partition.max_seconds:
        most = duration_text(partition.max_seconds)
        raise LaunchError(
            f"slurm.time_limit_hours = {slurm.time_limit_hours:g}: partition {partition.name} allows at most {most}; "
            "lower it: a job that needs longer goes on in its next attempt"
        )
    limit = min(job.attempt_limit_seconds or partition.max_seconds, partition.max_seconds)
    prepared = job.model_copy(
        update={
            "slurm": slurm.model_copy(update={"cpus_per_task": cpus, "partition": slurm.partition or partition.name}),
            "attempt_limit_seconds": limit,
        }
    )
    shortest = job.grace_seconds * 2
    if limit < shortest:
        problem = f"attempts of {duration_text(limit)} leave no time to train beside a grace time of {duration_text(job.grace_seconds)}"
        raise LaunchError(f"{problem}; lower grace_seconds in the site file, or take a partition with a longer MaxTime")
    return Prepared(prepared, _idle_gpus(job, slurm, partition))


def _idle_gpus(job: JobSpec, slurm: SlurmSettings, partition: Partition) -> tuple[str, ...]:
    """A warning where whole nodes have GPUs that the job will not use."""
    used, there = job.hardware.devices_per_node, max(kind.gpus for kind in partition.kinds)
    if not slurm.whole_nodes or job.hardware.device == "cpu" or there <= used:
        return ()
    advice = f"set hardware.devices_per_node = {there}, or slurm.whole_nodes = false"
    return (f"nodes of partition {partition.name} have {there} GPUs and the job uses {used}, but whole nodes are billed; {advice}",)
