"""The batch script of a job, by submitit's own renderer: what `--dry-run` prints is what sbatch gets. Pure."""

import math
import shlex
from typing import Any

from mdiff.attempt.exit_codes import START_AGAIN
from mdiff.recipe.container import Container
from mdiff.recipe.job import JobSpec, Submission
from mdiff.recipe.slurm_settings import SlurmSettings
from mdiff.run_dir import RunDir

NOTICE_MARGIN_SECONDS = 60.0
"""SLURM's notice may come a minute late; the job's grace time shall fit behind it all the same."""


HOLD_SECONDS = 900
"""More than a preemption's GraceTime; the controller ends it before."""


def batch_script(run_dir: RunDir, submission: Submission) -> str:
    from submitit.slurm import slurm as submitit_slurm

    folder = run_dir.scheduler_files(submission.id)
    command = f"{task_python(submission.job)} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    return submitit_slurm._make_sbatch_string(command=command, folder=folder, **parameters(run_dir, submission.job))


def parameters(run_dir: RunDir, job: JobSpec) -> dict[str, Any]:
    """Keyword arguments of submitit's renderer. Its defaults (5 minutes, one CPU, a wckey) serve no training job."""
    slurm = job.slurm or SlurmSettings()
    known: dict[str, Any] = {
        "job_name": f"mdiff-{job.run}",
        "nodes": job.hardware.nodes,
        "ntasks_per_node": 1,
        "gpus_per_node": job.hardware.devices_per_node if job.hardware.device != "cpu" and not slurm.gres else None,
        "gres": slurm.gres or None,
        "cpus_per_task": slurm.cpus_per_task,
        "partition": slurm.partition or None,
        "account": slurm.account or None,
        "qos": slurm.qos or None,
        "constraint": slurm.constraint or None,
        "dependency": f"afterok:{job.after}" if job.after else None,
        "exclusive": True if slurm.whole_nodes else None,
        "signal_delay_s": math.ceil(job.grace_seconds + NOTICE_MARGIN_SECONDS),
        "wckey": None,
        "stderr_to_stdout": True,
        "setup": [*slurm.setup, *_setup(job)],
        "teardown": teardown(run_dir),
        "srun_args": srun_arguments(job, slurm),
        "additional_parameters": additional_options(job, slurm),
    }
    minutes = math.ceil(job.attempt_limit_seconds / 60) if job.attempt_limit_seconds is not None else None
    return known | {"time": minutes}


def additional_options(job: JobSpec, slurm: SlurmSettings) -> dict[str, str | int | bool]:
    """Options of sbatch for which submitit has no argument."""
    options: dict[str, str | int | bool] = {"requeue": True}
    if slurm.whole_nodes:
        # All of the node's memory; submitit's own argument takes no 0.
        options["mem"] = 0
    if job.after:
        options["kill-on-invalid-dep"] = "yes"
    if slurm.reservation:
        options["reservation"] = slurm.reservation
    return options | {name: value for name, value in slurm.sbatch.items() if value is not False}


def srun_arguments(job: JobSpec, slurm: SlurmSettings) -> list[str]:
    """One task that fails takes the others with it; a node that hangs behind is not waited for."""
    cpus = [f"--cpus-per-task={slurm.cpus_per_task}"] if slurm.cpus_per_task else []
    return ["--kill-on-bad-exit=1", "--wait=60", *cpus, *_pyxis(job.container), *slurm.srun]


def task_python(job: JobSpec) -> str:
    """The start of each task's command line, for a shell: up to and including the interpreter."""
    container = job.container
    if container.runtime != "apptainer":
        return shlex.quote(container.python if container.runtime == "pyxis" else job.argv[0])
    binds = [argument for mount in container.mounts for argument in ("--bind", mount)]
    workdir = ["--pwd", container.workdir] if container.workdir else []
    gpus = ["--nv"] if job.hardware.device != "cpu" else []
    return shlex.join(["apptainer", "exec", *gpus, *binds, *workdir, container.image, container.python])


def teardown(run_dir: RunDir) -> list[str]:
    """After srun, on the host (a container has no scontrol): start the job again if its supervisor left word to."""
    attempt = f'{shlex.quote(str(run_dir.attempts))}/"$(printf %s-%03d "$SLURM_JOB_ID" "${{SLURM_RESTART_COUNT:-0}}")"'
    return [
        "status=$?",
        f"attempt={attempt}",
        # The controller may be restarting at this very moment.
        'if [ -e "$attempt/requeue" ]',
        "then for pause in 0 5 15 30 60; do",
        # 127: there is no scontrol on this host, and there will be none in a minute.
        '  sleep $pause; scontrol requeue "$SLURM_JOB_ID"; case $? in 0|127) break;; esac',
        # Somebody has cancelled it meanwhile.
        '  scontrol show job "$SLURM_JOB_ID" | grep -q "Requeue=0" && break',
        "done",
        "# Preempted by SIGTERM alone: the controller brings back what it kills, not what ends by itself.",
        f'elif [ $status = {START_AGAIN} ] && scontrol show job "$SLURM_JOB_ID" | grep -q "PreemptTime=[0-9]"',
        f"then sleep {HOLD_SECONDS}; fi",
        "exit $status",
    ]


def _setup(job: JobSpec) -> list[str]:
    """A node that cannot see the interpreter says so, instead of "execve: No such file"."""
    if job.container.runtime != "none":
        return []
    python = shlex.quote(job.argv[0])
    words = shlex.quote(f"error: {job.argv[0]} is not visible on")
    return [f'[ -x {python} ] || {{ echo {words} "$(hostname)"; exit 4; }}']


def _pyxis(container: Container) -> list[str]:
    if container.runtime != "pyxis":
        return []
    mounts = [f"--container-mounts={','.join(container.mounts)}"] if container.mounts else []
    workdir = [f"--container-workdir={container.workdir}"] if container.workdir else []
    return [f"--container-image={container.image}", *mounts, *workdir]
