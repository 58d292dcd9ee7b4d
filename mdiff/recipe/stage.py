"""The tables `[[stages]]`: the phases of a run, in order."""

from typing import Literal

from pydantic import Field, model_validator

from mdiff.recipe.model import Positive
from mdiff.recipe.settings import BadSettingError, Settings


class DataSetUse(Settings):
    """One data set of a stage."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """The site says in which folder it lies."""
    weight: Positive = 1.0
    """Share of the samples, relative to the other data sets of the stage."""
    min_short_side: int = Field(default=0, ge=0)
    """Pictures whose shorter side was less, in pixels before resizing, are passed over."""


class LearningRate(Settings):
    """Warm-up from 0, then constant or a cosine down to a floor."""

    peak: Positive
    schedule: Literal["constant", "cosine"] = "constant"
    floor_ratio: float = Field(default=1.0, ge=0, le=1)
    """Cosine: the rate at the last step / peak."""
    warmup_steps: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _floor_has_a_use(self) -> "LearningRate":
        if self.schedule == "constant" and self.floor_ratio != 1.0:
            raise BadSettingError(
                "floor_ratio", self.floor_ratio, 'must be 1.0 with schedule "constant"; a floor needs schedule = "cosine"'
            )
        return self


class Ema(Settings):
    """Exponential moving average of the weights: what is sampled from and what the next stage does not start from."""

    decay: float = Field(gt=0, lt=1)
    start_step: int = Field(default=0, ge=0)
    """Up to this step of the stage the average is a copy of the weights."""


class Stage(Settings):
    """One phase: its pictures, its noise, its optimisation."""

    name: str
    resolution: int = Field(ge=1)
    """Side of the pictures, in pixels."""
    mask_ratio: float = Field(ge=0)
    """Share of the patches that the backbone does not see, 0 or more and below 1."""
    steps: int = Field(ge=1)
    """Optimizer steps."""
    batch_size: int = Field(ge=1)
    """Images of one optimizer step, over all processes."""
    micro_batch_size: int = Field(ge=1)
    """Images of one forward pass of one process, at most."""
    learning_rate: LearningRate
    clip_norm: Positive
    """Gradients longer than this are shortened to it."""
    P_mean: float
    """Mean of ln(sigma), EDM (arXiv:2206.00364) table 1."""
    P_std: Positive
    """Standard deviation of ln(sigma), same table."""
    position_scale: Positive = 1.0
    """Patch coordinates are divided by this."""
    ema: Ema | None = None
    """Without this table no average is kept."""
    optimizer_state: Literal["fresh", "continued"] = "fresh"
    """At the start of the stage: empty moments, or those of the stage before."""
    datasets: tuple[DataSetUse, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ratio_hides_not_all(self) -> "Stage":
        if self.mask_ratio >= 1:
            raise BadSettingError("mask_ratio", self.mask_ratio, "must be at least 0 and below 1 (1.0 would hide every patch)")
        names = [use.name for use in self.datasets]
        if len(set(names)) < len(names):
            raise BadSettingError("datasets", names, "names a data set twice")
        return self

    @property
    def images(self) -> int:
        return self.steps * self.batch_size
