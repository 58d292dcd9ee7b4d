import math

import pytest
import torch

from mdiff.diffusion import heun_sample, sigma_schedule
from mdiff.recipe.recipe import DiffusionSettings

EDM = DiffusionSettings()


def ideal_network(latents, c_noise, caption, mask=None):
    """For data that is Normal(0, sigma_data) the best denoiser is c_skip * x: the network has nothing to add."""
    return torch.zeros_like(latents)


def sampling_error(num_steps: int) -> float:
    """Against the exact path: x(sigma) is proportional to sqrt(sigma_data^2 + sigma^2)."""
    noise = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    sampled = heun_sample(ideal_network, noise, torch.zeros(2, 1, 1), sigma_schedule(num_steps, EDM), EDM.sigma_data)
    exact = noise * EDM.sigma_max * EDM.sigma_data / math.hypot(EDM.sigma_data, EDM.sigma_max)
    return ((sampled - exact).norm() / exact.norm()).item()


def test_samples_of_an_ideal_network_are_the_data():
    assert sampling_error(200) < 1e-3


def test_error_falls_with_the_square_of_the_step():
    assert sampling_error(20) / sampling_error(40) == pytest.approx(4, rel=0.35)


def test_every_step_but_the_last_asks_the_network_twice():
    calls = []

    def network(latents, c_noise, caption, mask=None):
        assert latents.dtype == c_noise.dtype == torch.float32
        calls.append((4 * c_noise[0].double()).exp().item())
        return torch.zeros_like(latents)

    sigmas = sigma_schedule(4, EDM)
    heun_sample(network, torch.randn(2, 1, 4, 4), torch.zeros(2, 1, 1), sigmas, EDM.sigma_data)
    a, b, c, d, _ = sigmas.tolist()
    assert calls == pytest.approx([a, b, b, c, c, d, d], rel=1e-5)


def test_progress_is_told_after_each_step():
    told = []
    noise, caption = torch.randn(1, 1, 4, 4), torch.zeros(1, 1, 1)
    heun_sample(ideal_network, noise, caption, sigma_schedule(3, EDM), 0.9, on_step=lambda *progress: told.append(progress))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_result_is_float32_and_holds_no_graph():
    weight = torch.ones((), requires_grad=True)
    sampled = heun_sample(lambda x, *_: x * weight, torch.randn(1, 1, 4, 4), torch.zeros(1, 1, 1), sigma_schedule(2, EDM), 0.9)
    assert sampled.dtype == torch.float32
    assert not sampled.requires_grad
