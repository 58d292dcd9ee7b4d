"""Data parallelism, applied to a finished model from outside."""

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mdiff.train.world import World


def parallelise(model: nn.Module, world: World, *, compile: bool) -> nn.Module:
    """The model whose backward pass averages gradients over all processes; with one process, the model itself.

    Args:
        compile: torch.compile of the whole model. Layer-wise scaling gives every block its own widths, so that compiling
            block by block would make as many graphs.
    """
    network = model
    if world.world_size > 1:
        device_ids = [world.local_rank] if world.device.type == "cuda" else None
        network = DistributedDataParallel(model, device_ids=device_ids, gradient_as_bucket_view=True)
    if compile:
        network.compile()
    return network


def settle_buckets(model: nn.Module, backward: Callable[[], Tensor]) -> None:
    """One backward pass for nothing.

    DDP sorts its gradient buckets anew after its first backward pass, and the order in which several processes add up
    depends on the layout. A resumed run must not take its first step in another layout than an uninterrupted one did.
    """
    if isinstance(model, DistributedDataParallel):
        backward().backward()
        model.zero_grad(set_to_none=True)


def accumulating(model: nn.Module, is_last: bool) -> contextlib.AbstractContextManager[None]:
    """Around a forward and backward pass whose gradients need not be averaged yet."""
    if isinstance(model, DistributedDataParallel) and not is_last:
        return model.no_sync()
    return contextlib.nullcontext()


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bf16 products over fp32 weights, or nothing at all."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
