"""EDM preconditioning: how the raw network becomes a denoiser (Karras et al., arXiv:2206.00364, section 5).

Shape key, this file:  B batch   C latent channels   H W latent sides   L caption tokens
"""

from typing import NamedTuple, Protocol

from torch import Tensor


class Mask(Protocol):
    """Which patches the network does not see; everything else about it is between the caller and the network."""

    @property
    def hidden_BT(self) -> Tensor: ...


class Network(Protocol):
    """F: (scaled noisy latents (B, C, H, W), c_noise (B,), caption latents (B, L, C), mask) -> network_out (B, C, H, W)."""

    def __call__(self, latents: Tensor, c_noise: Tensor, caption: Tensor, mask: "Mask | None" = None, /) -> Tensor: ...


class Scalings(NamedTuple):
    """Each has the shape of sigma."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


def edm_scalings(sigma: Tensor, sigma_data: float) -> Scalings:
    """Coefficients that keep the network's input and target at unit variance.

    Args:
        sigma: noise level, any shape, > 0, in latent units (not pixels).
        sigma_data: standard deviation of the clean latents, same units.

    Source: EDM table 1, "Network and preconditioning", column "Ours".
    """
    variance = sigma.square() + sigma_data**2
    return Scalings(
        c_skip=sigma_data**2 / variance,
        c_out=sigma * sigma_data * variance.rsqrt(),
        c_in=variance.rsqrt(),
        c_noise=sigma.log() / 4,
    )


def denoise(
    network: Network, noisy_BCHW: Tensor, sigma_B111: Tensor, caption: Tensor, sigma_data: float, mask: Mask | None = None
) -> Tensor:
    """D(x; sigma), the estimate of the clean latents: EDM eq. 7. Where the network says 0, c_skip * x is left."""
    c = edm_scalings(sigma_B111, sigma_data)
    network_out = network(c.c_in * noisy_BCHW, c.c_noise.flatten(), caption, mask)
    return c.c_skip * noisy_BCHW + c.c_out * network_out.to(noisy_BCHW.dtype)
