import pytest
import torch

from mdiff.diffusion import denoise, edm_scalings

SIGMA_DATA = 0.9
NUM_SAMPLES = 200_000
SIGMAS = [0.002, 0.3, 2.0, 80.0]


@pytest.mark.parametrize("sigma", SIGMAS)
def test_network_input_and_target_have_unit_variance_at_every_sigma(sigma):
    clean, noise = SIGMA_DATA * torch.randn(NUM_SAMPLES, dtype=torch.float64), torch.randn(NUM_SAMPLES, dtype=torch.float64)
    noisy = clean + sigma * noise
    c = edm_scalings(torch.tensor(sigma, dtype=torch.float64), SIGMA_DATA)
    assert (c.c_in * noisy).var().item() == pytest.approx(1, abs=0.02)
    assert ((clean - c.c_skip * noisy) / c.c_out).var().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_target_is_uncorrelated_with_the_input_so_that_errors_are_amplified_least(sigma):
    """EDM (arXiv:2206.00364) appendix B.6: c_skip minimises c_out."""
    clean, noise = SIGMA_DATA * torch.randn(NUM_SAMPLES, dtype=torch.float64), torch.randn(NUM_SAMPLES, dtype=torch.float64)
    noisy = clean + sigma * noise
    c = edm_scalings(torch.tensor(sigma, dtype=torch.float64), SIGMA_DATA)
    target = (clean - c.c_skip * noisy) / c.c_out
    assert (target * noisy * c.c_in).mean().abs() < 0.02


def test_network_gets_scaled_latents_and_a_quarter_of_the_log_of_sigma():
    seen = []

    def network(latents, c_noise, caption, mask=None):
        seen.extend([latents, c_noise, caption, mask])
        return torch.zeros_like(latents)

    noisy, caption = torch.randn(2, 1, 4, 4), torch.randn(2, 3, 5)
    denoise(network, noisy, torch.tensor([1.0, 16.0]).reshape(2, 1, 1, 1), caption, SIGMA_DATA)
    torch.testing.assert_close(seen[0][0], noisy[0] / (1 + SIGMA_DATA**2) ** 0.5)
    torch.testing.assert_close(seen[1], torch.tensor([0.0, 16.0]).log().nan_to_num(neginf=0) / 4)
    assert seen[2] is caption
    assert seen[3] is None


def test_denoised_comes_in_the_type_of_the_latents_when_the_network_answers_in_bf16():
    def network(latents, c_noise, caption, mask=None):
        return latents.bfloat16()

    assert denoise(network, torch.ones(1, 1, 2, 2), torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1), SIGMA_DATA).dtype == torch.float32
