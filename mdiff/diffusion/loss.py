"""The EDM training loss, over all patches or over those that the network saw.

Shape key, this file:  B batch   C latent channels   H W latent sides   T patches
"""

import math

import torch.nn.functional as F
from torch import Tensor

from mdiff.diffusion.scalings import Mask, Network, denoise


def edm_loss_per_sample(
    network: Network,
    latents_BCHW: Tensor,
    noise_BCHW: Tensor,
    sigma_B111: Tensor,
    caption: Tensor,
    sigma_data: float,
    mask: Mask | None = None,
) -> Tensor:
    """Weighted squared error of the denoiser, (B,): EDM (arXiv:2206.00364) eq. 2 with the weight of table 1, "Loss weighting".

    Args:
        latents_BCHW: clean latents.
        noise_BCHW: unit normal; drawn by the caller, like sigma and mask.
        mask: patches that it hides do not count. None: all count.
    """
    noisy_BCHW = latents_BCHW + noise_BCHW * sigma_B111
    denoised_BCHW = denoise(network, noisy_BCHW, sigma_B111, caption, sigma_data, mask)
    weight_B111 = (sigma_B111.square() + sigma_data**2) / (sigma_B111 * sigma_data).square()
    error_BHW = (weight_B111 * (denoised_BCHW - latents_BCHW).square()).mean(dim=1)
    return error_BHW.mean(dim=(1, 2)) if mask is None else _mean_over_kept(error_BHW, mask.hidden_BT)


def edm_loss(
    network: Network,
    latents_BCHW: Tensor,
    noise_BCHW: Tensor,
    sigma_B111: Tensor,
    caption: Tensor,
    sigma_data: float,
    mask: Mask | None = None,
) -> Tensor:
    """Mean over the batch of `edm_loss_per_sample`, a scalar."""
    return edm_loss_per_sample(network, latents_BCHW, noise_BCHW, sigma_B111, caption, sigma_data, mask).mean()


def _mean_over_kept(error_BHW: Tensor, hidden_BT: Tensor) -> Tensor:
    """(B,): the patches' means, averaged over the kept patches of each sample."""
    patch_size = error_BHW.shape[-1] // math.isqrt(hidden_BT.shape[1])
    error_BT = F.avg_pool2d(error_BHW[:, None], patch_size).flatten(1)
    kept_BT = (~hidden_BT).to(error_BT.dtype)
    return (error_BT * kept_BT).sum(dim=1) / kept_BT.sum(dim=1)
