"""Jobs on a SLURM cluster, handed over by submitit: one task a node, and in it that node's supervisor."""

import json
import shlex
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from mdiff.attempt.node import FIRST_PORT, NUM_PORTS, slurm_attempt
from mdiff.attempt.stop import request_stop, stop_request
from mdiff.budget.ledger import Ledger, is_open
from mdiff.budget.sync import Reading, SchedulerAttempt
from mdiff.errors import LaunchError
from mdiff.launch.local import running_state, user_name
from mdiff.launch.prepared import Look, Prepared
from mdiff.launch.slurm.batch_script import batch_script, parameters, task_python
from mdiff.launch.slurm.checks import check_cluster, check_interpreter
from mdiff.launch.slurm.cluster import has_slurm, run_slurm
from mdiff.launch.slurm.state import SlurmJob, Start, read_job
from mdiff.launch.state import STATE_AFTER, JobState
from mdiff.recipe.exchange import DATASETS_VARIABLE
from mdiff.recipe.job import JobSpec, Submission
from mdiff.recipe.slurm_settings import SlurmSettings
from mdiff.run_dir import RunDir
from mdiff.units import duration_text, utc_now

HANDOVER_SECONDS = 600.0
"""sbatch may be slow; a submission that has no number after this time never got one."""


class SlurmBackend:
    """The job's id is SLURM's."""

    def prepare(self, job: JobSpec, dry_run: bool) -> Prepared:
        """The job with what only the cluster knows: its partition's time limit, and the CPUs of its nodes."""
        warnings = check_interpreter(job, dry_run)
        if not has_slurm():
            if not dry_run:
                raise LaunchError("no sbatch on this machine: submit from a login node of the cluster, or print the script only: --dry-run")
            return _without_cluster(job, (*warnings, "no sbatch on this machine"))
        try:
            prepared = check_cluster(job)
            return Prepared(prepared.job, (*warnings, *prepared.warnings))
        except LaunchError as error:
            if not dry_run:
                raise
            return _without_cluster(job, (*warnings, str(error)))

    def render(self, run_dir: RunDir, submission: Submission) -> str:
        """The batch script, and in comments what its supervisors start."""
        return "\n".join([batch_script(run_dir, submission), *_inner_lines(submission.job)])

    def start(self, run_dir: RunDir, submission: Submission) -> str:
        """
        Raises:
            LaunchError: sbatch refuses; with its own words.
        """
        # Not at the top: its half second is for those who submit.
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        from mdiff.attempt.slurm import SlurmAttempt

        job, folder = submission.job, run_dir.scheduler_files(submission.id)
        try:
            executor = SlurmExecutor(folder, max_num_timeout=job.max_attempts, python=task_python(job))
            executor.update_parameters(**parameters(run_dir, job))
            return executor.submit(SlurmAttempt(str(run_dir.path), submission.id)).job_id
        except (FailedJobError, FailedSubmissionError, RuntimeError) as error:
            # RuntimeError: submitit finds no srun.
            raise LaunchError(_refusal(str(error))) from error

    def look(self, submission: Submission, ledger: Ledger) -> Look:
        records = ledger.records_of(submission.id)
        job_id = _job_id(submission, ledger)
        if not job_id:
            return Look(JobState.PENDING if is_open(submission, records, utc_now()) else JobState.FAILED, "never reached the scheduler")
        return _look(read_job(job_id), submission, ledger)

    def read(self, submission: Submission, ledger: Ledger) -> Reading | None:
        """What the scheduler's own account says; None while nobody knows the job's number.

        Raises:
            LaunchError: the cluster does not answer.
        """
        job_id = _job_id(submission, ledger)
        if not job_id:
            # Being handed over at this moment, unless whoever did it died meanwhile.
            waited = (utc_now() - datetime.fromisoformat(submission.submitted_at)).total_seconds()
            never = Reading(submission=submission.id, scheduler_job="", read_at=utc_now().isoformat(), ended=True, has_accounting=False)
            return never if waited > HANDOVER_SECONDS else None
        job = read_job(job_id)
        starts = job.account.starts if job.account else ()
        return Reading(
            submission=submission.id,
            scheduler_job=job_id,
            read_at=utc_now().isoformat(),
            state=job.word,
            ended=job.is_settled,
            has_accounting=job.account is not None,
            attempts=tuple(_attempt(job_id, number, start, submission.job) for number, start in enumerate(starts)),
        )

    def catch_up(self, run_dir: RunDir, submission: Submission, ledger: Ledger) -> bool:
        """The job writes into the run directory itself."""
        return False

    def cancel(self, run_dir: RunDir, submission: Submission, ledger: Ledger, now: bool) -> str:
        job_id = _job_id(submission, ledger)
        job = read_job(job_id)
        is_running = job.state is JobState.RUNNING
        if now or not is_running:
            run_slurm("scancel", job_id)
            return f"cancelled job {job_id}" + ("; work since its newest checkpoint is lost" if is_running else ", which was not running")
        # It may be stopping for another reason already, after which it would come back.
        run_slurm("scontrol", "update", f"JobId={job_id}", "Requeue=0")
        attempt = run_dir.attempt(slurm_attempt(job_id, job.restarts))
        asked = request_stop(attempt, stop_request("cancelled", f"{user_name()} on {socket.gethostname()}"))
        grace = duration_text(submission.job.grace_seconds)
        if not asked:
            return f"job {job_id} is stopping already; it will not come back"
        return f"asked job {job_id} to stop; it may take {grace} to save its work"


