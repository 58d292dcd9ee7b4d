"""The attempt's ledger record: kept true while the job runs, whatever the disk does."""

import time
from collections.abc import Callable, Sequence

from mdiff.attempt.exit_codes import End
from mdiff.attempt.log import AttemptLog
from mdiff.attempt.meter import Meter
from mdiff.budget.record import Activity, AttemptRecord
from mdiff.recipe.exchange import Progress
from mdiff.run_dir import AttemptDir, replace_file
from mdiff.units import utc_now

CHANGE_SECONDS = 3.0
"""A change of activity is written at once, but not more often than this."""
CLOSE_SECONDS = 30.0
"""For how long the final record is tried while the disk is full."""
TRY_AGAIN_SECONDS = 5.0


class Bookkeeper:
    """Sole writer of `record.json`. Numbers are cumulative: a record that could not be written is made good by the next."""

    def __init__(
        self,
        attempt: AttemptDir,
        first: AttemptRecord,
        stage_sizes: Sequence[int],
        meter: Meter,
        log: AttemptLog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            stage_sizes: images of each stage of the recipe, in order.
        """
        self._attempt = attempt
        self._record = first
        self._stage_sizes = stage_sizes
        self._meter = meter
        self._log = log
        self._clock = clock
        self._written_at = 0.0
        self._written_activity: tuple[int, Activity] | None = None
        self._disk_fails = False

    def note(self, progress: Progress) -> None:
        """Where the job stands; goes into the next record."""
        # The last report of a stage may have come before its last step: that another stage is under way says that it is done.
        done = {str(stage): images for stage, images in enumerate(self._stage_sizes, start=1) if stage < progress.stage}
        key = str(progress.stage)
        images = max(progress.stage_images, self._record.stage_images.get(key, 0))
        self._record = self._record.model_copy(
            update={
                "stage_images": {**self._record.stage_images, **done, key: images},
                "images_seen": progress.images_seen,
                "stage": progress.stage,
                "step": progress.step,
            }
        )

    def heartbeat(self) -> None:
        """Write the record if it is time to."""
        changed = self._meter.current != self._written_activity
        longest = CHANGE_SECONDS if changed else TRY_AGAIN_SECONDS if self._disk_fails else self._record.heartbeat_interval_seconds
        wait = min(longest, self._record.heartbeat_interval_seconds)
        if self._written_activity is None or self._clock() - self._written_at >= wait:
            self._write()

    def close(self, end: End, sleep: Callable[[float], None] = time.sleep) -> bool:
        """Write the reason of the end; False if the disk does not take it, so that the last heartbeat is what will be billed."""
        self._record = self._record.model_copy(update={"reason": end.reason, "detail": end.detail})
        deadline = self._clock() + CLOSE_SECONDS
        while not self._write():
            if self._clock() >= deadline:
                return False
            sleep(min(TRY_AGAIN_SECONDS, self._record.heartbeat_interval_seconds))
        return True

    def _write(self) -> bool:
        self._record = self._record.model_copy(update={"slices": self._meter.slices(), "heartbeat_at": utc_now().isoformat()})
        self._written_at, self._written_activity = self._clock(), self._meter.current
        try:
            replace_file(self._attempt.record, self._record.model_dump_json(indent=1))
        except OSError as error:
            if not self._disk_fails:
                self._log.write(f"the ledger record cannot be written ({error.strerror or error}); the job goes on, trying again")
            self._disk_fails = True
            return False
        if self._disk_fails:
            self._log.write("the ledger record can be written again; nothing was lost")
        self._disk_fails = False
        return True
