"""EDM diffusion. It takes any network with the right signature and knows none."""

from mdiff.diffusion.guidance import guided
from mdiff.diffusion.loss import edm_loss, edm_loss_per_sample
from mdiff.diffusion.noise import sample_sigma, sigma_schedule
from mdiff.diffusion.sampler import heun_sample
from mdiff.diffusion.scalings import Network, Scalings, denoise, edm_scalings

__all__ = [
    "Network",
    "Scalings",
    "denoise",
    "edm_loss",
    "edm_loss_per_sample",
    "edm_scalings",
    "guided",
    "heun_sample",
    "sample_sigma",
    "sigma_schedule",
]
