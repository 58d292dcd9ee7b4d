from types import SimpleNamespace

import pytest
import torch

from mdiff.diffusion import denoise, edm_loss, edm_loss_per_sample, edm_scalings

SIGMA_DATA = 0.9


@pytest.fixture
def batch():
    """Clean latents, noise, sigma and captions of three samples with 4 x 4 patches of 2 x 2."""
    sigma = torch.tensor([0.05, 1.0, 20.0]).reshape(3, 1, 1, 1)
    return torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), sigma, torch.randn(3, 5, 6)


@pytest.fixture
def mask():
    hidden = torch.zeros(3, 16, dtype=torch.bool)
    hidden[0, :12], hidden[1, 4:], hidden[2, ::4], hidden[2, 1::4], hidden[2, 2::4] = True, True, True, True, True
    return SimpleNamespace(hidden_BT=hidden)


def network(latents, c_noise, caption, mask=None):
    return latents.roll(1, dims=-1) * c_noise.reshape(-1, 1, 1, 1) + caption.mean()


def weighted_error(batch):
    latents, noise, sigma, caption = batch
    denoised = denoise(network, latents + noise * sigma, sigma, caption, SIGMA_DATA)
    return (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2 * (denoised - latents) ** 2


def test_loss_without_mask_is_the_weighted_squared_error_of_the_denoiser(batch):
    error = weighted_error(batch)
    torch.testing.assert_close(edm_loss_per_sample(network, *batch, SIGMA_DATA), error.mean(dim=(1, 2, 3)))
    torch.testing.assert_close(edm_loss(network, *batch, SIGMA_DATA), error.mean())


def test_loss_with_mask_is_a_plain_loop_over_the_kept_patches(batch, mask):
    error = weighted_error(batch)
    expected = []
    for sample in range(3):
        kept = [divmod(token, 4) for token in range(16) if not mask.hidden_BT[sample, token]]
        patches = [error[sample, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean() for row, column in kept]
        expected.append(torch.stack(patches).mean())
    torch.testing.assert_close(edm_loss_per_sample(network, *batch, SIGMA_DATA, mask), torch.stack(expected))
    torch.testing.assert_close(edm_loss(network, *batch, SIGMA_DATA, mask), torch.stack(expected).mean())


def test_mask_that_hides_nothing_changes_nothing(batch):
    nothing_hidden = SimpleNamespace(hidden_BT=torch.zeros(3, 16, dtype=torch.bool))
    torch.testing.assert_close(edm_loss(network, *batch, SIGMA_DATA, nothing_hidden), edm_loss(network, *batch, SIGMA_DATA))


def test_hidden_patches_get_no_gradient(batch, mask):
    out = torch.randn(3, 4, 8, 8, requires_grad=True)
    edm_loss(lambda *_: out, *batch, SIGMA_DATA, mask).backward()
    hidden = mask.hidden_BT.reshape(3, 1, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3).expand_as(out)
    assert torch.equal(out.grad == 0, hidden)


def test_weight_makes_the_loss_the_plain_error_of_the_network_at_every_sigma(batch):
    latents, noise, sigma, _ = batch
    c = edm_scalings(sigma, SIGMA_DATA)
    target = (latents - c.c_skip * (latents + noise * sigma)) / c.c_out
    loss = edm_loss_per_sample(lambda *_: torch.zeros_like(latents), *batch, SIGMA_DATA)
    torch.testing.assert_close(loss, target.square().mean(dim=(1, 2, 3)), rtol=1e-3, atol=1e-3)


def test_network_that_hits_its_target_has_no_loss(batch):
    latents, noise, sigma, _ = batch
    c = edm_scalings(sigma, SIGMA_DATA)
    target = (latents - c.c_skip * (latents + noise * sigma)) / c.c_out
    assert edm_loss(lambda *_: target, *batch, SIGMA_DATA) < 1e-6


def test_mask_reaches_the_network(batch, mask):
    seen = []

    def spy(latents, c_noise, caption, mask=None):
        seen.append(mask)
        return latents

    edm_loss(spy, *batch, SIGMA_DATA, mask)
    assert seen == [mask]
