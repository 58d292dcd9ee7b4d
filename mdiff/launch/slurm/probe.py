"""A tiny real job: does a compute node see the run directory, and can the jobs' interpreter train there?"""

import json
import os
import secrets
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mdiff.launch.doctor import Finding, Patient
from mdiff.launch.slurm.batch_script import srun_arguments, task_python
from mdiff.launch.slurm.checks import check_interpreter
from mdiff.recipe.container import Container
from mdiff.recipe.job import JobSpec
from mdiff.recipe.slurm_settings import SlurmSettings

WAIT_SECONDS = 45
"""For a free node."""
PROBE_SECONDS = 60.0
"""For everything, the wait included."""
LEAVE_SECONDS = 10.0
REPORT = "mdiff-doctor "
SHARED = "shared run directory"
MODULES = ("mdiff", "torch", "submitit")
NODE_OPTIONS = ("exclude", "licenses", "nodelist")
"""Of slurm.sbatch: those that decide on which nodes jobs run, and that srun knows too."""
ON_NODE = f"""
import importlib, json, os, platform, sys
marker, token = sys.argv[1:]
found = {{"node": platform.node(), "python": True, "reads": False, "writes": False, "lacks": {{}}}}
try:
    found["reads"] = open(marker).read() == token
    with open(marker + ".node", "w") as file:
        file.write(token)
    found["writes"] = open(marker + ".node").read() == token
except OSError:
    pass
for name in {MODULES!r}:
    try:
        importlib.import_module(name)
    except (ImportError, OSError) as error:
        found["lacks"][name] = str(error)
print({REPORT!r} + json.dumps(found), flush=True)
"""
"""For whatever Python is there, which may be another version than ours."""


def check_compute_node(patient: Patient, job: JobSpec) -> Iterator[Finding]:
    marker, token = patient.runs_root / f".mdiff-doctor-{secrets.token_hex(4)}", secrets.token_hex(8)
    with suppress(OSError):
        # Where it fails, the check of the run directory has said so; the interpreter can be tried all the same.
        marker.write_text(token)
    is_written = marker.exists()
    try:
        answer = _run(srun_command(job, marker, token), job.environment)
    finally:
        for path in (marker, Path(f"{marker}.node")):
            with suppress(OSError):
                path.unlink()
    findings = judge(answer, patient, job)
    yield from (finding for finding in findings if is_written or finding.check != SHARED)


def srun_command(job: JobSpec, marker: Path, token: str) -> list[str]:
    slurm = job.slurm or SlurmSettings()
    # The job takes all CPUs of its nodes, the trial one: it is to find room.
    arguments = srun_arguments(job, slurm.model_copy(update={"cpus_per_task": None}))
    options = [
        f"--{name}={value}" for name in ("partition", "account", "qos", "constraint", "reservation") if (value := getattr(slurm, name))
    ]
    options += [f"--{name}={slurm.sbatch[name]}" for name in NODE_OPTIONS if name in slurm.sbatch]
    trial = ["--nodes=1", "--ntasks=1", "--time=2", "--job-name=mdiff-doctor", f"--immediate={WAIT_SECONDS}", "--chdir=/"]
    return ["srun", *options, *trial, *arguments, *_task(job, slurm, marker, token)]


def _task(job: JobSpec, slurm: SlurmSettings, marker: Path, token: str) -> list[str]:
    if job.container.runtime == "pyxis":
        return [job.container.python, "-c", ON_NODE, str(marker), token]
    python = task_python(job)
    lines = [*slurm.setup, *_without_interpreter(job, python, marker)]
    return ["bash", "-c", "\n".join([*lines, f"exec {python} -c {shlex.quote(ON_NODE)} {shlex.quote(str(marker))} {token}"])]


