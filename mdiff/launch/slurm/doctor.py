"""What a job on a SLURM cluster needs, asked of the cluster itself."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from mdiff.errors import LaunchError
from mdiff.launch.doctor import Checks, Finding, Patient, check_price, check_runs_root, trial_job
from mdiff.launch.site_file import device_of, partition_text
from mdiff.launch.slurm.checks import check_cluster
from mdiff.launch.slurm.cluster import Partition, choose_partition, parse_gres, read_partitions, run_slurm
from mdiff.launch.slurm.probe import check_compute_node
from mdiff.launch.slurm.survey import PYXIS_FLAG, gpu_types, has_pyxis, parse_config

PROGRAMS = ("sbatch", "srun", "squeue", "scontrol", "sinfo")
ANNOUNCED = ("preempt_send_user_signal", "send_user_signal")


def check_programs(patient: Patient) -> Iterator[Finding]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        yield Finding("programs", "fail", f"no {', '.join(missing)} on this machine", "run this on a login node of the cluster")
        return
    # Accounting has a check of its own, and jobs run without it.
    names = [*PROGRAMS, *(["sacct"] if shutil.which("sacct") else [])]
    version = run_slurm("sinfo", "--version").split()[-1:]
    yield Finding("programs", "ok", " ".join([", ".join(names), *version]))


def check_controller(patient: Patient) -> Iterator[Finding]:
    words = " ".join(run_slurm("scontrol", "ping").split())
    if " UP" in words:
        yield Finding("controller", "ok", words)
    else:
        yield Finding(
            "controller", "fail", f"controller: {words or 'scontrol ping says nothing'}", "ask the administrators: slurmctld is down"
        )


def check_partition(patient: Patient) -> Iterator[Finding]:
    partition = choose_partition(read_partitions(), patient.site.slurm.partition)
    yield Finding("partition", "ok", partition_text(partition))
    yield from _nodes(patient, partition)
    yield from _device(patient, partition)
    # What a submission would refuse: time limits that do not fit the partition's.
    check_cluster(trial_job(patient))


def _nodes(patient: Patient, partition: Partition) -> Iterator[Finding]:
    """Are there enough nodes of the size that a job takes?"""
    hardware = patient.site.hardware
    wanted = hardware.devices_per_node if hardware.device != "cpu" else 0
    _, gpu_type = parse_gres(patient.site.slurm.gres)
    able = sum(kind.count for kind in partition.kinds if kind.gpus >= wanted and gpu_type in ("", kind.gpu_type))
    if able >= hardware.nodes:
        return
    size = f"{wanted} {gpu_type or 'GPU'}{'s' if wanted > 1 and not gpu_type else ''}" if wanted else "any size"
    detail = f"a job takes {hardware.nodes} node{'s' if hardware.nodes > 1 else ''} of {size}; partition {partition.name} has {able}"
    yield Finding("hardware", "fail", detail, "in the site file: [hardware] nodes and devices_per_node, or another slurm.partition")


def _device(patient: Patient, partition: Partition) -> Iterator[Finding]:
    """Prices and estimates go by the device that the site names."""
    device, slurm = patient.site.hardware.device, patient.site.slurm
    _, asked = parse_gres(slurm.gres)
    types = [asked] if asked else gpu_types(partition)
    if device == "cpu" or not types:
        return
    if device_of(device) not in [device_of(gpu_type) for gpu_type in types]:
        detail = f"the site says {device}, and partition {partition.name} has {', '.join(types)}"
        yield Finding("device", "warn", detail, "in the site file: [hardware] device, and the price of such an hour")
    elif len(types) > 1:
        detail = f"partition {partition.name} has GPUs of several types ({', '.join(types)}), and a job may get any of them"
        yield Finding(
            "device", "warn", detail, f'in the site file: [slurm] gres = "gpu:{types[0]}:{patient.site.hardware.devices_per_node}"'
        )


def check_container(patient: Patient) -> Iterator[Finding]:
    container = patient.site.container
    if container.runtime == "none":
        return
    if container.image.startswith("/") and not Path(container.image).exists():
        yield Finding("image", "fail", f"image {container.image} is not there", "in the site file: [container] image")
    if container.runtime == "pyxis":
        yield _pyxis()
    elif shutil.which("apptainer"):
        yield Finding("container", "ok", run_slurm("apptainer", "--version").strip())
    else:
        yield Finding("container", "warn", "no apptainer on this machine; whether compute nodes have it, the trial job tells")


def _pyxis() -> Finding:
    if not has_pyxis():
        fix = 'ask the administrators for pyxis, or in the site file: [container] runtime = "apptainer"'
        return Finding("container", "fail", f"srun has no {PYXIS_FLAG}: pyxis is not installed", fix)
    enroot = f", enroot {run_slurm('enroot', 'version').strip()}" if shutil.which("enroot") else ""
    return Finding("container", "ok", f"pyxis{enroot}")


def check_requeue(patient: Patient) -> Iterator[Finding]:
    value = _config().get("JobRequeue", "unknown")
    if value == "1":
        yield Finding("requeue", "ok", "requeue: JobRequeue=1")
    else:
        yield Finding("requeue", "warn", f"requeue: JobRequeue={value} on this cluster; jobs ask for it themselves (--requeue)")


def check_preemption(patient: Patient) -> Iterator[Finding]:
    config = _config()
    mode, kind = config.get("PreemptMode", "unknown"), config.get("PreemptType", "")
    options = f"{config.get('SlurmctldParameters', '')},{config.get('PreemptParameters', '')}".split(",")
    if kind.endswith("preempt/none"):
        yield Finding("preemption", "ok", "preemption: none on this cluster")
    elif set(ANNOUNCED) & set(options):
        yield Finding("preemption", "ok", f"preemption: {mode}, and jobs are told by their own signal before")
    else:
        detail = f"preemption: {mode}; a preempted job gets only SIGTERM, and saves its work if the partition's GraceTime suffices"
        yield Finding("preemption", "warn", detail)


def check_accounting(patient: Patient) -> Iterator[Finding]:
    try:
        run_slurm("sacct", "-X", "-n", "-j", "1")
    except LaunchError as error:
        yield Finding("accounting", "warn", f"accounting: {error}; jobs are billed by the meter alone")
        return
    if "gres/gpu" in _config().get("AccountingStorageTRES", "").split(","):
        yield Finding("accounting", "ok", "accounting: sacct answers, and counts GPUs")
    else:
        detail = "accounting: sacct answers, but counts no GPUs (AccountingStorageTRES lacks gres/gpu); bills count nodes x GPUs"
        yield Finding("accounting", "warn", detail)


def check_trial_job(patient: Patient) -> Iterator[Finding]:
    yield from check_compute_node(patient, trial_job(patient))


def _config() -> dict[str, str]:
    """
    Raises:
        LaunchError: the controller does not answer.
    """
    return parse_config(run_slurm("scontrol", "show", "config"))


SLURM_CHECKS = Checks(
    vital=(check_programs, check_controller),
    others=(
        check_partition, check_container, check_price, check_requeue, check_preemption, check_accounting,
        check_runs_root, check_trial_job,
    ),
)  # fmt: skip
