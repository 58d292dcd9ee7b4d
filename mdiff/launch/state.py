"""What a job is doing, in our own words: one table for all backends."""

from enum import StrEnum

from mdiff.budget.record import EndReason


class JobState(StrEnum):
    """A word that a scheduler invents later is UNKNOWN, and UNKNOWN is never final."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    STOPPING = "STOPPING"
    """Asked to stop; saving its work."""
    COMPLETED = "COMPLETED"
    STOPPED = "STOPPED"
    """By the budget, the time limit or the scheduler; what it had done is saved."""
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"

    @property
    def is_final(self) -> bool:
        return self in (JobState.COMPLETED, JobState.STOPPED, JobState.CANCELLED, JobState.FAILED)


STATE_AFTER: dict[EndReason, JobState] = {
    "completed": JobState.COMPLETED,
    "budget": JobState.STOPPED,
    "time_limit": JobState.STOPPED,
    "preempted": JobState.STOPPED,
    "peer_lost": JobState.STOPPED,
    "attempts_used": JobState.STOPPED,
    "no_progress": JobState.FAILED,
    "failed": JobState.FAILED,
    "cancelled": JobState.CANCELLED,
    "refused_budget": JobState.FAILED,
    "refused_data": JobState.FAILED,
}
"""Of a job that is not started again."""
