"""Which sample comes when, as arithmetic: no files, and no processes but their numbers.

A data set of N samples is, in each epoch, one long row: its shards in an order that depends on (seed, data set, epoch) alone. The row
is cut into one segment per lane. So an epoch shows every sample exactly once, whatever the number of lanes and shards.

    row of epoch e    | shard 5 | shard 0 | shard 3 | shard 1 | ...
    lanes             |  lane 0  |  lane 1  |  lane 2  |  ...
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from mdiff.data.randomness import permutation, uniforms
from mdiff.errors import DataError


class SampleOrder:
    """The rows of one data set."""

    def __init__(self, name: str, counts: Sequence[int], lanes: int, seed: int) -> None:
        """`counts`: samples of each shard.

        Raises:
            DataError: there are fewer samples than lanes.
        """
        self._name = name
        self._counts = np.array(counts, dtype=np.int64)
        self._lanes = lanes
        self._seed = seed
        self._total = int(self._counts.sum())
        # Lanes move on to the next epoch at nearly the same time, so a few rows are enough.
        self._row = lru_cache(maxsize=4)(self._new_row)
        if self._total < lanes:
            raise DataError(f"{name}: {self._total} samples cannot fill data.lanes = {lanes}; take fewer lanes or a larger data set")

    def lane_length(self, lane: int) -> int:
        """Samples of this lane in one epoch."""
        return self._start(lane + 1) - self._start(lane)

    def locate(self, epoch: int, lane: int, offset: int) -> tuple[int, int]:
        """Shard, and index in it, of the sample at `offset` of the lane's segment."""
        shards, ends = self._row(epoch)
        position = self._start(lane) + offset
        place = int(np.searchsorted(ends, position, side="right"))
        shard = int(shards[place])
        return shard, int(position - ends[place] + self._counts[shard])

    def _start(self, lane: int) -> int:
        return lane * self._total // self._lanes

    def _new_row(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        shards = permutation(("shards", self._seed, self._name, epoch), len(self._counts))
        return shards, np.cumsum(self._counts[shards])


def lanes_of_rank(lanes: int, rank: int, world_size: int) -> range:
    """The lanes that one process reads: a contiguous block, so that all processes together give the lanes in order.

    Raises:
        DataError: the processes cannot share the lanes evenly.
    """
    if lanes % world_size:
        raise DataError(f"data.lanes = {lanes} cannot be shared by {world_size} processes; it must be a multiple of them")
    each = lanes // world_size
    return range(rank * each, (rank + 1) * each)


def choose_dataset(seed: int, lane: int, number: int, weights: Sequence[float]) -> int:
    """Index of the data set that gives the lane's sample of this running number."""
    if len(weights) == 1:
        return 0
    limits = np.cumsum(weights)
    (drawn,) = uniforms(("data set", seed), (lane, number, 0), 1)
    return min(int(np.searchsorted(limits, drawn * limits[-1], side="right")), len(weights) - 1)


def dropped_captions(seed: int, stage: int, step: int, lanes: range, per_lane: int, share: float) -> np.ndarray:
    """Which samples of a step are trained without their caption, (lanes * per_lane,) bool, in lane order."""
    drawn = [uniforms(("caption dropout", seed), (lane, step, stage), per_lane) for lane in lanes]
    return np.concatenate(drawn) < share
