from types import SimpleNamespace

import pytest
import torch

from mdiff.diffusion import guided


def network(latents, c_noise, caption, mask=None):
    """Says how much caption there is, and which sample this is."""
    return latents + caption.sum(dim=(1, 2)).reshape(-1, 1, 1, 1) + c_noise.reshape(-1, 1, 1, 1)


def test_answer_is_extrapolated_from_the_empty_caption():
    inputs = torch.randn(2, 1, 4, 4), torch.tensor([0.1, 0.2]), torch.randn(2, 3, 5)
    conditional, unconditional = network(*inputs), network(*inputs[:2], torch.zeros(2, 3, 5))
    torch.testing.assert_close(guided(network, 5.0)(*inputs), unconditional + 5.0 * (conditional - unconditional))
    torch.testing.assert_close(guided(network, 0.0)(*inputs), unconditional)


def test_both_branches_run_as_one_batch_and_only_one_of_them_without_guidance():
    batch_sizes = []

    def spy(latents, c_noise, caption, mask=None):
        batch_sizes.append((len(latents), len(c_noise), len(caption)))
        return latents

    for guidance in (5.0, 1.0):
        guided(spy, guidance)(torch.randn(2, 1, 4, 4), torch.zeros(2), torch.randn(2, 3, 5))
    assert batch_sizes == [(4, 4, 4), (2, 2, 2)]


def test_guidance_with_a_mask_is_refused():
    mask = SimpleNamespace(hidden_BT=torch.zeros(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="sampling hides no patch"):
        guided(network, 5.0)(torch.randn(2, 1, 4, 4), torch.zeros(2), torch.randn(2, 3, 5), mask)
