"""Classifier-free guidance (Ho and Salimans, arXiv:2207.12598)."""

import torch
from torch import Tensor

from mdiff.diffusion.scalings import Mask, Network


def guided(network: Network, guidance: float) -> Network:
    """A network that answers F_uncond + guidance * (F_cond - F_uncond).

    It acts on the raw network output F, and the unconditional branch sees an all-zero caption. Both run as one batch of double size.
    At 1.0 the branch has no weight and is left out.
    """
    if guidance == 1.0:
        return network

    def guided_network(latents: Tensor, c_noise: Tensor, caption: Tensor, mask: Mask | None = None, /) -> Tensor:
        if mask is not None:
            raise ValueError("guidance is for sampling, and sampling hides no patch")
        captions = torch.cat([caption, torch.zeros_like(caption)])
        conditional, unconditional = network(torch.cat([latents, latents]), torch.cat([c_noise, c_noise]), captions).chunk(2)
        return unconditional + guidance * (conditional - unconditional)

    return guided_network
