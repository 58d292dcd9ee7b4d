"""Why an attempt ended, and what its supervisor's exit code tells the scheduler."""

import signal
from collections.abc import Sequence
from typing import NamedTuple

from mdiff.budget.record import EndReason
from mdiff.recipe.exchange import Outcome, StopRequest

START_AGAIN = 143
"""Schedulers are told to start a job again after this one, as after SIGTERM."""

EXIT_CODES: dict[EndReason, int] = {
    "completed": 0,
    "budget": 0,
    "preempted": START_AGAIN,
    "peer_lost": START_AGAIN,
    "time_limit": START_AGAIN,
    "failed": 1,
    "cancelled": 1,
    "no_progress": 1,
    "attempts_used": 1,
    "refused_budget": 3,
    "refused_data": 5,
}

MAX_ATTEMPTS_WITHOUT_PROGRESS = 2


class End(NamedTuple):
    """How an attempt ended."""

    reason: EndReason
    detail: str = ""
    """One line for people."""


class JobEnd(NamedTuple):
    """What the supervisor knows when the job has gone."""

    exit_code: int
    """128 + n: ended by signal n."""
    outcome: Outcome | None
    """What the job said itself, if it came to that."""
    stop: StopRequest | None
    was_killed: bool
    """By the supervisor, because it did not leave within the grace time."""
    last_words: str
    """The line of its log that says most."""


def end_of(job: JobEnd) -> End:
    """Why the attempt ended. What the job says of itself counts first, then what it was asked for, then its exit code."""
    said = job.outcome.reason if job.outcome else None
    if said == "completed" and not job.was_killed:
        return End("completed")
    if said in ("refused_data", "failed"):
        return End(said, job.outcome.detail if job.outcome and job.outcome.detail else job.last_words)
    if job.stop is not None:
        return End(job.stop.reason, _how_it_left(job, job.stop))
    if job.exit_code == 0 and said != "stopped":
        return End("completed")
    return End("failed", job.last_words or _code_text(job.exit_code))


def without_progress(newest_before: str, written: Sequence[str]) -> bool:
    """Whether the last attempts of a job, one after the other, left no checkpoint newer than what was there.

    Args:
        newest_before: name of the newest checkpoint before the job's first attempt; "" if there was none.
        written: of each attempt in order, the newest checkpoint that it wrote; "" if it wrote none.

    >>> without_progress("", ["stage-1-step-000200", "", ""]), without_progress("", ["", "stage-1-step-000200", ""])
    (True, False)
    """
    newest, idle = newest_before, 0
    for name in written:
        idle = 0 if name > newest else idle + 1
        newest = max(newest, name)
    return idle >= MAX_ATTEMPTS_WITHOUT_PROGRESS


def _how_it_left(job: JobEnd, stop: StopRequest) -> str:
    by = f"asked by {stop.requested_by}" if stop.requested_by else "asked to stop"
    if job.was_killed:
        return f"{by}; did not leave in time and was killed"
    return by if job.exit_code == 0 else f"{by}; left with {_code_text(job.exit_code)}"


def _code_text(code: int) -> str:
    if code <= 128:
        return f"exit code {code}"
    try:
        name = signal.Signals(code - 128).name
    except ValueError:
        return f"exit code {code}"
    return f"signal {name}" + (" (often: out of memory)" if name == "SIGKILL" else "")
