"""Floating-point operations of a picture, as integer arithmetic.

Counted are matrix products, 2 operations per multiply-add, as PyTorch's flop counter does. The paper's own count is 4.7 % higher:
it includes the one-hot products of its expert dispatch, which ours does by index.
"""

from mdiff.recipe.model import BlockShape, ModelSettings, expert_capacity, kept_token_count
from mdiff.recipe.parameters import NUM_NOISE_FEATURES
from mdiff.recipe.recipe import Recipe
from mdiff.recipe.stage import Stage

TRAINING_PER_FORWARD = 3
"""A backward pass is two products for each one of the forward pass."""


def training_flops_per_image(recipe: Recipe, stage: Stage) -> int:
    """Forward and backward pass of one picture of this stage."""
    num_tokens = recipe.num_tokens(stage)
    num_kept = kept_token_count(num_tokens, stage.mask_ratio)
    return TRAINING_PER_FORWARD * forward_flops_per_image(recipe.model, num_tokens, num_kept)


def training_flops(recipe: Recipe) -> int:
    """All stages of a run."""
    return sum(stage.images * training_flops_per_image(recipe, stage) for stage in recipe.stages)


def forward_flops_per_image(model: ModelSettings, num_tokens: int, num_kept: int) -> int:
    """One forward pass in which the backbone sees `num_kept` of the patches. When sampling it sees all `num_tokens`."""
    mixer = _maps(model, num_tokens, num_kept) + sum(_block(shape, model, num_tokens) for shape in model.mixer_shapes)
    backbone = sum(_block(shape, model, num_kept) for shape in model.backbone_shapes)
    return _stem(model, num_tokens, num_kept) + mixer + backbone


def _stem(model: ModelSettings, num_tokens: int, num_kept: int) -> int:
    width, patch, length = model.width, model.patch_channels, model.caption_length
    noise = _linear(1, NUM_NOISE_FEATURES, width) + _linear(1, width, width)
    caption = _linear(length, model.caption_width, width) + _linear(length, width, width)
    pooled = 2 * _linear(1, width, width)
    final = _linear(1, width, 2 * width) + _linear(num_kept, width, patch)
    return _linear(num_tokens, patch, width) + noise + caption + _caption_block(model.caption_shape, length) + pooled + final


def _maps(model: ModelSettings, num_tokens: int, num_kept: int) -> int:
    if not model.mixer_depth or model.mixer_width == model.width:
        return 0
    return _linear(num_tokens + model.caption_length + num_kept, model.width, model.mixer_width)


def _block(shape: BlockShape, model: ModelSettings, num_tokens: int) -> int:
    modulation = _linear(1, model.width, 6 * shape.dim)
    cross_attention = _cross_attention(shape.dim, num_tokens, model.caption_length)
    return modulation + _self_attention(shape, num_tokens) + cross_attention + _feed_forward(shape, model, num_tokens)


def _caption_block(shape: BlockShape, length: int) -> int:
    return _self_attention(shape, length) + _linear(length, shape.dim, 3 * shape.ffn_width)


def _self_attention(shape: BlockShape, num_tokens: int) -> int:
    return _linear(num_tokens, shape.dim, 4 * shape.attention_width) + _attention(num_tokens, num_tokens, shape.attention_width)


def _cross_attention(dim: int, num_tokens: int, length: int) -> int:
    return _linear(num_tokens + length, dim, 2 * dim) + _attention(num_tokens, length, dim)


def _feed_forward(shape: BlockShape, model: ModelSettings, num_tokens: int) -> int:
    if not shape.has_experts:
        return _linear(num_tokens, shape.dim, 3 * shape.ffn_width)
    router = _linear(num_tokens, shape.dim, model.num_experts)
    taken = model.num_experts * expert_capacity(num_tokens, model.num_experts, model.capacity_factor)
    return router + _linear(taken, shape.dim, 2 * shape.ffn_width)


def _attention(num_queries: int, num_keys: int, width: int) -> int:
    """Queries by keys, and weights by values; all heads together are `width` wide."""
    return 2 * _linear(num_queries, num_keys, width)


def _linear(num_tokens: int, width_in: int, width_out: int) -> int:
    return 2 * num_tokens * width_in * width_out
