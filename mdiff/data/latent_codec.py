"""From pixels to what shards store, and back.

pixels (uint8, B 3 H W)  <->  stored latents (float, mean about 0, standard deviation about 1)
"""

import hashlib

import torch
from torch import Tensor

PIXEL_MEAN = 219.9
PIXEL_STD = 57.1
"""Of all pixels and channels of the default shapes data set, on the scale 0..255."""


class PixelCodec:
    """Pixels as latents, shifted and scaled. Loses nothing, in float16 neither."""

    name = "pixels"
    channels = 3
    downsampling = 1

    @property
    def fingerprint(self) -> str:
        """sha256 of all that the codec knows."""
        return hashlib.sha256(f"{self.name} {PIXEL_MEAN} {PIXEL_STD}".encode()).hexdigest()

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> (B, 3, H, W) float32 stored latents."""
        return (pixels.float() - PIXEL_MEAN) / PIXEL_STD

    def decode(self, stored_latents: Tensor) -> Tensor:
        """(B, 3, H, W) float of any range -> (B, 3, H, W) uint8."""
        return (stored_latents.float() * PIXEL_STD + PIXEL_MEAN).round().clamp(0, 255).to(torch.uint8)
