"""How weights start: as in MicroDiT (arXiv:2407.15811), after DiT (arXiv:2212.09748, section 3.2).

What feeds the residual stream shrinks with depth; what modulates it, and the final projection, start at zero, so that every
block starts without its gated branches and the network starts with output 0.
MicroDiT cuts its normal distributions at +-2, a hundred standard deviations out: here they are plainly normal.
"""

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mdiff.model.attention import CrossAttention, SelfAttention
from mdiff.model.block import Block, CaptionBlock, FinalLayer
from mdiff.model.conditioning import CaptionMLP, NoiseEmbedding
from mdiff.model.feedforward import SwiGLU
from mdiff.model.mixer import PatchMixer, WidthMap
from mdiff.model.moe import ExpertChoiceFFN
from mdiff.model.patches import PatchEmbedding

STD = 0.02


def residual_std(layer: int) -> float:
    """Of the projections that feed the residual stream, `layer` counted from 0."""
    return STD / math.sqrt(2 * (layer + 1))


def init_stem(patches: PatchEmbedding, noise: NoiseEmbedding, captions: Sequence[CaptionMLP], generator: torch.Generator) -> None:
    _xavier(patches.projection, generator)
    mlps: list[NoiseEmbedding | CaptionMLP] = [noise, *captions]
    for mlp in mlps:
        _normal(STD, generator, mlp.hidden.weight, mlp.output.weight)
        _zero(mlp.hidden.bias, mlp.output.bias)
    for mlp in captions:
        _one(mlp.norm)


def init_caption_block(block: CaptionBlock, generator: torch.Generator) -> None:
    _one(block.attention_norm, block.ffn_norm)
    _init_self_attention(block.self_attention, STD, generator)
    _init_swiglu(block.ffn, STD, generator)
    _zero(block.self_attention.output.weight, block.ffn.output.weight)


def init_mixer(mixer: PatchMixer, std: float, generator: torch.Generator) -> None:
    for width_map in (mixer.tokens_in, mixer.caption_in, mixer.tokens_out):
        if isinstance(width_map, WidthMap):
            _one(width_map.norm)
            _xavier(width_map.projection, generator)
    init_blocks(mixer.blocks, [std] * len(mixer.blocks), generator)


def init_blocks(blocks: nn.ModuleList, stds: Sequence[float], generator: torch.Generator) -> None:
    """Args:
    stds: for each block, that of the projections that feed the residual stream.
    """
    for block, std in zip(blocks, stds, strict=True):
        _init_block(cast(Block, block), std, generator)


def _init_block(block: Block, std: float, generator: torch.Generator) -> None:
    _one(block.attention_norm, block.caption_norm, block.ffn_norm)
    _zero(block.modulation.projection.weight, block.modulation.projection.bias)
    _init_self_attention(block.self_attention, std, generator)
    _init_cross_attention(block.cross_attention, std, generator)
    if isinstance(block.ffn, ExpertChoiceFFN):
        _init_experts(block.ffn, std, generator)
    else:
        _init_swiglu(block.ffn, std, generator)


def init_final_layer(layer: FinalLayer) -> None:
    _one(layer.norm)
    for linear in (layer.modulation.projection, layer.projection):
        _zero(linear.weight, linear.bias)


def _init_self_attention(attention: SelfAttention, std: float, generator: torch.Generator) -> None:
    _normal(STD, generator, attention.qkv.weight)
    _normal(std, generator, attention.output.weight)


def _init_cross_attention(attention: CrossAttention, std: float, generator: torch.Generator) -> None:
    _normal(STD, generator, attention.query.weight, attention.key_value.weight)
    _normal(std, generator, attention.output.weight)


def _init_swiglu(ffn: SwiGLU, std: float, generator: torch.Generator) -> None:
    _normal(STD, generator, ffn.gate.weight)
    _normal(std, generator, ffn.value.weight, ffn.output.weight)


def _init_experts(ffn: ExpertChoiceFFN, std: float, generator: torch.Generator) -> None:
    _normal(STD, generator, ffn.router.weight, ffn.expert_in)
    _normal(std, generator, ffn.expert_out)


def _normal(std: float, generator: torch.Generator, *weights: Tensor) -> None:
    for weight in weights:
        _draw(weight, generator, lambda empty: empty.normal_(0.0, std, generator=generator))


def _xavier(linear: nn.Linear, generator: torch.Generator) -> None:
    bound = math.sqrt(6 / (linear.in_features + linear.out_features))
    _draw(linear.weight, generator, lambda empty: empty.uniform_(-bound, bound, generator=generator))
    if linear.bias is not None:
        _zero(linear.bias)


@torch.no_grad()
def _draw(weight: Tensor, generator: torch.Generator, fill: Callable[[Tensor], Tensor]) -> None:
    # Drawn where the generator lives, so that a model on a GPU can get the weights of one on a CPU.
    weight.copy_(fill(torch.empty(weight.shape, device=generator.device)))


@torch.no_grad()
def _zero(*weights: Tensor) -> None:
    for weight in weights:
        weight.zero_()


@torch.no_grad()
def _one(*norms: nn.LayerNorm) -> None:
    for norm in norms:
        norm.weight.fill_(1.0)
