import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdiff.model import PatchMask, random_mask
from mdiff.model.masking import gather_kept, scatter_kept


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=30)
@given(batch=st.integers(1, 4), num_tokens=st.integers(2, 40), ratio=st.floats(0, 0.5), seed=st.integers(0, 2**31))
def test_kept_tokens_return_to_their_own_positions_and_hidden_ones_become_zero(batch, num_tokens, ratio, seed):
    mask = random_mask(batch, num_tokens, ratio, generator(seed))
    tokens = torch.randn(batch, num_tokens, 3, generator=generator(seed))
    restored = scatter_kept(gather_kept(tokens, mask), mask)
    assert torch.equal(restored, tokens * ~mask.hidden_BT[..., None])


@pytest.mark.parametrize(("num_tokens", "ratio", "num_kept"), [(256, 0.75, 64), (100, 0.9, 10), (64, 0.0, 64)])
def test_every_sample_keeps_the_same_number_of_tokens(num_tokens, ratio, num_kept):
    mask = random_mask(5, num_tokens, ratio, generator())
    assert mask.kept_BK.shape == (5, num_kept)
    assert ((~mask.hidden_BT).sum(dim=1) == num_kept).all()


def test_every_token_is_hidden_equally_often():
    hidden_share = random_mask(4000, 16, 0.75, generator()).hidden_BT.float().mean(dim=0)
    assert (hidden_share - 0.75).abs().max() < 0.03


def test_samples_hide_different_tokens():
    kept = random_mask(2, 256, 0.75, generator()).kept_BK
    assert set(kept[0].tolist()) != set(kept[1].tolist())


def test_same_generator_state_hides_the_same_tokens():
    assert torch.equal(random_mask(2, 64, 0.5, generator(7)).kept_BK, random_mask(2, 64, 0.5, generator(7)).kept_BK)


def test_mask_that_keeps_no_token_is_refused():
    with pytest.raises(ValueError, match=r"mask_ratio 0\.9 keeps none of 4 tokens"):
        random_mask(2, 4, 0.9, generator())


def test_masks_drawn_per_lane_make_one_batch():
    lanes = [random_mask(2, 16, 0.5, generator(seed)) for seed in range(3)]
    mask = PatchMask.concatenate(lanes).to("cpu")
    tokens = torch.randn(6, 16, 3)
    expected = torch.cat([gather_kept(part, lane) for part, lane in zip(tokens.split(2), lanes, strict=True)])
    assert torch.equal(gather_kept(tokens, mask), expected)
    assert torch.equal(mask.hidden_BT, torch.cat([lane.hidden_BT for lane in lanes]))


def test_given_positions_make_their_mask():
    mask = PatchMask.from_kept(torch.tensor([[2, 0], [1, 3]]), num_tokens=4)
    assert mask.hidden_BT.tolist() == [[False, True, False, True], [True, False, True, False]]
