"""The table `[model]`: the shape of a MicroDiT, and the widths that follow from it."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from mdiff.recipe.settings import BadSettingError, Settings

Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class BlockShape:
    """Widths of one transformer block, in channels."""

    dim: int
    """Width of the tokens that pass through."""
    attention_width: int
    """Width of q, k and v in self-attention, all heads together."""
    ffn_width: int
    """Hidden width of the feed-forward layer, of each expert where there are experts."""
    has_experts: bool


class ModelSettings(Settings):
    """Widths are in channels, lengths in tokens."""

    channels: int = Field(default=4, ge=1)
    """Channels of the latents: 4 for the SDXL VAE, 3 for pixels."""
    patch_size: int = Field(default=2, ge=1)
    """Side of a patch, in latent pixels."""
    width: int = Field(default=1024, ge=4)
    """Width of the backbone."""
    depth: int = Field(default=28, ge=1)
    """Number of backbone blocks."""
    head_dim: int = Field(default=64, ge=2)
    """Width of one attention head, in the backbone and in the patch mixer."""
    multiple_of: int = Field(default=256, ge=1)
    """Hidden widths of feed-forward layers are rounded up to a multiple of this."""
    attention_ratios: tuple[Positive, Positive] = (0.5, 1.0)
    """Layer-wise scaling: attention width / width in the first and in the last backbone block."""
    ffn_ratios: tuple[Positive, Positive] = (0.5, 4.0)
    """Layer-wise scaling: feed-forward width / width in the first and in the last backbone block."""
    mixer_depth: int = Field(default=6, ge=0)
    """Number of patch-mixer blocks. 0: no patch mixer, so that masking is naive."""
    mixer_width: int = Field(default=768, ge=4)
    """Width of the patch mixer."""
    mixer_ffn_ratio: float = Field(default=4.0, gt=0)
    """Feed-forward width / width in the patch mixer."""
    num_experts: int = Field(default=8, ge=0)
    """Experts in each expert layer. 0: every feed-forward layer is dense."""
    capacity_factor: float = Field(default=2.0, gt=0)
    """Mean number of experts that take a token."""
    experts_every: int = Field(default=2, ge=1)
    """Every n-th block has experts."""
    caption_width: int = Field(default=1024, ge=1)
    """Channels of the caption latents."""
    caption_length: int = Field(default=77, ge=1)
    """Tokens of a caption."""

    @model_validator(mode="after")
    def _widths_fit(self) -> "ModelSettings":
        for name, width in (("width", self.width), ("mixer_width", self.mixer_width)):
            if width % self.head_dim:
                raise BadSettingError(name, width, f"must be a multiple of head_dim {self.head_dim}")
        if self.width % 4:
            raise BadSettingError("width", self.width, "must be a multiple of 4 (sine and cosine of column and row take a quarter each)")
        return self

    @property
    def patch_channels(self) -> int:
        """Numbers in one patch."""
        return self.patch_size**2 * self.channels

    @property
    def backbone_shapes(self) -> tuple[BlockShape, ...]:
        return tuple(
            self._block_shape(
                self.width,
                _between(self.attention_ratios, i, self.depth),
                _between(self.ffn_ratios, i, self.depth),
                (i + 1) % self.experts_every == 0 and i < self.depth - 1,
            )
            for i in range(self.depth)
        )

    @property
    def mixer_shapes(self) -> tuple[BlockShape, ...]:
        return tuple(
            self._block_shape(self.mixer_width, 1.0, self.mixer_ffn_ratio, (i + 1) % self.experts_every == 0 and i >= 1)
            for i in range(self.mixer_depth)
        )

    @property
    def caption_shape(self) -> BlockShape:
        """The one block that reads the caption; it has no cross-attention and is not conditioned."""
        return self._block_shape(self.width, 1.0, 4.0, False)

    def _block_shape(self, dim: int, attention_ratio: float, ffn_ratio: float, expert_position: bool) -> BlockShape:
        has_experts = expert_position and self.num_experts > 0
        attention_width = dim if attention_ratio == 1.0 else round_up(int(dim * attention_ratio), 2 * self.head_dim)
        hidden = int(dim * ffn_ratio)
        # SwiGLU has three matrices where GELU has two: two thirds of the width keep the parameters equal.
        ffn_width = round_up(hidden if has_experts else int(2 * hidden / 3), self.multiple_of)
        return BlockShape(dim=dim, attention_width=attention_width, ffn_width=ffn_width, has_experts=has_experts)


def round_up(value: int, multiple: int) -> int:
    """
    >>> round_up(42, 32), round_up(64, 32)
    (64, 64)
    """
    return -(-value // multiple) * multiple


def kept_token_count(num_tokens: int, mask_ratio: float) -> int:
    """Tokens that the backbone sees. The product is rounded first, so that 100 tokens at 0.9 keep 10 and not 9.

    >>> kept_token_count(256, 0.75), kept_token_count(100, 0.9)
    (64, 10)
    """
    return int(round(num_tokens * (1 - mask_ratio), 6))


def expert_capacity(num_tokens: int, num_experts: int, capacity_factor: float) -> int:
    """Tokens that each expert takes from one sample: k = n * c / e (Zhou et al., arXiv:2202.09368, section 3.2).

    >>> expert_capacity(256, 8, 2.0)
    64

    Raises:
        ValueError: it rounds down to 0, which would drop every token without a word.
    """
    capacity = int(num_tokens * capacity_factor / num_experts)
    if capacity < 1:
        raise ValueError(f"{num_tokens} tokens x capacity_factor {capacity_factor} / {num_experts} experts gives an expert no token")
    return min(capacity, num_tokens)


def _between(ends: tuple[float, float], index: int, count: int) -> float:
    """Point `index` of `count` evenly spaced ones, as numpy.linspace gives them."""
    first, last = ends
    if index == count - 1 and count > 1:
        return last
    return first + index * ((last - first) / max(count - 1, 1))
