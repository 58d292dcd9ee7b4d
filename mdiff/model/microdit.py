"""MicroDiT: a text-to-image diffusion transformer that sees few of its patches while it trains (Sehwag et al., arXiv:2407.15811).

    latents -> patch embedding -> patch mixer (all T tokens) -> backbone (the K kept ones) -> final layer -> latents, 0 where hidden

Shape key, this file:  B batch   C latent channels   H W latent sides   T all tokens   K kept tokens   P numbers of a patch
L caption tokens   D backbone channels
"""

import torch
from torch import Tensor, nn

from mdiff.model import init
from mdiff.model.block import Block, CaptionBlock, FinalLayer
from mdiff.model.conditioning import CaptionMLP, NoiseEmbedding
from mdiff.model.masking import PatchMask, gather_kept, scatter_kept
from mdiff.model.mixer import PatchMixer
from mdiff.model.patches import PatchEmbedding, from_patches
from mdiff.recipe.model import ModelSettings


class MicroDiT(nn.Module):
    """The network F of EDM. Attribute names are checkpoint keys.

    Weights are arbitrary until `init_weights`, or until some are loaded. Can be built on the meta device: then `to_empty`, and
    `init_weights`, or loaded weights and `set_grid`.

    Args:
        settings: widths and depths.
        latent_size: side of the square latents, in latent pixels.
        position_scale: patch coordinates are divided by this.
    """

    def __init__(self, settings: ModelSettings, latent_size: int, position_scale: float = 1.0) -> None:
        super().__init__()
        self.settings = settings
        width = settings.width
        self.patch_embedding = PatchEmbedding(settings.patch_size, settings.patch_channels, width)
        self.noise_embedding = NoiseEmbedding(width)
        self.caption_embedding = CaptionMLP(settings.caption_width, width)
        self.caption_block = CaptionBlock(settings.caption_shape, settings.head_dim)
        self.pooled_caption = CaptionMLP(width, width)
        self.mixer = PatchMixer(settings) if settings.mixer_depth else None
        self.backbone = nn.ModuleList(Block(shape, settings) for shape in settings.backbone_shapes)
        self.final_layer = FinalLayer(width, settings.patch_channels)
        self.set_grid(latent_size, position_scale)

    def set_grid(self, latent_size: int, position_scale: float = 1.0) -> None:
        """Go to another resolution. Weights stay as they are.

        Raises:
            ValueError: the patch size does not divide `latent_size`.
        """
        self.patch_embedding.set_grid(latent_size, position_scale)

    def init_weights(self, generator: torch.Generator) -> None:
        """Draw every weight anew, before sharding. The same generator state gives the same weights on any device."""
        init.init_stem(self.patch_embedding, self.noise_embedding, (self.caption_embedding, self.pooled_caption), generator)
        init.init_caption_block(self.caption_block, generator)
        if self.mixer is not None:
            init.init_mixer(self.mixer, init.residual_std(self.settings.depth - 1), generator)
        init.init_blocks(self.backbone, [init.residual_std(layer) for layer in range(self.settings.depth)], generator)
        init.init_final_layer(self.final_layer)
        # Memory from to_empty holds no position table yet.
        self.set_grid(self.patch_embedding.latent_size, self.patch_embedding.scale)

    @property
    def blocks(self) -> list[nn.Module]:
        """All transformer blocks in the order of the computation: the units to shard or to recompute."""
        return [self.caption_block, *(self.mixer.blocks if self.mixer is not None else ()), *self.backbone]

    def forward(self, latents_BCHW: Tensor, c_noise_B: Tensor, caption_BLC: Tensor, mask: PatchMask | None = None) -> Tensor:
        """Raw network output, (B, C, H, W); hidden patches are 0.

        Args:
            latents_BCHW: noisy latents, scaled by c_in.
            c_noise_B: noise level, ln(sigma) / 4.
            caption_BLC: caption latents; all 0 for no caption.
            mask: which patches the backbone sees; None: all.
        """
        tokens_BTD = self.patch_embedding(latents_BCHW)
        caption_BLD = self.caption_block(self.caption_embedding(caption_BLC))
        conditioning_BD = self.noise_embedding(c_noise_B) + self.pooled_caption(caption_BLD.mean(dim=1))

        tokens_BKD = self._mix_and_drop(tokens_BTD, caption_BLD, conditioning_BD, mask)
        for block in self.backbone:
            tokens_BKD = block(tokens_BKD, caption_BLD, conditioning_BD)

        patches_BKP = self.final_layer(tokens_BKD, conditioning_BD)
        patches_BTP = patches_BKP if mask is None else scatter_kept(patches_BKP, mask)
        return from_patches(patches_BTP, self.settings.patch_size, self.patch_embedding.grid_size)

    def _mix_and_drop(self, tokens_BTD: Tensor, caption_BLD: Tensor, conditioning_BD: Tensor, mask: PatchMask | None) -> Tensor:
        if self.mixer is not None:
            return self.mixer(tokens_BTD, caption_BLD, conditioning_BD, mask)
        return tokens_BTD if mask is None else gather_kept(tokens_BTD, mask)
