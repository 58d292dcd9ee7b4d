"""One optimizer step: micro-batches, the agreement of all processes, the update."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from mdiff.data.reader import Batch
from mdiff.diffusion.loss import edm_loss_per_sample
from mdiff.errors import MdiffError
from mdiff.train.parallel import accumulating, autocast
from mdiff.train.randomness import Draws
from mdiff.train.world import World


class DivergedError(MdiffError):
    """The loss or a gradient is no longer a number."""


@dataclass(frozen=True)
class StepResult:
    """Agreed on by all processes."""

    loss: float
    grad_norm: float
    stop: bool
    """Some process saw a stop request."""


@dataclass(frozen=True)
class StepSettings:
    """What does not change from step to step."""

    micro_batch_size: int
    clip_norm: float
    sigma_data: float
    precision: str


def train_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    draws: Draws,
    settings: StepSettings,
    world: World,
    *,
    stop: bool,
    place: str,
) -> StepResult:
    """
    Raises:
        DivergedError: on every process alike, before the weights are touched; `place` says where.
    """
    loss_sum = accumulate_gradients(network, batch, draws, settings, world)
    norm = nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm, foreach=True)
    # Ranks must agree, or one of them leaves and the others wait for it in the next collective.
    summary = torch.tensor([loss_sum, float(stop)], dtype=torch.float64, device=world.device)
    loss_total, stops = world.sum(summary).tolist()
    loss, grad_norm = loss_total / (len(batch.captions) * world.world_size), float(norm)
    if not (math.isfinite(loss) and math.isfinite(grad_norm)):
        advice = 'lower learning_rate.peak of this stage, or set training.precision = "fp32"'
        raise DivergedError(f"{place}: loss {loss}, gradient norm {grad_norm}; {advice}")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return StepResult(loss=loss, grad_norm=grad_norm, stop=stops > 0)


def accumulate_gradients(network: nn.Module, batch: Batch, draws: Draws, settings: StepSettings, world: World) -> float:
    """Forward and backward over all micro-batches; the sum of the samples' losses."""
    count, total = len(batch.captions), torch.zeros((), dtype=torch.float64, device=world.device)
    starts = range(0, count, settings.micro_batch_size)
    for start in starts:
        part = slice(start, start + settings.micro_batch_size)
        with accumulating(network, is_last=start == starts[-1]):
            loss = micro_batch_loss(network, batch, draws, part, settings, world) / count
            loss.backward()
        total += loss.detach().double() * count
    return float(total)


def micro_batch_loss(network: nn.Module, batch: Batch, draws: Draws, part: slice, settings: StepSettings, world: World) -> torch.Tensor:
    """The sum of the losses of some samples."""
    drawn = draws.part(part, world.device)
    latents, captions = (tensor[part].to(world.device, non_blocking=True) for tensor in (batch.latents, batch.caption_latents))
    with autocast(world.device, settings.precision):
        losses = edm_loss_per_sample(network, latents, drawn.noise_NCHW, drawn.sigma_N111, captions, settings.sigma_data, drawn.mask)
    return losses.float().sum()
