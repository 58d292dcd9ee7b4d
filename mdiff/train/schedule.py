"""The learning rate as a function of the step."""

import math

from mdiff.recipe.stage import LearningRate


def learning_rate_at(rate: LearningRate, step: int, steps: int) -> float:
    """Rate of the optimizer step number `step`, counted from 0, of a stage of `steps`.

    Linear warm-up that reaches the peak with its last step, then constant, or half a cosine down to
    peak x floor_ratio at the end of the stage.

    >>> learning_rate_at(LearningRate(peak=1.0, warmup_steps=4), 0, 100)
    0.25
    """
    if step < rate.warmup_steps:
        return rate.peak * (step + 1) / rate.warmup_steps
    if rate.schedule == "constant":
        return rate.peak
    progress = (step - rate.warmup_steps) / max(steps - rate.warmup_steps, 1)
    height = 0.5 * (1 + math.cos(math.pi * progress))
    return rate.peak * (rate.floor_ratio + (1 - rate.floor_ratio) * height)
