"""What the scheduler says of a run's jobs: `sync/<utc>-<id>.json`, one file a reading, and the newest of each job counts."""

import secrets
from collections.abc import Iterable
from contextlib import suppress

from pydantic import ValidationError

from mdiff.recipe.settings import Settings
from mdiff.run_dir import RunDir, replace_file
from mdiff.units import utc_now, utc_stamp

MOST_FILES = 20


UNMETERED = "pod-"
"""Kubernetes: before the uid of a pod from which no supervisor has been heard, in place of the attempt's number."""


class SchedulerAttempt(Settings):
    """One start of a job, in the scheduler's own account."""

    attempt: str
    """Named as the supervisor names it."""
    state: str
    """The scheduler's word."""
    device_seconds: float
    """Billed devices x wall time, from allocation to release."""
    started_at: str
    """UTC, ISO."""


class PodUse(Settings):
    """How long one pod held its devices, as far as it was seen: Kubernetes keeps no account, and deleted pods are forgotten there."""

    name: str
    uid: str
    node: int
    devices: int
    state: str
    """Phase, or the reason of its failure."""
    held_from: str
    held_to: str = ""
    """"" while it runs, and for a pod that was deleted before anybody saw its end."""
    seen_at: str
    """When it was last seen."""
    is_gone: bool = False


class Reading(Settings):
    """One job at one moment."""

    submission: str
    scheduler_job: str
    read_at: str
    state: str = ""
    """The scheduler's word for the whole job; "" when it has forgotten it."""
    ended: bool
    """Nothing of it will run again."""
    has_accounting: bool
    """False: the scheduler keeps no account, so `attempts` is empty and the meter stands."""
    attempts: tuple[SchedulerAttempt, ...] = ()
    pods: tuple[PodUse, ...] = ()
    """Kubernetes: every pod that was ever seen."""
    may_lack: bool = False
    """Pods may have run, or run on, that nobody saw: the sums are lower bounds."""


class ReadingFile(Settings):
    readings: tuple[Reading, ...]


def write_readings(run_dir: RunDir, readings: Iterable[Reading]) -> None:
    name = f"{utc_stamp(utc_now())}-{secrets.token_hex(2)}.json"
    replace_file(run_dir.sync / name, ReadingFile(readings=tuple(readings)).model_dump_json(indent=1))
    _forget_superseded(run_dir)


def _forget_superseded(run_dir: RunDir) -> None:
    """Delete readings that newer ones have replaced, once there are many: every report reads them all."""
    paths = sorted(run_dir.sync.glob("*.json"), reverse=True)
    if len(paths) <= MOST_FILES:
        return
    told: set[str] = set()
    for path in paths:
        with suppress(FileNotFoundError, ValidationError):
            submissions = {reading.submission for reading in ReadingFile.model_validate_json(path.read_bytes()).readings}
            if submissions <= told:
                path.unlink()
            told |= submissions


def same_facts(one: Reading | None, other: Reading) -> bool:
    """Whether a reading says what an earlier one said; if so, it need not be kept."""
    return one is not None and one.model_copy(update={"read_at": other.read_at}) == other
