"""What SLURM says of a job, in our words. Parsing is pure.

`sacct -D` knows every start of a requeued job. Where accounting is off, `scontrol` knows a job while it is there and some
minutes longer. A word that we do not know is UNKNOWN, never an end.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mdiff.errors import LaunchError
from mdiff.launch.slurm_cluster import run_slurm
from mdiff.launch.state import JobState

STATES: Mapping[str, JobState] = {
    "PENDING": JobState.PENDING,
    "REQUEUED": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "REQUEUE_HOLD": JobState.PENDING,
    "SPECIAL_EXIT": JobState.PENDING,
    "CONFIGURING": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "COMPLETING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "STAGE_OUT": JobState.RUNNING,
    "STOPPED": JobState.SUSPENDED,
    "SUSPENDED": JobState.SUSPENDED,
    "COMPLETED": JobState.COMPLETED,
    "CANCELLED": JobState.CANCELLED,
    "DEADLINE": JobState.STOPPED,
    "PREEMPTED": JobState.STOPPED,
    "REVOKED": JobState.CANCELLED,
    "TIMEOUT": JobState.STOPPED,
    "BOOT_FAIL": JobState.FAILED,
    "FAILED": JobState.FAILED,
    "NODE_FAIL": JobState.FAILED,
    "OUT_OF_MEMORY": JobState.FAILED,
}
"""https://slurm.schedmd.com/squeue.html, section job state codes."""

SACCT_FIELDS = "JobIDRaw,State,ElapsedRaw,AllocTRES,NNodes,Start,End,ExitCode"


@dataclass(frozen=True, kw_only=True)
class Start:
    """One start of a job, as accounting knows it."""

    word: str
    seconds: float
    gpus: int | None
    """None where the cluster does not account for GPUs."""
    nodes: int
    begun_at: str
    """UTC, ISO; "" for a start that is still to come."""


@dataclass(frozen=True, kw_only=True)
class SlurmJob:
    """What the cluster says now."""

    state: JobState
    word: str
    """SLURM's own."""
    reason: str = ""
    """Why it is pending."""
    expected_start: str = ""
    restarts: int | None = None
    starts: tuple[Start, ...] = ()
    """From accounting, in order."""
    has_accounting: bool = False


def job_state(word: str) -> JobState:
    """
    >>> job_state("CANCELLED by 1000"), job_state("RUNNING+"), job_state("DREAMING")
    (<JobState.CANCELLED: 'CANCELLED'>, <JobState.RUNNING: 'RUNNING'>, <JobState.UNKNOWN: 'UNKNOWN'>)
    """
    return STATES.get(word.partition(" ")[0].rstrip("+"), JobState.UNKNOWN)


def read_job(job_id: str) -> SlurmJob:
    """What the controller says, else what accounting says.

    Raises:
        LaunchError: neither answers.
    """
    starts, sacct_error = _read_starts(job_id)
    has_accounting = sacct_error is None
    shown = _show_job(job_id)
    if shown is None and sacct_error is not None and not _controller_answers():
        raise sacct_error
    if shown is not None:
        word = shown.get("JobState", "")
        return SlurmJob(
            state=job_state(word),
            word=word,
            reason=_told(shown.get("Reason", "")),
            expected_start=_told(shown.get("StartTime", "")) if job_state(word) is JobState.PENDING else "",
            restarts=int(shown.get("Restarts", "0")),
            starts=starts,
            has_accounting=has_accounting,
        )
    if starts:
        # A row that says REQUEUED without one after it: the next start is not in the accounts yet.
        return SlurmJob(state=job_state(starts[-1].word), word=starts[-1].word, starts=starts, has_accounting=True)
    # Accounting is off, and the controller has forgotten the job: it has ended some time ago.
    return SlurmJob(state=JobState.UNKNOWN, word="forgotten", has_accounting=has_accounting)


def _read_starts(job_id: str) -> tuple[tuple[Start, ...], LaunchError | None]:
    command = ("sacct", "-D", "-X", "--noheader", "--parsable2", "--noconvert", f"--format={SACCT_FIELDS}", "-j", job_id)
    try:
        return parse_sacct(run_slurm(*command), job_id), None
    except LaunchError as error:
        return (), error


def parse_sacct(text: str, job_id: str) -> tuple[Start, ...]:
    """Starts of one job, in order; rows of other jobs and a start that is still to come are left out."""
    rows = [line.split("|") for line in text.splitlines() if line.count("|") >= 7]
    starts = [_start(row) for row in rows if row[0] == job_id and row[5] not in ("", "None", "Unknown")]
    return tuple(sorted(starts, key=lambda start: start.begun_at))


def _start(row: list[str]) -> Start:
    _, word, elapsed, tres, nodes, begun, *_ = row
    return Start(word=word, seconds=float(elapsed or 0), gpus=_gpus(tres), nodes=int(nodes or 0), begun_at=f"{begun}+00:00")


def _gpus(tres: str) -> int | None:
    """
    >>> _gpus("billing=16,cpu=16,gres/gpu=16,mem=4G,node=2"), _gpus("billing=16,cpu=16"), _gpus("gres/gpu:h100=8,gres/gpu=8")
    (16, None, 8)
    """
    match = re.search(r"(?:^|,)gres/gpu=(\d+)", tres)
    return int(match[1]) if match else None


def _show_job(job_id: str) -> dict[str, str] | None:
    """None when the controller does not know the job any more."""
    try:
        return parse_show_job(run_slurm("scontrol", "--oneliner", "show", "job", job_id))
    except LaunchError:
        return None


def parse_show_job(text: str) -> dict[str, str]:
    """
    >>> parse_show_job("JobId=7 JobState=PENDING Reason=Resources Restarts=0")["Reason"]
    'Resources'
    """
    return dict(re.findall(r"(\S+?)=(\S*)", text))


def _controller_answers() -> bool:
    try:
        run_slurm("scontrol", "ping")
    except LaunchError:
        return False
    return True


def _told(text: str) -> str:
    """Empty where SLURM says that it does not know."""
    return "" if text in ("", "None", "(null)", "Unknown", "N/A") else text
