"""What the network is told beside the noisy latents: the noise level and the caption.

Shape key, this file:  B batch   T tokens   D channels of a block   C channels of the conditioning
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdiff.recipe.parameters import NUM_NOISE_FEATURES

NORM_EPS = 1e-6


def layer_norm(width: int) -> nn.LayerNorm:
    """LayerNorm with a weight and no bias."""
    return nn.LayerNorm(width, eps=NORM_EPS, bias=False)


def modulate(tokens_BTD: Tensor, shift_B1D: Tensor, scale_B1D: Tensor) -> Tensor:
    """DiT (arXiv:2212.09748) section 3.2, adaLN."""
    return tokens_BTD * (1 + scale_B1D) + shift_B1D


class Modulation(NamedTuple):
    """How one sample's conditioning steers a block, each (B, 1, D). The order is that of the linear map's output."""

    attention_shift: Tensor
    attention_scale: Tensor
    attention_gate: Tensor
    ffn_shift: Tensor
    ffn_scale: Tensor
    ffn_gate: Tensor


class AdaptiveNorm(nn.Module):
    """conditioning -> `num_outputs` vectors of `dim` channels: GELU, then one linear map that starts at zero."""

    def __init__(self, conditioning_width: int, dim: int, num_outputs: int) -> None:
        super().__init__()
        self.num_outputs = num_outputs
        self.projection = nn.Linear(conditioning_width, num_outputs * dim)

    def forward(self, conditioning_BC: Tensor) -> tuple[Tensor, ...]:
        """(B, C) -> `num_outputs` times (B, 1, D)."""
        return self.projection(F.gelu(conditioning_BC, approximate="tanh"))[:, None].chunk(self.num_outputs, dim=-1)


class NoiseEmbedding(nn.Module):
    """c_noise -> conditioning."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(NUM_NOISE_FEATURES, width)
        self.output = nn.Linear(width, width)

    def forward(self, c_noise_B: Tensor) -> Tensor:
        """(B,) -> (B, width)."""
        features = noise_features(c_noise_B).to(self.hidden.weight.dtype)
        return self.output(F.gelu(self.hidden(features), approximate="tanh"))


def noise_features(c_noise_B: Tensor) -> Tensor:
    """[cos | sin] of the noise level at geometric frequencies from 1 downwards, (B, NUM_NOISE_FEATURES), float32.

    MicroDiT leaves out the factor 1000 that DiT puts before its steps: c_noise = ln(sigma) / 4 is within about -2..2.
    """
    half = NUM_NOISE_FEATURES // 2
    frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float32, device=c_noise_B.device) / half)
    angles = c_noise_B.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class CaptionMLP(nn.Module):
    """Linear, GELU, LayerNorm, Linear."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width_in, width)
        self.norm = layer_norm(width)
        self.output = nn.Linear(width, width)

    def forward(self, caption: Tensor) -> Tensor:
        """(..., width_in) -> (..., width)."""
        return self.output(self.norm(F.gelu(self.hidden(caption), approximate="tanh")))
