"""Trainable parameters of a model, as integer arithmetic: the same number as the built network has, without building it."""

from typing import NamedTuple

from mdiff.recipe.model import BlockShape, ModelSettings

NUM_NOISE_FEATURES = 512
"""Sines and cosines that the noise level is given as."""


class ParameterCount(NamedTuple):
    """Trainable parameters of each part."""

    stem: int
    """Everything before the blocks and after them: patches, noise level, caption, final layer."""
    mixer: int
    """The patch mixer, with the maps into it and out of it."""
    backbone: int

    @property
    def total(self) -> int:
        return sum(self)


def parameter_count(model: ModelSettings) -> int:
    """
    >>> parameter_count(ModelSettings())
    1165442320
    """
    return parameter_parts(model).total


def parameter_parts(model: ModelSettings) -> ParameterCount:
    return ParameterCount(
        stem=_stem(model),
        mixer=_maps(model) + sum(_block(shape, model) for shape in model.mixer_shapes),
        backbone=sum(_block(shape, model) for shape in model.backbone_shapes),
    )


def _stem(model: ModelSettings) -> int:
    width, patch = model.width, model.patch_channels
    noise = _linear(NUM_NOISE_FEATURES, width) + _linear(width, width)
    caption = _caption_mlp(model.caption_width, width) + _caption_block(model.caption_shape) + _caption_mlp(width, width)
    final = width + _linear(width, 2 * width) + _linear(width, patch)
    return _linear(patch, width) + noise + caption + final


def _maps(model: ModelSettings) -> int:
    if not model.mixer_depth or model.mixer_width == model.width:
        return 0
    product = model.width * model.mixer_width
    return 2 * (model.width + product) + model.mixer_width + product


def _block(shape: BlockShape, model: ModelSettings) -> int:
    norms = 3 * shape.dim
    cross_attention = 4 * shape.dim**2
    modulation = _linear(model.width, 6 * shape.dim)
    return norms + modulation + _self_attention(shape) + cross_attention + _feed_forward(shape, model.num_experts)


def _caption_block(shape: BlockShape) -> int:
    return 2 * shape.dim + _self_attention(shape) + _feed_forward(shape, 0)


def _self_attention(shape: BlockShape) -> int:
    return 4 * shape.dim * shape.attention_width


def _feed_forward(shape: BlockShape, num_experts: int) -> int:
    if shape.has_experts:
        return num_experts * (shape.dim + 2 * shape.dim * shape.ffn_width)
    return 3 * shape.dim * shape.ffn_width


def _caption_mlp(width_in: int, width: int) -> int:
    return _linear(width_in, width) + width + _linear(width, width)


def _linear(width_in: int, width_out: int) -> int:
    """With bias."""
    return (width_in + 1) * width_out
