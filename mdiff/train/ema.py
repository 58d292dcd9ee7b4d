"""Exponential moving average of the weights."""

import torch
from torch import nn

from mdiff.recipe.stage import Ema


class WeightAverage:
    """A copy of the weights that follows them slowly, from a given step of the stage on."""

    def __init__(self, model: nn.Module, settings: Ema) -> None:
        self.settings = settings
        self.weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """`step`: optimizer steps of the stage that are done. Up to `start_step` the average is a plain copy."""
        weights = [parameter.detach() for parameter in model.parameters()]
        averages = list(self.weights.values())
        if step <= self.settings.start_step:
            torch._foreach_copy_(averages, weights)
        else:
            torch._foreach_lerp_(averages, weights, 1 - self.settings.decay)

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        for name, average in self.weights.items():
            average.copy_(tensors[name])
