"""How a node other than node 0 comes into an attempt: it takes its place there and, in an elastic job, asks for one."""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from mdiff.attempt.gather import read_members
from mdiff.attempt.job_files import read_progress
from mdiff.attempt.node import JOIN_SECONDS
from mdiff.attempt.pod import Pod, attempts_of
from mdiff.attempt.stop import request_stop, stop_request
from mdiff.budget.liveness import supervisor_is_alive
from mdiff.budget.record import AttemptRecord
from mdiff.recipe.job import Elastic
from mdiff.run_dir import AttemptDir, RunDir, create_file, replace_file
from mdiff.units import utc_now

LOOK_SECONDS = 0.5


def living_record(attempt: AttemptDir) -> AttemptRecord | None:
    try:
        record = AttemptRecord.model_validate_json(attempt.record.read_bytes())
    except OSError:
        return None
    return record if supervisor_is_alive(record, utc_now(), lambda _: None) else None


def takes_place(attempt: AttemptDir, pod: Pod) -> bool:
    """False if another pod had this place: it has gone, and node 0 must end the attempt, for its job may not notice for long."""
    place = attempt.node_joined(pod.index)
    if create_file(place, pod.uid) or place.read_text() == pod.uid:
        return True
    attempt.node_lost(pod.index).touch()
    return False


class Applicant:
    """A pod of an elastic job, until an attempt counts on it."""

    def __init__(
        self,
        run_dir: RunDir,
        pod: Pod,
        elastic: Elastic,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._run_dir, self._pod, self._elastic = run_dir, pod, elastic
        self._clock, self._now = clock, now
        self._first_images: dict[str, int] = {}
        """Attempt -> images_seen when we first looked."""

    def wait(self, sleep: Callable[[float], None] = time.sleep) -> tuple[AttemptDir, AttemptRecord] | None:
        """The attempt that has begun with this node; None if for long none has gathered or lived."""
        self._deadline = self._clock() + JOIN_SECONDS
        while self._clock() < self._deadline:
            for attempt in attempts_of(self._run_dir, self._pod.job)[-1:]:
                # On a full disk we may do nothing now; the job that runs shall not fail for it.
                with suppress(OSError):
                    if record := self._look(attempt):
                        return attempt, record
            sleep(LOOK_SECONDS)
        return None

    def _look(self, attempt: AttemptDir) -> AttemptRecord | None:
        """The attempt's record, if it is ours."""
        members, record = read_members(attempt), living_record(attempt)
        if members is None:
            self._sit_down(attempt)
        elif self._pod.index in members:
            return record if record and takes_place(attempt, self._pod) else None
        elif record:
            self._deadline = self._clock() + JOIN_SECONDS
            self._ask_to_begin_anew(attempt, record)
        return None

    def _sit_down(self, attempt: AttemptDir) -> None:
        """Until the nodes are counted, the pod that was made in place of another one may have its place."""
        place = attempt.node_joined(self._pod.index)
        if not place.exists() or place.read_text() != self._pod.uid:
            replace_file(place, self._pod.uid)

    def _ask_to_begin_anew(self, attempt: AttemptDir, record: AttemptRecord) -> None:
        if attempt.stop.exists() or not self._is_worth_it(attempt, record):
            return
        if request_stop(attempt, stop_request("preempted", f"node {self._pod.index}, which would join")):
            print(f"asked attempt {attempt.name} to save its work and begin anew with node {self._pod.index}", flush=True)

    def _is_worth_it(self, attempt: AttemptDir, record: AttemptRecord) -> bool:
        """Two attempts in a row that add nothing would end the job."""
        progress = read_progress(attempt)
        if progress is None:
            return False
        first = self._first_images.setdefault(attempt.name, progress.images_seen)
        age = (self._now() - datetime.fromisoformat(record.started_at)).total_seconds()
        return progress.images_seen > first and age >= self._elastic.rejoin_after_seconds
