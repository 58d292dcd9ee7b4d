"""Jobs on this machine: a supervisor of its own session, which outlives the terminal."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from getpass import getuser
from pathlib import Path

from mdiff.attempt.stop import read_stop, request_stop, stop_request
from mdiff.budget.ledger import Ledger, is_open
from mdiff.budget.liveness import pid_alive_here, supervisor_is_alive
from mdiff.budget.record import AttemptRecord
from mdiff.errors import LaunchError
from mdiff.launch.prepared import Look, Prepared
from mdiff.launch.state import STATE_AFTER, JobState
from mdiff.recipe.exchange import DATASETS_VARIABLE
from mdiff.recipe.job import JobSpec, Submission
from mdiff.run_dir import AttemptDir, RunDir, read_json
from mdiff.units import duration_text, utc_now

SIGNAL_SECONDS = 0.2
"""Two signals that come together are one."""
START_SECONDS = 30.0
"""How long a supervisor may take to write its first record."""


class LocalBackend:
    """The job's id is its supervisor's process id."""

    def render(self, run_dir: RunDir, submission: Submission) -> str:
        """A shell script: the supervisor's command, and in comments what it will start."""
        job = submission.job
        variables = {**job.environment, DATASETS_VARIABLE: json.dumps(job.datasets)}
        return "\n".join(
            [
                f"# submission: {run_dir.submission(submission.id)}",
                shlex.join(supervisor_command(run_dir, submission)),
                "",
                "# The supervisor starts, with MDIFF_ATTEMPT set to the folder of its attempt:",
                *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
                shlex.join(job.argv),
            ]
        )

    def start(self, run_dir: RunDir, submission: Submission) -> str:
        """
        Raises:
            LaunchError: the supervisor died before it began; the message has its last words.
        """
        log = supervisor_log(run_dir, submission)
        with log.open("ab") as output:
            process = subprocess.Popen(
                supervisor_command(run_dir, submission),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while _attempt_of(run_dir, submission, process.pid) is None and time.monotonic() < deadline:
            if process.poll() is not None and _attempt_of(run_dir, submission, process.pid) is None:
                raise LaunchError(f"the job did not start (exit code {process.returncode}): {_last_line(log)}\n  log: {log}")
            time.sleep(0.05)
        return _let_go(process)

    def prepare(self, job: JobSpec, dry_run: bool) -> Prepared:
        """This machine is known already."""
        return Prepared(job)

    def look(self, submission: Submission, ledger: Ledger) -> Look:
        return Look(self._state(submission, ledger))

    def read(self, submission: Submission, ledger: Ledger) -> None:
        """There is no scheduler that keeps an account."""

    def catch_up(self, run_dir: RunDir, submission: Submission, ledger: Ledger) -> bool:
        """The job writes into the run directory itself."""
        return False

    def _state(self, submission: Submission, ledger: Ledger) -> JobState:
        records = ledger.records_of(submission.id)
        if not records:
            return JobState.PENDING if is_open(submission, records, utc_now()) else JobState.FAILED
        newest = records[-1]
        if newest.reason is not None:
            return STATE_AFTER[newest.reason]
        _collect_exit_code(newest.supervisor_pid)
        if supervisor_is_alive(newest, utc_now(), pid_alive_here):
            return running_state(RunDir(Path(submission.job.run_dir)).attempt(newest.attempt))
        # Without a reason and without a process: it was killed. From another machine that cannot be told from a dead network.
        return JobState.FAILED if pid_alive_here(newest) is False else JobState.UNKNOWN

    def cancel(self, run_dir: RunDir, submission: Submission, ledger: Ledger, now: bool) -> str:
        records = ledger.records_of(submission.id)
        if not records:
            raise LaunchError(f"job of submission {submission.id} has not begun yet; try again in a moment")
        attempt = run_dir.attempt(records[-1].attempt)
        if now:
            # The first signal asks, the second one kills.
            for _ in range(2):
                os.kill(records[-1].supervisor_pid, signal.SIGTERM)
                time.sleep(SIGNAL_SECONDS)
            return f"killed job {records[-1].scheduler_job}; work since its newest checkpoint is lost"
        grace = duration_text(submission.job.grace_seconds)
        if request_stop(attempt, stop_request("cancelled", f"{user_name()} on {socket.gethostname()}")):
            return f"asked job {records[-1].scheduler_job} to stop; it may take {grace} to save its work"
        earlier = read_stop(attempt)
        return f"job {records[-1].scheduler_job} was asked to stop before ({earlier.reason if earlier else 'by a file'})"


def supervisor_command(run_dir: RunDir, submission: Submission) -> list[str]:
    return [sys.executable, "-m", "mdiff.attempt", str(run_dir.path), submission.id]


def supervisor_log(run_dir: RunDir, submission: Submission) -> Path:
    """What the supervisor itself says before its attempt has a log; nearly always empty."""
    return run_dir.submission(submission.id).with_suffix(".log")


def running_state(attempt: AttemptDir) -> JobState:
    return JobState.STOPPING if attempt.stop.exists() else JobState.RUNNING


def _attempt_of(run_dir: RunDir, submission: Submission, pid: int) -> AttemptRecord | None:
    """The record of the attempt that this supervisor began."""
    for attempt in reversed(run_dir.attempt_dirs()):
        record = read_json(attempt.record)
        if record and record["supervisor_pid"] == pid and record["submission"] == submission.id:
            return AttemptRecord.model_validate_json(attempt.record.read_bytes())
    return None


def _let_go(process: "subprocess.Popen[bytes]") -> str:
    """It is nobody's child any more: without a return code, Python would complain that it still runs."""
    process.returncode = 0
    return str(process.pid)


def _collect_exit_code(pid: int) -> None:
    """If the supervisor is our own child and has ended, let the system forget it."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def user_name() -> str:
    try:
        return getuser()
    except (KeyError, OSError):
        # A container may run under a number that no account has.
        return f"user {os.getuid()}"


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it said nothing").removeprefix("error: ")
