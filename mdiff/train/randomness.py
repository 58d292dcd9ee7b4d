"""What a step draws: noise levels, noise and masks, for each lane from its own generator.

A lane's draws depend on (seed, stage, step, lane) alone, so a step sees the same noise on any number of processes.

Shape key, this file:  N samples of this process   C H W latents   T tokens
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mdiff.diffusion.noise import sample_sigma
from mdiff.model.masking import PatchMask, random_mask
from mdiff.recipe.stage import Stage


@dataclass(frozen=True)
class Draws:
    """Of one step, on the CPU, in order of the samples."""

    sigma_N111: Tensor
    noise_NCHW: Tensor
    mask: PatchMask | None

    def part(self, part: slice, device: torch.device) -> "Draws":
        mask = None if self.mask is None else PatchMask(*(field[part].to(device, non_blocking=True) for field in self.mask))
        return Draws(self.sigma_N111[part].to(device, non_blocking=True), self.noise_NCHW[part].to(device, non_blocking=True), mask)


def lane_generator(seed: int, stage: int, step: int, lane: int) -> torch.Generator:
    digest = hashlib.blake2b(f"{seed}/{stage}/{step}/{lane}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest) >> 1)


def draw_step(
    stage: Stage,
    latent_shape: tuple[int, int, int],
    num_tokens: int,
    lanes: Sequence[int],
    samples_per_lane: int,
    *,
    seed: int,
    stage_number: int,
    step: int,
) -> Draws:
    """Draws for `samples_per_lane` samples of each of `lanes`, lane by lane."""
    sigmas, noises, masks = [], [], []
    for lane in lanes:
        generator = lane_generator(seed, stage_number, step, lane)
        sigmas.append(sample_sigma(samples_per_lane, stage.P_mean, stage.P_std, generator))
        noises.append(torch.randn(samples_per_lane, *latent_shape, generator=generator))
        if stage.mask_ratio > 0:
            masks.append(random_mask(samples_per_lane, num_tokens, stage.mask_ratio, generator))
    return Draws(torch.cat(sigmas), torch.cat(noises), PatchMask.concatenate(masks) if masks else None)
