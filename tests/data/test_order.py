from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdiff.data.order import SampleOrder, choose_dataset, dropped_captions, lanes_of_rank
from mdiff.data.randomness import permutation
from mdiff.errors import DataError

shard_counts = st.lists(st.integers(1, 9), min_size=1, max_size=8)


@given(counts=shard_counts, lanes=st.integers(1, 20), epoch=st.integers(0, 3), seed=st.integers(0, 5))
def test_an_epoch_shows_every_sample_exactly_once(counts, lanes, epoch, seed):
    if sum(counts) < lanes:
        return
    order = SampleOrder("d", counts, lanes, seed)
    seen = Counter(order.locate(epoch, lane, offset) for lane in range(lanes) for offset in range(order.lane_length(lane)))
    assert seen == Counter((shard, index) for shard, count in enumerate(counts) for index in range(count))


def test_order_depends_on_seed_name_and_epoch():
    def row(name="d", seed=0, epoch=0):
        order = SampleOrder(name, [1] * 30, 1, seed)
        return [order.locate(epoch, 0, offset) for offset in range(30)]

    assert row() == row()
    assert len({tuple(row(**other)) for other in ({}, {"name": "e"}, {"seed": 1}, {"epoch": 1})}) == 4


def test_random_order_does_not_change_with_the_version_of_numpy():
    """A resumed run would silently go on in another order."""
    assert permutation(("fixed",), 8).tolist() == [1, 2, 7, 4, 5, 0, 3, 6]


def test_fewer_samples_than_lanes_are_refused():
    with pytest.raises(DataError, match=r"shapes: 5 samples cannot fill data\.lanes = 8"):
        SampleOrder("shapes", [3, 2], 8, seed=0)


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_ranks_together_read_all_lanes_in_order(world_size):
    assert [lane for rank in range(world_size) for lane in lanes_of_rank(8, rank, world_size)] == list(range(8))


def test_lanes_that_cannot_be_shared_evenly_are_refused():
    with pytest.raises(DataError, match="lanes = 8 cannot be shared by 3 processes"):
        lanes_of_rank(8, 0, 3)


def test_data_sets_are_chosen_by_their_weights():
    chosen = Counter(choose_dataset(0, lane, number, [1.0, 3.0]) for lane in range(4) for number in range(1000))
    assert chosen[1] / 4000 == pytest.approx(0.75, abs=0.03)


def test_dropout_of_a_lane_depends_on_seed_stage_step_and_lane_alone():
    def dropped(seed=0, stage=0, step=0):
        return dropped_captions(seed, stage, step, range(0, 8), 16, 0.5)

    assert np.array_equal(dropped()[4 * 16 :], dropped_captions(0, 0, 0, range(4, 8), 16, 0.5))
    assert len({dropped(**other).tobytes() for other in ({}, {"seed": 1}, {"stage": 1}, {"step": 1})}) == 4
    assert not np.array_equal(dropped()[:16], dropped()[16:32])
