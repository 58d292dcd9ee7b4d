"""AdamW over two groups of parameters: the experts and the rest."""

from typing import Any

import torch
from torch import nn

from mdiff.model.moe import ExpertChoiceFFN
from mdiff.recipe.recipe import OptimizerSettings


def build_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """The learning rate of each group is set at every step (`set_learning_rate`)."""
    return torch.optim.AdamW(
        parameter_groups(model, settings.expert_lr_scale),
        lr=0.0,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def parameter_groups(model: nn.Module, expert_lr_scale: float) -> list[dict[str, Any]]:
    """Every parameter once, grouped by the type of the module that owns it, not by its name."""
    expert_ids = {id(p) for module in model.modules() if isinstance(module, ExpertChoiceFFN) for p in module.parameters()}
    groups: list[dict[str, Any]] = [{"lr_scale": 1.0, "params": [p for p in model.parameters() if id(p) not in expert_ids]}]
    if expert_ids:
        groups.append({"lr_scale": expert_lr_scale, "params": [p for p in model.parameters() if id(p) in expert_ids]})
    return groups


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["lr_scale"]


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state as named tensors: "<parameter>/exp_avg" and so on. Empty before the first step."""
    return {
        f"{name}/{key}": torch.as_tensor(value)
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        parameter_name, _, key = name.rpartition("/")
        parameter = parameters[parameter_name]
        # AdamW keeps its step count as fp32 beside the moments, which lie where the parameter lies.
        optimizer.state[parameter][key] = tensor.to(parameter.device, copy=True)
