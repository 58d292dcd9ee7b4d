"""The published MicroDiT state dict <-> ours: names, and the one tensor whose layout differs.

Source of the names: SonyResearch/micro_diffusion `900d7d4`, models/dit.py; listed in the README of the golden file.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mdiff.errors import CheckpointError
from mdiff.model.microdit import MicroDiT
from mdiff.model.patches import position_table
from mdiff.recipe.model import ModelSettings

# Beginnings of names, ours and theirs; the rest of a name goes through _ROLES.
_PLACES = {
    "patch_embedding.": "x_embedder.",
    "noise_embedding.hidden.": "t_embedder.mlp.0.",
    "noise_embedding.output.": "t_embedder.mlp.2.",
    "caption_embedding.hidden.": "y_embedder.y_proj.fc1.",
    "caption_embedding.norm.": "y_embedder.y_proj.norm.",
    "caption_embedding.output.": "y_embedder.y_proj.fc2.",
    "caption_block.attention_norm.": "y_emb_preprocess.norm1.",
    "caption_block.ffn_norm.": "y_emb_preprocess.norm2.",
    "caption_block.": "y_emb_preprocess.",
    "pooled_caption.hidden.": "pooled_y_emb_process.fc1.",
    "pooled_caption.norm.": "pooled_y_emb_process.norm.",
    "pooled_caption.output.": "pooled_y_emb_process.fc2.",
    "mixer.tokens_in.norm.": "patch_mixer_map_xin.0.",
    "mixer.tokens_in.projection.": "patch_mixer_map_xin.1.",
    "mixer.caption_in.norm.": "patch_mixer_map_y.0.",
    "mixer.caption_in.projection.": "patch_mixer_map_y.1.",
    "mixer.tokens_out.norm.": "patch_mixer_map_xout.0.",
    "mixer.tokens_out.projection.": "patch_mixer_map_xout.1.",
    "mixer.blocks.": "patch_mixer.",
    "backbone.": "blocks.",
    "final_layer.norm.": "final_layer.norm_final.",
    "final_layer.modulation.projection.": "final_layer.adaLN_modulation.1.",
    "final_layer.projection.": "final_layer.linear.",
}

# Parts of names inside a block and the patch embedding. Longer ones first where one contains another.
_ROLES = {
    "attention_norm.": "norm1.",
    "caption_norm.": "norm2.",
    "ffn_norm.": "norm3.",
    "self_attention.qkv.": "attn.qkv.",
    "self_attention.output.": "attn.proj.",
    "cross_attention.query.": "cross_attn.q_linear.",
    "cross_attention.key_value.": "cross_attn.kv_linear.",
    "cross_attention.output.": "cross_attn.proj.",
    "modulation.projection.": "adaLN_modulation.1.",
    "ffn.router.": "mlp.gate.",
    "ffn.expert_in": "mlp.w1",
    "ffn.expert_out": "mlp.w2",
    "ffn.gate.": "mlp.w1.",
    "ffn.value.": "mlp.w2.",
    "ffn.output.": "mlp.w3.",
    "projection.": "proj.",
}

PATCH_WEIGHT = "patch_embedding.projection.weight"
NOT_TRAINED = ("pos_embed", "mask_token")
"""A table that follows from the stage, and zeros."""


def reference_names(settings: ModelSettings) -> dict[str, str]:
    """Our name -> the reference's, for every weight of such a model, in our order."""
    return {name: _reference_name(name) for name in _shapes(settings)}


def from_reference(state: Mapping[str, Tensor], settings: ModelSettings) -> dict[str, Tensor]:
    """A state dict for `MicroDiT(settings, ...)`. The position table and the mask token are left out.

    Raises:
        CheckpointError: a name or a shape is not that of such a model.
    """
    names = reference_names(settings)
    expected = {names[name]: shape for name, shape in _shapes(settings).items()}
    expected[names[PATCH_WEIGHT]] = (settings.width, settings.channels, settings.patch_size, settings.patch_size)
    _check({name: tensor for name, tensor in state.items() if name not in NOT_TRAINED}, expected)
    ours = {name: state[theirs] for name, theirs in names.items()}
    return ours | {PATCH_WEIGHT: patch_weight_from_reference(ours[PATCH_WEIGHT])}


def to_reference(state: Mapping[str, Tensor], settings: ModelSettings, latent_size: int, position_scale: float = 1.0) -> dict[str, Tensor]:
    """The reference's state dict, with the position table of this latent size and the mask token.

    Raises:
        CheckpointError: a name or a shape is not that of a `MicroDiT(settings, ...)`.
    """
    _check(state, _shapes(settings))
    names = reference_names(settings)
    return {names[name]: tensor for name, tensor in state.items()} | {
        names[PATCH_WEIGHT]: _patch_weight_to_reference(state[PATCH_WEIGHT], settings),
        "pos_embed": position_table(settings.width, latent_size // settings.patch_size, position_scale)[None],
        "mask_token": torch.zeros(1, 1, settings.patch_channels),
    }


def patch_weight_from_reference(weight: Tensor) -> Tensor:
    """The kernel of a convolution, (width, channel, row, column), as a linear map of patches, (width, row x column x channel)."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def _patch_weight_to_reference(weight: Tensor, settings: ModelSettings) -> Tensor:
    side = settings.patch_size
    return weight.unflatten(1, (side, side, settings.channels)).permute(0, 3, 1, 2).contiguous()


def _reference_name(name: str) -> str:
    place = max((place for place in _PLACES if name.startswith(place)), key=len)
    rest = name.removeprefix(place)
    for ours, theirs in _ROLES.items():
        rest = rest.replace(ours, theirs)
    return _PLACES[place] + rest


def _shapes(settings: ModelSettings) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = MicroDiT(settings, latent_size=settings.patch_size)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _check(state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> None:
    missing = sorted(expected.keys() - state.keys())
    too_many = sorted(state.keys() - expected.keys())
    misshapen = [
        f"{name} is {tuple(state[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    problems = {"missing": missing, "too many": too_many, "wrong shape": misshapen}
    if any(problems.values()):
        listed = "; ".join(f"{what}: {', '.join(names)}" for what, names in problems.items() if names)
        raise CheckpointError(f"the state dict does not fit the model: {listed}")
