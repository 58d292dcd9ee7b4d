from collections import Counter
from contextlib import ExitStack
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdiff.data.positions import merge_states
from mdiff.data.reader import open_reader
from mdiff.errors import DataError
from mdiff.recipe.stage import DataSetUse


def open_tiny(*roots, uses=None, **changes):
    uses = uses or [DataSetUse(name=root.name) for root in roots]
    arguments = {"seed": 5, "lanes": 4, "batch_size": 8, "caption_dropout": 0.0, "stage_index": 0, "prefetch": 0} | changes
    return open_reader({root.name: root for root in roots}, uses, 8, **arguments)


def read(steps, *roots, **changes):
    with open_tiny(*roots, **changes) as reader:
        return list(islice(reader, steps))


def read_by_ranks(steps, world_size, *roots, state=None, **changes):
    """Per step: captions of all ranks in order of rank, and the merged state."""
    with ExitStack() as stack:
        readers = [stack.enter_context(open_tiny(*roots, rank=r, world_size=world_size, state=state, **changes)) for r in range(world_size)]
        for _ in range(steps):
            batches = [next(reader) for reader in readers]
            yield [text for batch in batches for text in batch.captions], merge_states(batch.state_after for batch in batches)


@pytest.fixture(scope="session")
def tiny(write_tiny, tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("reader") / "tiny", [5, 7, 1, 10])


@pytest.fixture(scope="session")
def other(write_tiny, tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("reader") / "other", [9, 9], name="o")


def test_batch_has_the_samples_with_their_captions_in_lane_order(tiny):
    (batch,) = read(1, tiny)
    indices = torch.tensor([int(text.removeprefix("k")) for text in batch.captions])
    assert batch.latents.shape == (8, 1, 2, 2)
    assert batch.caption_latents.shape == (8, 2, 4)
    assert batch.latents.dtype == batch.caption_latents.dtype == torch.float32
    assert torch.equal(batch.latents[:, 0, 0, 0], indices.float())
    assert torch.equal(batch.caption_latents[:, 0, 0], indices.float() + 1)
    assert batch.lanes.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@settings(max_examples=15, deadline=None)
