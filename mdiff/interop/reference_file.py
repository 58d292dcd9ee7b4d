"""A file of reference numbers: weights, inputs and outputs of the published MicroDiT code, as `tests/golden/` holds one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mdiff.errors import CheckpointError
from mdiff.recipe.model import ModelSettings
from mdiff.recipe.recipe import DiffusionSettings


@dataclass(frozen=True)
class ReferenceFile:
    """Its header in our words, and its tensors."""

    model: ModelSettings
    diffusion: DiffusionSettings
    latent_size: int
    position_scale: float
    tensors: Mapping[str, Tensor]

    def tensor(self, name: str) -> Tensor:
        """Raises:
        CheckpointError: the file has no such tensor.
        """
        if name not in self.tensors:
            raise CheckpointError(f"no {name} in this file of reference numbers")
        return self.tensors[name]

    @property
    def state(self) -> dict[str, Tensor]:
        """The reference's state dict, its names."""
        return {name.removeprefix("state."): tensor for name, tensor in self.tensors.items() if name.startswith("state.")}


def read_reference_file(path: Path) -> ReferenceFile:
    """Raises:
    CheckpointError: it cannot be read, or describes a model that ours cannot be.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (the file is no mapping)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    try:
        config, edm = json.loads(header["config"]), json.loads(header["edm"])
        caption_length = tensors["input.y"].shape[-2]
        return ReferenceFile(
            model=model_settings(config, caption_length),
            diffusion=DiffusionSettings(**{name: float(value) for name, value in edm.items()}),
            latent_size=config["input_size"],
            position_scale=config["pos_interp_scale"],
            tensors=tensors,
        )
    except KeyError as error:
        raise CheckpointError(f"{path}: no {error} in this file of reference numbers") from error


def model_settings(config: Mapping[str, Any], caption_length: int) -> ModelSettings:
    """Our settings for a configuration of the reference's `DiT` class.

    Raises:
        CheckpointError: it has biases in its blocks, a scaled patch mixer or widths that are not evenly spaced over the depth.
    """
    for name, value in (("use_bias", False), ("patch_mixer_qkv_ratio", 1.0)):
        if config[name] != value:
            raise CheckpointError(f"config.{name} is {config[name]}; only {value} can be expressed")
    return ModelSettings(
        channels=config["in_channels"],
        patch_size=config["patch_size"],
        width=config["dim"],
        depth=config["depth"],
        head_dim=config["head_dim"],
        multiple_of=config["multiple_of"],
        attention_ratios=_ends(config, "qkv_multipliers"),
        ffn_ratios=_ends(config, "ffn_multipliers"),
        mixer_depth=config["patch_mixer_depth"],
        mixer_width=config["patch_mixer_dim"],
        mixer_ffn_ratio=config["patch_mixer_mlp_ratio"],
        num_experts=config["num_experts"],
        capacity_factor=config["expert_capacity"],
        experts_every=config["experts_every_n"],
        caption_width=config["caption_channels"],
        caption_length=caption_length,
    )


def _ends(config: Mapping[str, Any], name: str) -> tuple[float, float]:
    ratios = torch.tensor(config[name], dtype=torch.float64)
    even = torch.linspace(ratios[0].item(), ratios[-1].item(), config["depth"], dtype=torch.float64)
    if ratios.shape != even.shape or not torch.allclose(ratios, even):
        raise CheckpointError(f"config.{name} {config[name]}: only {config['depth']} evenly spaced ratios can be expressed")
    return float(ratios[0]), float(ratios[-1])
