"""The network. It knows neither ranks nor noise schedules."""

from mdiff.model.masking import PatchMask, random_mask
from mdiff.model.microdit import MicroDiT

__all__ = ["MicroDiT", "PatchMask", "random_mask"]
