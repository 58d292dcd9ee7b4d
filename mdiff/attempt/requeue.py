"""Whether the scheduler shall start the job again, said where the batch script on the host can see it.

A container has no `scontrol`, and an attempt that ended must not depend on a person at night. So the supervisor leaves a file,
and the last lines of the batch script, which runs on the host, requeue the job if they find it.
"""

from mdiff.attempt.exit_codes import EXIT_CODES, START_AGAIN, End
from mdiff.attempt.log import AttemptLog
from mdiff.attempt.persist import keep_trying
from mdiff.attempt.stop import ASKING, is_sent_by
from mdiff.recipe.exchange import StopRequest
from mdiff.recipe.job import JobSpec
from mdiff.run_dir import AttemptDir


def ask_for_requeue(
    attempt: AttemptDir, end: End, attempts: int, job: JobSpec, seconds_left: float, stop: StopRequest | None, log: AttemptLog
) -> bool:
    """Whether word was left.

    Args:
        attempts: of this job so far.
        seconds_left: of the whole job's time limit.
        stop: why the attempt was asked to stop, if it was.
    """
    if not may_start_again(end, attempts, job, seconds_left) or _scheduler_decides(stop):
        return False
    return keep_trying(attempt.requeue.touch, "the request to start this job again", log)


def may_start_again(end: End, attempts: int, job: JobSpec, seconds_left: float) -> bool:
    """Whether another attempt is wanted, and allowed."""
    return EXIT_CODES[end.reason] == START_AGAIN and attempts < job.max_attempts and seconds_left > job.grace_seconds


def _scheduler_decides(stop: StopRequest | None) -> bool:
    """SIGTERM is `scancel` as well as a preemption: whoever sent it has decided already whether the job comes back."""
    return stop is not None and is_sent_by(ASKING, stop)
