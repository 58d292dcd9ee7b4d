"""What a backend answers before and after a job was handed over."""

from typing import NamedTuple

from mdiff.launch.state import JobState
from mdiff.recipe.job import JobSpec


class Prepared(NamedTuple):
    """A job with what only its place knows."""

    job: JobSpec
    warnings: tuple[str, ...] = ()


class Look(NamedTuple):
    """What a job is doing now."""

    state: JobState
    note: str = ""
    """Why it waits, or what the scheduler says of its end."""
