import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdiff.diffusion import sample_sigma, sigma_schedule
from mdiff.recipe.recipe import DiffusionSettings

EDM = DiffusionSettings()


def test_log_of_sigma_is_normal_with_the_stages_mean_and_spread():
    sigma = sample_sigma(100_000, -0.6, 1.2, torch.Generator().manual_seed(0))
    assert sigma.shape == (100_000, 1, 1, 1)
    assert sigma.log().mean().item() == pytest.approx(-0.6, abs=0.02)
    assert sigma.log().std().item() == pytest.approx(1.2, abs=0.02)
    assert (sigma.log() < -0.6 + 1.2).float().mean().item() == pytest.approx(0.8413, abs=0.005)


@settings(deadline=None, max_examples=25)
@given(num_steps=st.integers(2, 200))
def test_schedule_falls_from_sigma_max_to_sigma_min_and_then_to_zero(num_steps):
    sigmas = sigma_schedule(num_steps, EDM)
    assert sigmas.dtype == torch.float64
    assert len(sigmas) == num_steps + 1
    assert sigmas[0].item() == pytest.approx(80, rel=1e-12)
    assert sigmas[-2].item() == pytest.approx(0.002, rel=1e-9)
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()


def test_schedule_is_even_in_the_rho_th_root():
    roots = sigma_schedule(10, EDM)[:-1] ** (1 / 7)
    torch.testing.assert_close(roots.diff(), roots.diff()[:1].expand(9))


def test_schedule_of_one_step_is_refused():
    with pytest.raises(ValueError, match="at least 2 steps, got 1"):
        sigma_schedule(1, EDM)
