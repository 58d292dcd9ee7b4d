"""Deferred masking: which patches the backbone sees.

    T tokens -> [patch mixer] -> T tokens -> gather_kept -> K tokens -> [backbone] -> K tokens -> scatter_kept -> T tokens, hidden ones 0

Shape key, this file:  B batch   T all tokens   K kept tokens   D channels
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mdiff.recipe.model import kept_token_count


class PatchMask(NamedTuple):
    """Every sample keeps equally many tokens, each sample its own."""

    kept_BK: Tensor
    """int64 positions of the visible tokens, in any order."""
    hidden_BT: Tensor
    """bool, True where the backbone sees nothing."""

    @classmethod
    def from_kept(cls, kept_BK: Tensor, num_tokens: int) -> "PatchMask":
        """The mask that shows exactly these positions."""
        hidden_BT = torch.ones(kept_BK.shape[0], num_tokens, dtype=torch.bool, device=kept_BK.device)
        return cls(kept_BK, hidden_BT.scatter(1, kept_BK, False))

    @classmethod
    def concatenate(cls, masks: "Sequence[PatchMask]") -> "PatchMask":
        """One mask for the batches of all of them, in order."""
        return cls(torch.cat([mask.kept_BK for mask in masks]), torch.cat([mask.hidden_BT for mask in masks]))

    def to(self, device: torch.device | str) -> "PatchMask":
        return PatchMask(self.kept_BK.to(device), self.hidden_BT.to(device))


def random_mask(batch: int, num_tokens: int, mask_ratio: float, generator: torch.Generator) -> PatchMask:
    """Hide a uniformly random share of the tokens of each sample.

    Raises:
        ValueError: nothing would be kept.
    """
    num_kept = kept_token_count(num_tokens, mask_ratio)
    if num_kept < 1:
        raise ValueError(f"mask_ratio {mask_ratio} keeps none of {num_tokens} tokens")
    noise_BT = torch.rand(batch, num_tokens, generator=generator, device=generator.device)
    return PatchMask.from_kept(noise_BT.argsort(dim=1)[:, :num_kept], num_tokens)


def gather_kept(tokens_BTD: Tensor, mask: PatchMask) -> Tensor:
    """(B, T, D) -> (B, K, D): drop the hidden tokens."""
    return tokens_BTD.gather(1, _rows(mask.kept_BK, tokens_BTD.shape[-1]))


def scatter_kept(tokens_BKD: Tensor, mask: PatchMask) -> Tensor:
    """(B, K, D) -> (B, T, D): put the kept tokens back where they were, and 0 where tokens were hidden."""
    batch, num_tokens = mask.hidden_BT.shape
    width = tokens_BKD.shape[-1]
    return tokens_BKD.new_zeros(batch, num_tokens, width).scatter(1, _rows(mask.kept_BK, width), tokens_BKD)


def _rows(kept_BK: Tensor, width: int) -> Tensor:
    return kept_BK[..., None].expand(-1, -1, width)
