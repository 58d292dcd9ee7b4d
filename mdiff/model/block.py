"""Transformer blocks: the conditioned one of mixer and backbone, and the one that reads the caption. And the layer after the last.

Shape key, this file:  B batch   T tokens   L caption tokens   D channels   C channels of the conditioning   P numbers of a patch
"""

from torch import Tensor, nn

from mdiff.model.attention import CrossAttention, SelfAttention
from mdiff.model.conditioning import AdaptiveNorm, Modulation, layer_norm, modulate
from mdiff.model.feedforward import SwiGLU
from mdiff.model.moe import ExpertChoiceFFN
from mdiff.recipe.model import BlockShape, ModelSettings


class Block(nn.Module):
    """Self-attention, cross-attention to the caption, feed-forward. The first and the last are modulated and gated."""

    def __init__(self, shape: BlockShape, settings: ModelSettings) -> None:
        super().__init__()
        self.attention_norm = layer_norm(shape.dim)
        self.self_attention = SelfAttention(shape.dim, shape.attention_width, settings.head_dim)
        self.caption_norm = layer_norm(shape.dim)
        self.cross_attention = CrossAttention(shape.dim, settings.head_dim)
        self.ffn_norm = layer_norm(shape.dim)
        self.ffn = _feed_forward(shape, settings)
        self.modulation = AdaptiveNorm(settings.width, shape.dim, num_outputs=len(Modulation._fields))

    def forward(self, tokens_BTD: Tensor, caption_BLD: Tensor, conditioning_BC: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        m = Modulation(*self.modulation(conditioning_BC))
        attention_in = modulate(self.attention_norm(tokens_BTD), m.attention_shift, m.attention_scale)
        tokens_BTD = tokens_BTD + m.attention_gate * self.self_attention(attention_in)
        tokens_BTD = tokens_BTD + self.cross_attention(self.caption_norm(tokens_BTD), caption_BLD)
        ffn_in = modulate(self.ffn_norm(tokens_BTD), m.ffn_shift, m.ffn_scale)
        return tokens_BTD + m.ffn_gate * self.ffn(ffn_in)


class CaptionBlock(nn.Module):
    """Self-attention and feed-forward over the caption, once, before anything looks at it."""

    def __init__(self, shape: BlockShape, head_dim: int) -> None:
        super().__init__()
        self.attention_norm = layer_norm(shape.dim)
        self.self_attention = SelfAttention(shape.dim, shape.attention_width, head_dim)
        self.ffn_norm = layer_norm(shape.dim)
        self.ffn = SwiGLU(shape.dim, shape.ffn_width)

    def forward(self, caption_BLD: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        caption_BLD = caption_BLD + self.self_attention(self.attention_norm(caption_BLD))
        return caption_BLD + self.ffn(self.ffn_norm(caption_BLD))


class FinalLayer(nn.Module):
    """Tokens -> the numbers of their patches."""

    def __init__(self, width: int, patch_channels: int) -> None:
        super().__init__()
        self.norm = layer_norm(width)
        self.modulation = AdaptiveNorm(width, width, num_outputs=2)
        self.projection = nn.Linear(width, patch_channels)

    def forward(self, tokens_BTD: Tensor, conditioning_BC: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, P)."""
        shift_B1D, scale_B1D = self.modulation(conditioning_BC)
        return self.projection(modulate(self.norm(tokens_BTD), shift_B1D, scale_B1D))


def _feed_forward(shape: BlockShape, settings: ModelSettings) -> SwiGLU | ExpertChoiceFFN:
    if shape.has_experts:
        return ExpertChoiceFFN(shape.dim, shape.ffn_width, settings.num_experts, settings.capacity_factor)
    return SwiGLU(shape.dim, shape.ffn_width)
