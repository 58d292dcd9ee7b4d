"""A pod of a PyTorchJob, as its supervisor sees it: which node of which job this is, and which attempts its job has had.

No pod can know the uid of its job: labels have only the name. So an attempt is named after the job, a running number, and the first
characters of the uid of the pod that is its node 0, which the cluster's own account has too.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mdiff.attempt.node import NUM_NODES, RDZV_ENDPOINT, RDZV_ID, RDZV_IS_HOST, RECIPE_FILE, Node
from mdiff.errors import LaunchError
from mdiff.recipe.job import JobSpec, Submission, recipe_file
from mdiff.run_dir import AttemptDir, RunDir

LABELS = "training.kubeflow.org"
FIELDS = {
    "MDIFF_POD_NAME": "metadata.name",
    "MDIFF_POD_UID": "metadata.uid",
    "MDIFF_NODE_NAME": "spec.nodeName",
    "MDIFF_JOB_NAME": f"metadata.labels['{LABELS}/job-name']",
    "MDIFF_REPLICA_TYPE": f"metadata.labels['{LABELS}/replica-type']",
    "MDIFF_REPLICA_INDEX": f"metadata.labels['{LABELS}/replica-index']",
}
"""Variable of the container -> field of its pod (https://kubernetes.io/docs/concepts/workloads/pods/downward-api/)."""
RDZV_PORT = 23456
"""That of PyTorchJob; the operator gives each pod a headless service under the pod's name."""
OPERATORS = re.compile(r"^(PET_\w+|MASTER_ADDR|MASTER_PORT|RANK|WORLD_SIZE|MDIFF_SUBMISSION|MDIFF_RECIPE)$")
"""Variables that torchrun would take for its own options, and texts that no job needs."""
UID_CHARACTERS = 8


@dataclass(frozen=True, kw_only=True)
class Pod:
    name: str
    uid: str
    machine: str
    """Name of the cluster's node on which it runs."""
    job: str
    index: int
    """Number of this node of the job; the master is node 0."""


def read_pod(variables: Mapping[str, str]) -> Pod:
    """
    Raises:
        LaunchError: this process is in no pod of a PyTorchJob.
    """
    try:
        told = {name: variables[name] for name in FIELDS}
        worker = told["MDIFF_REPLICA_TYPE"] != "master"
        index = int(told["MDIFF_REPLICA_INDEX"]) + 1 if worker else 0
    except (KeyError, ValueError) as error:
        raise LaunchError(f"this is no pod of a PyTorchJob made by mdiff ({error}); see mdiff submit --backend kubernetes") from error
    return Pod(
        name=told["MDIFF_POD_NAME"], uid=told["MDIFF_POD_UID"], machine=told["MDIFF_NODE_NAME"], job=told["MDIFF_JOB_NAME"], index=index
    )


def attempt_name(job: str, number: int, pod_uid: str) -> str:
    """A job's name has no dot.

    >>> attempt_name("shapes-stage-1", 2, "0c4a8f6e-1111-2222-3333-444444444444")
    'shapes-stage-1.002.0c4a8f6e'
    """
    return f"{job}.{number:03d}.{pod_uid[:UID_CHARACTERS]}"


def attempts_of(run_dir: RunDir, job: str) -> list[AttemptDir]:
    """From the oldest to the newest."""
    return [attempt for attempt in run_dir.attempt_dirs() if attempt.name.startswith(f"{job}.")]


def next_attempt(run_dir: RunDir, pod: Pod) -> str:
    earlier = attempts_of(run_dir, pod.job)
    number = int(earlier[-1].name.split(".")[1]) + 1 if earlier else 0
    return attempt_name(pod.job, number, pod.uid)


def pod_node(pod: Pod, attempt: str, run_dir: RunDir, submission: Submission, members: tuple[int, ...] = ()) -> Node:
    """The node of this pod in an attempt.

    Args:
        members: of an elastic job's attempt; empty: it takes all nodes.
    """
    size = {NUM_NODES: str(len(members))} if members else {}
    return Node(
        attempt=attempt,
        scheduler_job=pod.job,
        index=pod.index,
        count=len(members) or submission.job.hardware.nodes,
        members=members,
        host=pod.machine or pod.name,
        variables={
            RDZV_ID: attempt,
            RDZV_ENDPOINT: f"{pod.job}-master-0:{RDZV_PORT}",
            RDZV_IS_HOST: "true" if pod.index == 0 else "false",
            RECIPE_FILE: str(recipe_file(run_dir, submission.id)),
            **size,
        },
        is_superseded=lambda: attempts_of(run_dir, pod.job)[-1].name > attempt,
    )


def job_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """What the job may inherit of the container's environment."""
    return {name: value for name, value in variables.items() if not OPERATORS.match(name)}


def open_run_dir(job: JobSpec) -> RunDir:
    """
    Raises:
        LaunchError: this user may not write there.
    """
    run_dir = RunDir(Path(job.run_dir))
    try:
        run_dir.attempts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LaunchError(
            f"cannot write into {run_dir.path}: {error.strerror}; is the volume of the run directories mounted, "
            "and does fsGroup hand it to this user (kubernetes.user_id in the site file)?"
        ) from error
    return run_dir
