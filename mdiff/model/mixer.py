"""The patch mixer: light blocks that let every patch see all others before most of them are dropped.

Shape key, this file:  B batch   T all tokens   K kept tokens   L caption tokens   D backbone channels   M mixer channels
"""

from torch import Tensor, nn

from mdiff.model.block import Block
from mdiff.model.conditioning import layer_norm
from mdiff.model.masking import PatchMask, gather_kept
from mdiff.recipe.model import ModelSettings


class PatchMixer(nn.Module):
    """Blocks of their own width, and the way in and out of it."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.tokens_in = width_map(settings.width, settings.mixer_width)
        self.caption_in = width_map(settings.width, settings.mixer_width)
        self.blocks = nn.ModuleList(Block(shape, settings) for shape in settings.mixer_shapes)
        self.tokens_out = width_map(settings.mixer_width, settings.width)

    def forward(self, tokens_BTD: Tensor, caption_BLD: Tensor, conditioning_BD: Tensor, mask: PatchMask | None) -> Tensor:
        """(B, T, D) -> (B, K, D): mix all tokens, then drop the hidden ones."""
        tokens_BTM, caption_BLM = self.tokens_in(tokens_BTD), self.caption_in(caption_BLD)
        for block in self.blocks:
            tokens_BTM = block(tokens_BTM, caption_BLM, conditioning_BD)
        return self.tokens_out(tokens_BTM if mask is None else gather_kept(tokens_BTM, mask))


class WidthMap(nn.Module):
    """LayerNorm and a linear map to another width."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.norm = layer_norm(width_in)
        self.projection = nn.Linear(width_in, width_out, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., width_in) -> (..., width_out)."""
        return self.projection(self.norm(tokens))


def width_map(width_in: int, width_out: int) -> WidthMap | nn.Identity:
    """Between equal widths there is nothing to map."""
    return nn.Identity() if width_in == width_out else WidthMap(width_in, width_out)
