"""How fast training goes, without the time that checkpoints and sample grids take."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Throughput:
    """Images a second since the last reading."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._images = 0
        self._paused = 0.0

    def add(self, images: int) -> None:
        self._images += images

    @contextmanager
    def paused(self) -> Iterator[None]:
        begin = self._clock()
        yield
        self._paused += self._clock() - begin

    def read(self) -> float:
        """Images a second over all processes; begins a new reading."""
        elapsed = self._clock() - self._since - self._paused
        rate = self._images / elapsed if elapsed > 0 else 0.0
        self._since, self._images, self._paused = self._clock(), 0, 0.0
        return rate
