"""Noise levels: which ones to train on, and which ones to pass through when sampling.

Shape key, this file:  B batch
"""

import torch
from torch import Tensor

from mdiff.recipe.recipe import DiffusionSettings


def sample_sigma(batch: int, P_mean: float, P_std: float, generator: torch.Generator) -> Tensor:
    """Noise levels to train on, (B, 1, 1, 1): ln(sigma) ~ Normal(P_mean, P_std). EDM (arXiv:2206.00364) table 1, "Noise distribution"."""
    unit_B111 = torch.randn(batch, 1, 1, 1, generator=generator, device=generator.device)
    return (unit_B111 * P_std + P_mean).exp()


def sigma_schedule(num_steps: int, diffusion: DiffusionSettings) -> Tensor:
    """Noise levels of a sampler, falling from sigma_max to sigma_min and then 0: (num_steps + 1,), float64. EDM eq. 5.

    Raises:
        ValueError: fewer than 2 steps, which cannot reach both ends.
    """
    if num_steps < 2:
        raise ValueError(f"a schedule needs at least 2 steps, got {num_steps}")
    first, last = diffusion.sigma_max ** (1 / diffusion.rho), diffusion.sigma_min ** (1 / diffusion.rho)
    ramp = torch.arange(num_steps, dtype=torch.float64) / (num_steps - 1)
    sigmas = (first + ramp * (last - first)) ** diffusion.rho
    return torch.cat([sigmas, sigmas.new_zeros(1)])
