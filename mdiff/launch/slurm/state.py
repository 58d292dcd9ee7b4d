"""What SLURM says of a job, in our words. Parsing is pure.

`scontrol` knows a job while it is there and some minutes longer, `sacct -D` every start of it for good, where accounting is on.
A word that we do not know is UNKNOWN, never an end.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mdiff.errors import LaunchError
from mdiff.launch.slurm.cluster import run_slurm
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

SACCT_FIELDS = "JobIDRaw,State,ElapsedRaw,AllocTRES,NNodes,Start"
NO_ACCOUNTING = re.compile(r"accounting storage is disabled|no sacct on this machine", re.IGNORECASE)
FORGOTTEN = re.compile(r"Invalid job id", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Start:
    """One start of a job, as accounting knows it."""

    word: str
    seconds: float
    gpus: int | None
    """None where the cluster does not account for GPUs."""
    nodes: int
    begun_at: str
    """UTC, ISO."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """All that accounting knows of a job."""

    starts: tuple[Start, ...]
    """In order."""
    word: str
    """Of the last row, which may be of a start that never came: a job cancelled in the queue. "" without rows."""


@dataclass(frozen=True, kw_only=True)
class SlurmJob:
    """What the cluster says now."""

    state: JobState
    word: str
    """SLURM's own; "" when nobody knows the job any more."""
    reason: str = ""
    """Why it is pending."""
    expected_start: str = ""
    restarts: int = 0
    account: Account | None = None
    """None where accounting is off."""

    @property
    def is_settled(self) -> bool:
        """The job has ended, and accounting has heard of it: its figures will not change any more."""
        if not self.word:
            return True
        return self.state.is_final and (self.account is None or job_state(self.account.word).is_final)


def job_state(word: str) -> JobState:
    """
    >>> job_state("CANCELLED by 1000"), job_state("RUNNING+"), job_state("DREAMING")
    (<JobState.CANCELLED: 'CANCELLED'>, <JobState.RUNNING: 'RUNNING'>, <JobState.UNKNOWN: 'UNKNOWN'>)
    """
    return STATES.get(word.partition(" ")[0].rstrip("+"), JobState.UNKNOWN)


def read_job(job_id: str) -> SlurmJob:
    """What the controller says, else what accounting says.

    Raises:
        LaunchError: one of them does not answer; nothing may be concluded then.
    """
    # The controller first: what has ended for it may still run for accounting, never the other way round.
    shown, account = _show_job(job_id), _read_account(job_id)
    if shown is None:
        word = account.word if account else ""
        return SlurmJob(state=job_state(word), word=word, restarts=max(0, len(account.starts) - 1) if account else 0, account=account)
    state = job_state(shown.get("JobState", ""))
    return SlurmJob(
        state=state,
        word=shown.get("JobState", ""),
        reason=_told(shown.get("Reason", "")),
        expected_start=_told(shown.get("StartTime", "")) if state is JobState.PENDING else "",
        restarts=int(shown.get("Restarts", "0")),
        account=account,
    )


def _read_account(job_id: str) -> Account | None:
    command = ("sacct", "-D", "-X", "--noheader", "--parsable2", "--noconvert", f"--format={SACCT_FIELDS}", "-j", job_id)
    try:
        return parse_sacct(run_slurm(*command), job_id)
    except LaunchError as error:
        if NO_ACCOUNTING.search(str(error)):
            return None
        raise


def parse_sacct(text: str, job_id: str) -> Account:
    """Rows of other jobs are left out; a row without a start counts for its word alone."""
    rows = [line.split("|") for line in text.splitlines() if line.count("|") >= 5]
    own = [row for row in rows if row[0] == job_id]
    starts = sorted((_start(row) for row in own if _told(row[5])), key=lambda start: start.begun_at)
    unstarted = [row[1] for row in own if not _told(row[5])]
    return Account(starts=tuple(starts), word=unstarted[-1] if unstarted else starts[-1].word if starts else "")


def _start(row: list[str]) -> Start:
    _, word, elapsed, tres, nodes, begun = row[:6]
    return Start(word=word, seconds=float(elapsed or 0), gpus=_gpus(tres), nodes=int(nodes or 0), begun_at=f"{begun}+00:00")


def _gpus(tres: str) -> int | None:
    """
    >>> _gpus("billing=16,cpu=16,gres/gpu=16,mem=4G,node=2"), _gpus("billing=16,cpu=16"), _gpus("gres/gpu:h100=8,gres/gpu=8")
    (16, None, 8)
    """
    match = re.search(r"(?:^|,)gres/gpu=(\d+)", tres)
    return int(match[1]) if match else None


def _show_job(job_id: str) -> dict[str, str] | None:
    """None when the controller has forgotten the job."""
    try:
        return parse_show_job(run_slurm("scontrol", "--oneliner", "show", "job", job_id))
    except LaunchError as error:
        if FORGOTTEN.search(str(error)):
            return None
        raise


def parse_show_job(text: str) -> dict[str, str]:
    """
    >>> parse_show_job("JobId=7 JobState=PENDING Reason=Resources Restarts=0")["Reason"]
    'Resources'
    """
    return dict(re.findall(r"(\S+?)=(\S*)", text))


def _told(text: str) -> str:
    """Empty where SLURM says that it does not know."""
    return "" if text in ("", "None", "(null)", "Unknown", "N/A") else text
