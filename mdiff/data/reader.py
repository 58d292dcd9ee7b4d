"""The samples of each training step: the same for any number of processes, and the same again after a restart."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from mdiff.data.order import SampleOrder, choose_dataset, dropped_captions, lanes_of_rank
from mdiff.data.positions import Positions, ReaderState
from mdiff.data.prefetch import Prefetcher
from mdiff.data.shards import Sample, ShardStore
from mdiff.errors import DataError
from mdiff.recipe.stage import DataSetUse

MAX_OPEN_SHARDS = 240
"""Of one process; each has two files, and 1,024 open files are a common limit."""


KEPT_OPEN = 32
"""Shards of a small data set stay open: opening one again means to read its table of contents again."""


class Batch(NamedTuple):
    """One rank's share of a step, in lane order."""

    latents: Tensor
    """(n, C, H, W) float32."""
    caption_latents: Tensor
    """(n, L, C) float32; all zeros where the caption was dropped."""
    captions: list[str]
    """Texts, those of dropped captions too."""
    lanes: Tensor
    """(n,) int64: the lane of each sample."""
    step: int
    """Of the stage, from 0."""
    state_after: ReaderState
    """Where to go on after this step: this rank's lanes."""


class Reader:
    """Batches without end. Close it, or use it in a `with`."""

    def __init__(self, batches: Iterator[Batch], stores: Sequence[ShardStore], prefetch: int) -> None:
        self._stores = stores
        self._ahead = Prefetcher(batches, prefetch) if prefetch else None
        self._batches: Iterator[Batch] = self._ahead or batches

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return next(self._batches)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop working ahead and close all files."""
        if self._ahead is not None:
            self._ahead.close()
        for store in self._stores:
            store.close()


def open_reader(
    folders: Mapping[str, Path],
    uses: Sequence[DataSetUse],
    resolution: int,
    *,
    seed: int,
    lanes: int,
    batch_size: int,
    caption_dropout: float,
    stage_index: int,
    rank: int = 0,
    world_size: int = 1,
    state: ReaderState | None = None,
    first_step: int = 0,
    prefetch: int = 2,
) -> Reader:
    """Open the data sets of a stage.

    Args:
        folders: where each data set lies, by name.
        resolution: side of the pictures in pixels.
        batch_size: of all processes together; a multiple of `lanes`.
        state: of all lanes that this rank will read; more do no harm, so the merged state of any number of ranks will do.
        first_step: number of the first step that is read, from 0.
        prefetch: steps that are read ahead in a thread; 0: none, and no thread.

    Raises:
        DataError: a data set is missing, damaged or too small, or the processes cannot share the lanes.
    """
    if batch_size % lanes:
        raise ValueError(f"batch_size must be a multiple of lanes, got {batch_size} and {lanes}")
    own_lanes = lanes_of_rank(lanes, rank, world_size)
    max_open = max(2, min(max(len(own_lanes) + 2, KEPT_OPEN), MAX_OPEN_SHARDS // len(uses)))
    stores = [ShardStore(folders[use.name], resolution, max_open) for use in uses]
    _require_equal_shapes(uses, stores)
    sources = [_Source(use, store, SampleOrder(use.name, store.counts, lanes, seed)) for use, store in zip(uses, stores, strict=True)]
    positions = Positions(own_lanes, [use.name for use in uses], state or {})
    draws = _Draws(seed, stage_index, own_lanes, batch_size // lanes, caption_dropout)
    return Reader(_batches(sources, positions, draws, first_step), stores, prefetch)


class _Draws(NamedTuple):
    """What randomness depends on, and how many samples are drawn."""

    seed: int
    stage_index: int
    lanes: range
    per_lane: int
    caption_dropout: float


class _Source(NamedTuple):
    """One data set of the stage."""

    use: DataSetUse
    store: ShardStore
    order: SampleOrder

    def next_sample(self, positions: Positions, lane: int) -> Sample:
        """The lane's next sample that is large enough."""
        name, least = self.use.name, self.use.min_short_side
        position, length = positions.at(lane, name), self.order.lane_length(lane)
        if position.offset >= length:
            stopped = f"lane {lane} stopped at {position.offset} of {length} samples"
            raise DataError(f"{name}: {stopped}: this is not the data set of the checkpoint")
        for _ in range(length):
            shard, index = self.order.locate(position.epoch, lane, position.offset)
            sample = self.store.read(shard, index, least)
            position.advance(length)
            if sample is not None:
                position.taken += 1
                return sample
        passed = f"lane {lane} passed over {length:,} pictures in a row, a whole epoch"
        raise DataError(f"{name}: {passed}: their short sides are below min_short_side = {least} px")


def _batches(sources: Sequence[_Source], positions: Positions, draws: _Draws, first_step: int) -> Iterator[Batch]:
    weights = [source.use.weight for source in sources]
    lane_of_sample = np.repeat(np.array(draws.lanes), draws.per_lane)
    for step in count(first_step):
        samples = []
        for lane in lane_of_sample.tolist():
            chosen = choose_dataset(draws.seed, lane, positions.running_number(lane), weights)
            samples.append(sources[chosen].next_sample(positions, lane))
        dropped = dropped_captions(draws.seed, draws.stage_index, step, draws.lanes, draws.per_lane, draws.caption_dropout)
        yield _batch(samples, dropped, torch.from_numpy(lane_of_sample), step, positions.state())


def _batch(samples: Sequence[Sample], dropped: np.ndarray, lanes: Tensor, step: int, state: ReaderState) -> Batch:
    latents = np.stack([sample.stored_latents for sample in samples])
    caption_latents = np.stack([sample.caption_latents for sample in samples])
    caption_latents[dropped] = 0
    captions = [sample.text for sample in samples]
    return Batch(torch.from_numpy(latents).float(), torch.from_numpy(caption_latents).float(), captions, lanes.clone(), step, state)


def _require_equal_shapes(uses: Sequence[DataSetUse], stores: Sequence[ShardStore]) -> None:
    for use, store in zip(uses, stores, strict=True):
        if store.shapes != stores[0].shapes:
            raise DataError(
                f"{use.name}: latents and caption latents of shapes {store.shapes[0]} and {store.shapes[1]} "
                f"cannot be mixed with those of {uses[0].name}, {stores[0].shapes[0]} and {stores[0].shapes[1]}"
            )
