"""How long the devices were held, and for what."""

import time
from collections.abc import Callable, Mapping

from mdiff.budget.record import Activity, Slice
from mdiff.recipe.exchange import JobActivity
from mdiff.recipe.recipe import JobKind


class Meter:
    """Adds up device-seconds by stage and activity.

    The clock is monotonic: setting the wall clock bills nothing, and on Linux and macOS it stands still while a laptop is
    suspended. Time belongs to what was under way when it began, as far as it was known then.
    """

    def __init__(
        self, num_devices: int, kind: JobKind, images_before: Mapping[int, int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            images_before: stage -> its images that earlier attempts had done; doing them again counts as `repeated`.
            clock: seconds.
        """
        self._num_devices = num_devices
        self._kind = kind
        self._images_before = images_before
        self._clock = clock
        self._begun = self._since = clock()
        self._current: tuple[int, Activity] = (0, "startup" if kind == "train" else "working")
        self._seconds: dict[tuple[int, Activity], float] = {}

    @property
    def elapsed_seconds(self) -> float:
        """Wall time of the attempt."""
        return self._clock() - self._begun

    @property
    def current(self) -> tuple[int, Activity]:
        """Stage and activity that are under way."""
        return self._current

    def observe(self, stage: int, activity: JobActivity, stage_images: int) -> None:
        """The job says what it is doing, and how many images of the stage are done."""
        if self._kind != "train":
            self._switch(stage, "working")
        elif activity == "training" and stage_images < self._images_before.get(stage, 0):
            self._switch(stage, "repeated")
        else:
            self._switch(stage, activity)

    def shut_down(self) -> None:
        """The job has said how it ended; what follows is its shutdown."""
        self._switch(self._current[0], "shutdown")

    def slices(self) -> tuple[Slice, ...]:
        """Everything up to now."""
        self._switch(*self._current)
        return tuple(
            Slice(stage=stage, activity=activity, device_seconds=round(seconds * self._num_devices, 3))
            for (stage, activity), seconds in self._seconds.items()
        )

    def _switch(self, stage: int, activity: Activity) -> None:
        now = self._clock()
        self._seconds[self._current] = self._seconds.get(self._current, 0.0) + now - self._since
        self._since, self._current = now, (stage, activity)
