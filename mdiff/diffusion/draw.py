"""From captions to latents with a recipe's own settings: what sample grids, evaluation and `mdiff sample` have in common.

Shape key, this file:  B batch   C latent channels   H W latent sides   L caption tokens
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mdiff.diffusion.guidance import guided
from mdiff.diffusion.noise import sigma_schedule
from mdiff.diffusion.sampler import heun_sample
from mdiff.diffusion.scalings import Network
from mdiff.recipe.recipe import Recipe
from mdiff.recipe.stage import Stage


def draw_latents(
    network: Network,
    captions_BLC: Tensor,
    recipe: Recipe,
    stage: Stage,
    generator: torch.Generator,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Latents of `stage`'s size for these captions, (B, C, H, W) float32, where the captions are.

    Args:
        generator: of the initial noise, on the CPU, so that every device draws the same pictures.
        on_step: called with (steps done, steps in all).
    """
    size, evaluation = recipe.latent_size(stage), recipe.evaluation
    noise_BCHW = torch.randn(len(captions_BLC), recipe.model.channels, size, size, generator=generator).to(captions_BLC.device)
    sigmas = sigma_schedule(evaluation.sampler_steps, recipe.diffusion)
    with torch.autocast(captions_BLC.device.type, torch.bfloat16, enabled=recipe.training.precision == "bf16"):
        return heun_sample(guided(network, evaluation.guidance), noise_BCHW, captions_BLC, sigmas, recipe.diffusion.sigma_data, on_step)
