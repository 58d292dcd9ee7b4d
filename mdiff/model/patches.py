"""Latents <-> tokens: squares of the latent, row by row, and where each of them lies.

Shape key, this file:  B batch   C latent channels   H W latent sides   T tokens   P numbers of a patch (row, column, channel)   D channels
"""

import torch
from torch import Tensor, nn


def to_patches(latents_BCHW: Tensor, patch_size: int) -> Tensor:
    """(B, C, H, W) -> (B, T, P). Inverse: `from_patches`."""
    batch, channels, height, width = latents_BCHW.shape
    rows, columns = height // patch_size, width // patch_size
    split = latents_BCHW.reshape(batch, channels, rows, patch_size, columns, patch_size)
    return split.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, patch_size**2 * channels)


def from_patches(patches_BTP: Tensor, patch_size: int, grid_size: int) -> Tensor:
    """(B, T, P) -> (B, C, H, W) on a square grid of `grid_size` patches a side."""
    batch = patches_BTP.shape[0]
    split = patches_BTP.reshape(batch, grid_size, grid_size, patch_size, patch_size, -1)
    return split.permute(0, 5, 1, 3, 2, 4).reshape(batch, -1, grid_size * patch_size, grid_size * patch_size)


def position_table(width: int, grid_size: int, scale: float) -> Tensor:
    """Fixed sine-cosine codes of a square grid, (T, width), float32.

    The first half of the channels encodes the column, the second the row; each half is [sin | cos].

    Args:
        scale: coordinates 0, 1, 2, ... are divided by this, so that a finer grid spans the same range.

    Source: Vaswani et al. (arXiv:1706.03762) section 3.5, once per axis; MicroDiT for order and scale.
    """
    quarter = width // 4
    frequencies = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64, device="cpu") / quarter)
    angles = (torch.arange(grid_size, dtype=torch.float64, device="cpu") / scale)[:, None] * frequencies
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns, rows = line.repeat(grid_size, 1), line.repeat_interleave(grid_size, dim=0)
    return torch.cat([columns, rows], dim=1).float()


class PatchEmbedding(nn.Module):
    """One linear map per patch, plus its position. The grid can change between stages; the weights do not depend on it."""

    positions_TD: Tensor

    def __init__(self, patch_size: int, patch_channels: int, width: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Linear(patch_channels, width)
        # Not a checkpoint's business: it follows from the stage.
        self.register_buffer("positions_TD", torch.empty(0, width), persistent=False)

    def set_grid(self, latent_size: int, scale: float) -> None:
        """Make the position table for square latents of this side."""
        if latent_size < 1 or latent_size % self.patch_size:
            raise ValueError(f"patch_size {self.patch_size} does not divide the latent size {latent_size}")
        self.latent_size, self.scale = latent_size, scale
        self.grid_size = latent_size // self.patch_size
        weight = self.projection.weight
        self.positions_TD = position_table(weight.shape[0], self.grid_size, scale).to(weight)

    def forward(self, latents_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, T, D)."""
        expected = (self.projection.in_features // self.patch_size**2, self.latent_size, self.latent_size)
        if tuple(latents_BCHW.shape[1:]) != expected:
            raise ValueError(f"latents are {tuple(latents_BCHW.shape[1:])}, this model's grid is for {expected}; see set_grid")
        return self.projection(to_patches(latents_BCHW, self.patch_size)) + self.positions_TD
