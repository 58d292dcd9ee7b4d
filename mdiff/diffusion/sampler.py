"""Deterministic sampling with Heun's second-order method.

Shape key, this file:  B batch   C latent channels   H W latent sides
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from mdiff.diffusion.scalings import Network, denoise


@torch.no_grad()
def heun_sample(
    network: Network,
    noise_BCHW: Tensor,
    caption: Tensor,
    sigmas: Tensor,
    sigma_data: float,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Latents from unit noise, (B, C, H, W), float32: EDM (arXiv:2206.00364) algorithm 1.

    The state is kept in float64 so that many small steps add up; the network runs in float32.

    Args:
        network: see `guided` for guidance.
        sigmas: noise levels in falling order, 0 at the end; see `sigma_schedule`.
        on_step: called with (steps done, steps in all) after each step.
    """
    levels = sigmas.tolist()
    num_steps = len(levels) - 1
    state = noise_BCHW.double() * levels[0]
    for step, (sigma, next_sigma) in enumerate(pairwise(levels)):
        state = _heun_step(network, state, caption, sigma, next_sigma, sigma_data)
        if on_step is not None:
            on_step(step + 1, num_steps)
    return state.float()


def _heun_step(network: Network, state: Tensor, caption: Tensor, sigma: float, next_sigma: float, sigma_data: float) -> Tensor:
    slope = _slope(network, state, caption, sigma, sigma_data)
    euler = state + (next_sigma - sigma) * slope
    if next_sigma == 0:  # there is no slope at sigma 0 to average with
        return euler
    next_slope = _slope(network, euler, caption, next_sigma, sigma_data)
    return state + (next_sigma - sigma) * (slope + next_slope) / 2


def _slope(network: Network, state: Tensor, caption: Tensor, sigma: float, sigma_data: float) -> Tensor:
    """dx/dsigma = (x - D(x; sigma)) / sigma: EDM eqs. 1 and 3 with sigma(t) = t."""
    sigma_B111 = torch.full((state.shape[0], 1, 1, 1), sigma, dtype=torch.float32, device=state.device)
    denoised = denoise(network, state.float(), sigma_B111, caption, sigma_data)
    return (state - denoised.double()) / sigma
