"""Brings here what a job wrote where this machine cannot see it: its supervisors tell their books in their pods' logs.

Records, progress and logs are kept in this machine's run directory as if the job had written them here, so that everything that reads
them works alike on every backend. What is newer is never replaced by what is older: where this machine does see the volume, nothing
changes.
"""

import fcntl
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from mdiff.attempt.tell import Bulletin, read_bulletin
from mdiff.budget.record import AttemptRecord
from mdiff.errors import LaunchError
from mdiff.launch.kubernetes.pods import FINAL_PHASES, PodFacts
from mdiff.recipe.job import Submission
from mdiff.recipe.settings import Settings
from mdiff.run_dir import RunDir, create_file, replace_file

OVERLAP_SECONDS = 5

ReadLog = Callable[[str, int | None], str]
"""Name of a pod, and how many seconds back -> lines with their times."""


class LogPlace(Settings):
    """How far the log of one pod has been read."""

    last: str = ""
    """Time of the last line."""
    num_last: int = 0
    """How many lines of that time have been read."""
    fetched_at: float = 0.0
    """By this machine's clock."""
    attempt: str = ""
    node: int = 0
    is_over: bool = False


class Mirror(Settings):
    """Kept beside the submission."""

    pods: dict[str, LogPlace] = {}
    """By uid."""
    submission: str = ""
    """How the job's own books call its submission."""


def mirror_logs(
    read_log: ReadLog, run_dir: RunDir, submission: Submission, pods: Iterable[PodFacts], clock: Callable[[], float] = time.time,
    wait: bool = False,
) -> bool:  # fmt: skip
    """Whether there was anything new.

    Args:
        wait: for another command that is doing the same at this moment; without, what it brings is enough.
    """
    if str(run_dir.path) == submission.job.run_dir:
        return False
    folder = run_dir.scheduler_files(submission.id)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return _mirror(read_log, run_dir, submission, pods, folder / "logs.json", clock)


def _mirror(
    read_log: ReadLog, run_dir: RunDir, submission: Submission, pods: Iterable[PodFacts], path: Path, clock: Callable[[], float]
) -> bool:
    mirror, news = read_mirror(path), False
    for pod in pods:
        place = mirror.pods.get(pod.uid, LogPlace())
        if pod.phase == "Pending" or place.is_over:
            continue
        now = clock()
        since = int(now - place.fetched_at) + OVERLAP_SECONDS if place.fetched_at else None
        try:
            lines = list(_new_lines(read_log(pod.name, since), place))
        except LaunchError:
            # A node that does not answer must not keep anybody from asking after the others, or from cancelling.
            continue
        place = place.model_copy(update={"fetched_at": now, "is_over": pod.phase in FINAL_PHASES})
        mirror, place = _take(run_dir, submission, mirror, place, lines)
        mirror = mirror.model_copy(update={"pods": mirror.pods | {pod.uid: place}})
        news = news or bool(lines)
    if news:
        replace_file(path, mirror.model_dump_json())
    return news


def read_mirror(path: Path) -> Mirror:
    try:
        return Mirror.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return Mirror()


def _new_lines(log: str, place: LogPlace) -> Iterator[tuple[str, str]]:
    """(time, text) of the lines that have not been read yet."""
    num_same = 0
    for line in log.splitlines():
        stamp, _, text = line.partition(" ")
        if stamp == place.last:
            num_same += 1
        if stamp > place.last or (stamp == place.last and num_same > place.num_last):
            yield stamp, text


def _take(
    run_dir: RunDir, submission: Submission, mirror: Mirror, place: LogPlace, lines: list[tuple[str, str]]
) -> tuple[Mirror, LogPlace]:
    said: list[str] = []
    for stamp, text in lines:
        place = place.model_copy(update={"last": stamp, "num_last": place.num_last + 1 if stamp == place.last else 1})
        bulletin = read_bulletin(text)
        if bulletin is None:
            said.append(text)
            continue
        if not place.attempt and not bulletin.is_last:
            place = place.model_copy(update={"attempt": bulletin.attempt, "node": bulletin.node})
        if bulletin.submission:
            mirror = mirror.model_copy(update={"submission": bulletin.submission})
        keep_bulletin(run_dir, submission, bulletin, mirror.submission)
    if said and place.attempt:
        _append(run_dir.attempt(place.attempt).log_of(place.node), said)
    return mirror, place


def keep_bulletin(run_dir: RunDir, submission: Submission, bulletin: Bulletin, told_as: str) -> None:
    """
    Args:
        told_as: name of this submission in the job's own books.
    """
    record = bulletin.record
    if record is None or record.attempt != bulletin.attempt:
        return
    attempt = run_dir.attempt(record.attempt)
    known = _read_record(attempt.record)
    # An attempt stays where it was filed first: the same job has another name in its own books.
    here = known.submission if known else submission.id if record.submission == told_as else record.submission
    record = record.model_copy(update={"submission": here})
    if known and (known.heartbeat_at, known.reason is not None) >= (record.heartbeat_at, record.reason is not None):
        return
    create_file(run_dir.recipe, submission.recipe_toml)
    replace_file(attempt.record, record.model_dump_json(indent=1))
    if bulletin.progress:
        replace_file(attempt.progress, bulletin.progress.model_dump_json())


def _read_record(path: Path) -> AttemptRecord | None:
    try:
        return AttemptRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _append(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))