@given(counts=st.lists(st.integers(1, 6), min_size=1, max_size=5), lanes=st.sampled_from([1, 2, 4]), per_lane=st.integers(1, 3))
def test_each_lane_goes_through_its_part_of_every_epoch_exactly_once(write_tiny, tmp_path_factory, counts, lanes, per_lane):
    total = sum(counts)
    if total < lanes:
        return
    root = write_tiny(tmp_path_factory.mktemp("epoch") / "d", counts)
    batches = read(2 * total, root, lanes=lanes, batch_size=lanes * per_lane)
    by_lane = {lane: [] for lane in range(lanes)}
    for batch in batches:
        for lane, text in zip(batch.lanes.tolist(), batch.captions, strict=True):
            by_lane[lane].append(text)
    first_epoch = [text for lane in by_lane for text in by_lane[lane][: (lane + 1) * total // lanes - lane * total // lanes]]
    assert Counter(first_epoch) == Counter(f"k{index}" for index in range(total))


@pytest.mark.parametrize("world_size", [2, 4])
def test_samples_of_a_step_do_not_depend_on_the_number_of_processes(tiny, other, world_size):
    alone = list(read_by_ranks(30, 1, tiny, other))
    together = list(read_by_ranks(30, world_size, tiny, other))
    assert together == alone


@pytest.mark.parametrize("stop", [1, 8, 27])
def test_resumed_reader_goes_on_as_if_never_stopped(tiny, other, stop):
    whole = read(40, tiny, other, caption_dropout=0.5)
    rest = read(40 - stop, tiny, other, caption_dropout=0.5, state=whole[stop - 1].state_after, first_step=stop)
    for before, after in zip(whole[stop:], rest, strict=True):
        assert (before.captions, before.step, before.state_after) == (after.captions, after.step, after.state_after)
        assert torch.equal(before.caption_latents, after.caption_latents)


def test_state_may_be_resumed_with_another_number_of_processes(tiny, other):
    whole = list(read_by_ranks(30, 2, tiny, other))
    assert list(read_by_ranks(18, 4, tiny, other, state=whole[11][1], first_step=12)) == whole[12:]


def test_reading_ahead_changes_nothing(tiny):
    ahead, plain = read(20, tiny, prefetch=3), read(20, tiny)
    assert [batch.captions for batch in ahead] == [batch.captions for batch in plain]
    assert [batch.state_after for batch in ahead] == [batch.state_after for batch in plain]


def test_next_stage_goes_on_in_its_data_sets_and_keeps_the_positions_of_the_others(tiny, other):
    last = read(7, tiny, other)[-1].state_after
    (after,) = read(1, tiny, state=last, stage_index=1)
    assert after.state_after["other"] == last["other"]
    assert all(after.state_after["tiny"][lane][2] == last["tiny"][lane][2] + 2 for lane in last["tiny"])


def test_data_sets_are_mixed_by_their_weights(tiny, other):
    uses = [DataSetUse(name="tiny", weight=1.0), DataSetUse(name="other", weight=3.0)]
    texts = [text for batch in read(300, tiny, other, uses=uses) for text in batch.captions]
    assert sum(text.startswith("o") for text in texts) / len(texts) == pytest.approx(0.75, abs=0.03)


def test_small_pictures_are_passed_over_and_all_others_are_read(write_tiny, tmp_path):
    root = write_tiny(tmp_path / "d", [10, 10], short_sides=[8, 100] * 10)
    texts = [text for batch in read(10, root, uses=[DataSetUse(name="d", min_short_side=50)]) for text in batch.captions]
    assert set(texts) == {f"k{index}" for index in range(1, 20, 2)}


def test_lane_without_any_picture_that_is_large_enough_is_an_error(write_tiny, tmp_path):
    root = write_tiny(tmp_path / "d", [20])
    with pytest.raises(DataError, match=r"d: lane 0 passed over 5 pictures in a row, .* min_short_side = 50 px"):
        read(1, root, uses=[DataSetUse(name="d", min_short_side=50)])


def test_captions_are_dropped_at_the_stated_rate_and_become_zeros(tiny):
    batches = read(200, tiny, caption_dropout=0.3)
    dropped = torch.cat([~batch.caption_latents.flatten(1).any(dim=1) for batch in batches])
    assert dropped.float().mean().item() == pytest.approx(0.3, abs=0.04)
    assert all(batch.latents.shape == (8, 1, 2, 2) for batch in batches)


def test_dropout_does_not_depend_on_the_number_of_processes(tiny):
    (alone,) = read(1, tiny, caption_dropout=0.5)
    halves = [read(1, tiny, caption_dropout=0.5, rank=rank, world_size=2)[0] for rank in (0, 1)]
    assert torch.equal(torch.cat([half.caption_latents for half in halves]), alone.caption_latents)


def test_state_of_another_data_set_is_refused(write_tiny, tiny, tmp_path):
    last = read(2, tiny)[-1].state_after
    smaller = write_tiny(tmp_path / "tiny", [8])
    with pytest.raises(DataError, match="not the data set of the checkpoint"):
        read(3, smaller, state=last)


def test_state_of_one_rank_alone_is_refused_by_another(tiny):
    (batch,) = read(1, tiny, rank=0, world_size=2)
    with pytest.raises(DataError, match="no lane 2, only 2 lanes; merge"):
        read(1, tiny, rank=1, world_size=2, state=batch.state_after)


def test_data_sets_of_different_shapes_cannot_be_mixed(write_tiny, tiny, tmp_path):
    coloured = write_tiny(tmp_path / "coloured", [8], channels=3)
    with pytest.raises(DataError, match=r"coloured: .* \(3, 2, 2\) .* cannot be mixed with those of tiny, \(1, 2, 2\)"):
        open_tiny(tiny, coloured)


def test_error_while_reading_ahead_reaches_the_trainer(write_tiny, tmp_path):
    root = write_tiny(tmp_path / "d", [8])
    path = root / "latents-8" / "000000.tar"
    path.write_bytes(path.read_bytes()[:-512])
    with open_tiny(root, prefetch=2) as reader, pytest.raises(DataError, match=r"latents-8/000000\.tar: damaged"):
        next(reader)
