"""The two codecs of a recipe: captions -> caption latents, and latents -> pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mdiff.data.latent_codec import PixelCodec
from mdiff.data.words import WordsEncoder
from mdiff.recipe.recipe import Recipe


@dataclass(frozen=True)
class Codecs:
    """What sampling needs beside the network."""

    captions: WordsEncoder
    latents: PixelCodec

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """(B, L, C) float32."""
        return torch.from_numpy(self.captions.encode(captions)).float()


def open_codecs(recipe: Recipe) -> Codecs | None:
    """The codecs that the recipe names; None when one of them is not built in."""
    if recipe.data.latent_codec != PixelCodec.name or recipe.data.text_encoder != WordsEncoder.name:
        return None
    return Codecs(WordsEncoder(recipe.model.caption_length, recipe.model.caption_width), PixelCodec())