def _job_id(submission: Submission, ledger: Ledger) -> str:
    """The scheduler's number; from an attempt's record if the submitting process died before it could write it down."""
    records = ledger.records_of(submission.id)
    return submission.scheduler_job or (records[-1].scheduler_job if records else "")


def _without_cluster(job: JobSpec, warnings: tuple[str, ...]) -> Prepared:
    """For a dry run: what neither the site nor a cluster says is left out of the script, and named."""
    slurm = job.slurm or SlurmSettings()
    left_out = [name for name, value in (("--time", slurm.time_limit_hours), ("--cpus-per-task", slurm.cpus_per_task)) if value is None]
    if slurm.time_limit_hours is None:
        job = job.model_copy(update={"attempt_limit_seconds": None})
    note = (f"left out of the script, because the cluster knows them: {', '.join(left_out)}",) if left_out else ()
    return Prepared(job, (*warnings, *note))


def _look(job: SlurmJob, submission: Submission, ledger: Ledger) -> Look:
    """The scheduler says whether a job runs, the supervisor's record why it ended."""
    records = ledger.records_of(submission.id)
    newest = records[-1] if records else None
    if job.state is JobState.PENDING:
        note = " ".join(filter(None, (job.reason, f"expected to start at {job.expected_start} UTC" if job.expected_start else "")))
        return Look(job.state, f"waiting: {note}" if note else "waiting")
    if job.state is JobState.RUNNING:
        return Look(running_state(RunDir(Path(submission.job.run_dir)).attempt(slurm_attempt(_job_id(submission, ledger), job.restarts))))
    if newest and newest.reason and (job.state.is_final or not job.word):
        state = STATE_AFTER[newest.reason]
        # A job that is cancelled while it waits for its next attempt has no record of that.
        state = JobState.CANCELLED if job.state is JobState.CANCELLED else state
        return Look(state, "" if not job.word or job.state is state else f"SLURM: {job.word}")
    if not job.word:
        return Look(JobState.FAILED, "SLURM does not know the job any more, and no reason of its end was written down")
    return Look(job.state, f"SLURM: {job.word}" if job.state.is_final else "")


def _attempt(job_id: str, number: int, start: Start, job: JobSpec) -> SchedulerAttempt:
    devices = start.gpus if start.gpus is not None else start.nodes * job.hardware.devices_per_node
    return SchedulerAttempt(
        attempt=slurm_attempt(job_id, number), state=start.word, device_seconds=start.seconds * devices, started_at=start.begun_at
    )


def _inner_lines(job: JobSpec) -> Iterator[str]:
    """What each supervisor starts; first host and port are known only inside the job."""
    yield "\n# Each of the tasks above is a supervisor (mdiff.attempt.slurm), which starts:"
    yield '#   MDIFF_RDZV_ID="$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}"'
    first = '$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n1)'
    yield f'#   MDIFF_RDZV_ENDPOINT="{first}:$(({FIRST_PORT} + SLURM_JOB_ID % {NUM_PORTS}))"'
    yield '#   MDIFF_RDZV_IS_HOST="$([ "$SLURM_NODEID" = 0 ] && echo true || echo false)"'
    for name, value in {**job.environment, DATASETS_VARIABLE: json.dumps(job.datasets)}.items():
        yield f"#   export {name}={shlex.quote(value)}"
    yield "#   " + " ".join(word if word.startswith("$MDIFF") or "=$MDIFF" in word else shlex.quote(word) for word in job.argv)


def _refusal(words: str) -> str:
    """sbatch's own sentence out of submitit's report of it."""
    lines = [line.strip() for line in words.splitlines() if "error:" in line]
    told = "; ".join(line.partition("error: ")[2] for line in lines) or " ".join(words.split())
    return f"sbatch refuses the job: {told}\n  Change [slurm] in the site file, or look at what would be submitted: --dry-run"