def _without_interpreter(job: JobSpec, python: str, marker: Path) -> list[str]:
    """A node without the interpreter can still tell whether it sees the run directory."""
    if job.container.runtime != "none":
        return []
    report = REPORT + '{"node": "%s", "python": false, "reads": %s, "writes": %s, "lacks": {}}\\n'
    files = [shlex.quote(str(path)) for path in (marker, marker.parent)]
    tests = " ".join(f'"$({test} && echo true || echo false)"' for test in (f"[ -r {files[0]} ]", f"[ -w {files[1]} ]"))
    return [f'[ -x {python} ] || {{ printf {shlex.quote(report)} "$(uname -n)" {tests}; exit 0; }}']


def _run(command: Sequence[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[str] | None":
    """None if it took too long. Inside another allocation's shell, srun must ask for a node of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_") or name == "SLURM_CONF"}
    process = subprocess.Popen(
        command, env=kept | environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        _end(process)
        return None
    except BaseException:
        _end(process)
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _end(process: "subprocess.Popen[str]") -> None:
    """SIGTERM makes srun give its node back; killed, it would leave the job behind."""
    process.terminate()
    try:
        process.communicate(timeout=LEAVE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def judge(answer: "subprocess.CompletedProcess[str] | None", patient: Patient, job: JobSpec) -> Iterator[Finding]:
    """What the trial job's answer means."""
    name = "compute node"
    if answer is None:
        yield Finding(name, "warn", f"{name}: the trial job was not done within {PROBE_SECONDS:.0f} s", "try again; a first import is slow")
    elif (report := _report(answer.stdout)) is not None:
        yield _on_runs_root(report, patient, job.container)
        yield _on_interpreter(report, job)
    elif _was_busy(answer.stderr):
        yield Finding(name, "warn", f"{name}: could not try it: no free node within {WAIT_SECONDS} s", "run mdiff doctor again later")
        yield from (Finding("interpreter", "warn", warning) for warning in check_interpreter(job, dry_run=True))
    else:
        words = " ".join((answer.stderr or answer.stdout).split())[-600:] or "it said nothing"
        yield Finding(name, "fail", f"{name}: the trial job failed, exit code {answer.returncode}: {words}")


def _report(output: str) -> dict[str, Any] | None:
    lines = [line.partition(REPORT)[2] for line in output.splitlines() if REPORT in line]
    try:
        return json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError:
        return None


def _was_busy(words: str) -> bool:
    return "nodes are busy" in words or "mmediate execution impossible" in words


def _on_runs_root(report: dict[str, Any], patient: Patient, container: Container) -> Finding:
    where = f"{'the container on ' if container.runtime != 'none' else ''}{report['node']}"
    what = f"run directory {patient.runs_root}"
    fix = 'put it on a shared file system:  runs_dir = "/shared/runs"  in the site file'
    if container.runtime != "none":
        fix = f'in the site file: [container] mounts = ["{patient.runs_root}"]'
    if not report["reads"]:
        return Finding(SHARED, "fail", f"{what} is not visible from {where}", fix)
    if not report["writes"]:
        return Finding(SHARED, "fail", f"{what} cannot be written from {where}", fix)
    return Finding(SHARED, "ok", f"{what} is read and written from {where}")


def _on_interpreter(report: dict[str, Any], job: JobSpec) -> Finding:
    python = job.argv[0]
    if not report["python"]:
        fix = "in the site file: [slurm] python = one on a shared file system; or a container"
        return Finding("interpreter", "fail", f"interpreter {python} is not visible from {report['node']}", fix)
    if report["lacks"]:
        problems = "; ".join(report["lacks"].values())
        in_image = job.container.runtime != "none"
        fix = "install mdiff[train] into the image" if in_image else f"{python} -m pip install 'mdiff[train]'"
        return Finding("interpreter", "fail", f"interpreter {python} on {report['node']} cannot train: {problems}", fix)
    return Finding("interpreter", "ok", f"interpreter {python} on {report['node']}: {', '.join(MODULES)}")
