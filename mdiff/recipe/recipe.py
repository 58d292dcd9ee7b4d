"""A recipe: everything that says what a run is, and nothing of where it runs."""

from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from mdiff.recipe.model import ModelSettings, expert_capacity, kept_token_count
from mdiff.recipe.settings import BadSettingError, Settings
from mdiff.recipe.stage import Stage

SCHEMA_VERSION: Final = 1
FROZEN_TABLES = ("seed", "model", "diffusion", "data", "optimizer", "stages")
"""What a run may not change once it has begun."""

JobKind = Literal["train", "encode", "evaluate", "sample"]
Beta = Annotated[float, Field(ge=0, lt=1)]


class DiffusionSettings(Settings):
    """EDM (arXiv:2206.00364), in its own symbols."""

    sigma_data: float = Field(default=0.9, gt=0)
    sigma_min: float = Field(default=0.002, gt=0)
    sigma_max: float = Field(default=80.0, gt=0)
    rho: float = Field(default=7.0, gt=0)


class DataSettings(Settings):
    """How samples are made and ordered."""

    latent_codec: Literal["pixels", "vae"] = "vae"
    """What latents are: normalised pixels, or the output of `vae`."""
    latent_downsampling: int = Field(default=8, ge=1)
    """Picture side / latent side."""
    vae: str = "stabilityai/stable-diffusion-xl-base-1.0"
    """Hub name or folder of the VAE, used with latent_codec = "vae"."""
    text_encoder: str = "apple/DFN5B-CLIP-ViT-H-14-378"
    """Hub name or folder of the text encoder; "words" is the built-in one of the shapes data set."""
    caption_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the samples that are trained without their caption."""
    lanes: int = Field(default=64, ge=1)
    """Independent streams of samples; a multiple of the number of processes that will share them."""


class OptimizerSettings(Settings):
    """AdamW."""

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    expert_lr_scale: float = Field(default=1.0, gt=0)
    """Learning rate of the experts / learning rate of everything else."""


class TrainingSettings(Settings):
    """How the run is carried out; may change from one submission to the next."""

    precision: Literal["bf16", "fp32"] = "bf16"
    """Of the forward and backward pass; weights and optimizer are always fp32."""
    compile: bool = True
    """torch.compile of the whole model."""
    log_every_steps: int = Field(default=50, ge=1)
    checkpoint_every_steps: int = Field(default=1000, ge=1)
    keep_checkpoints: int = Field(default=3, ge=1)
    """Newest checkpoints that are kept, beside the last one of each stage."""


class EvaluationSettings(Settings):
    """Sampling, while training and after."""

    prompts: tuple[str, ...] = Field(min_length=1)
    """Captions of the sample grids."""
    guidance: float = Field(default=5.0, ge=0)
    sampler_steps: int = Field(default=18, ge=2)
    sample_every_steps: int = Field(default=5000, ge=0)
    """0: only at the end of each stage."""


class BudgetSettings(Settings):
    """May change with each submission; the newest counts."""

    limit_usd: Annotated[Decimal, Field(gt=0, strict=False)]
    """TOML: a number or a text; amounts are decimal."""
    covers: tuple[JobKind, ...] = ("train",)
    """Kinds of job that count against the limit; others are metered and reported beside it."""


class Recipe(Settings):
    """One run, whole."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=40)
    seed: int = Field(default=18, ge=0, lt=2**31)
    model: ModelSettings = ModelSettings()
    diffusion: DiffusionSettings = DiffusionSettings()
    data: DataSettings = DataSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    training: TrainingSettings = TrainingSettings()
    stages: tuple[Stage, ...] = Field(min_length=1)
    evaluation: EvaluationSettings
    budget: BudgetSettings

    @model_validator(mode="after")
    def _stages_fit(self) -> "Recipe":
        for index, stage in enumerate(self.stages):
            _check_stage(self, f"stages[{index}]", stage)
        if self.stages[0].optimizer_state == "continued":
            raise BadSettingError("stages[0].optimizer_state", "continued", 'the first stage has nothing to continue; write "fresh"')
        return self

    def latent_size(self, stage: Stage) -> int:
        """Side of the square latents, in latent pixels."""
        return stage.resolution // self.data.latent_downsampling

    def num_tokens(self, stage: Stage) -> int:
        """Patches of one picture."""
        return (self.latent_size(stage) // self.model.patch_size) ** 2


def _check_stage(recipe: Recipe, key: str, stage: Stage) -> None:
    grain = recipe.data.latent_downsampling * recipe.model.patch_size
    if stage.resolution % grain:
        allowed = f"must be a multiple of {grain} (data.latent_downsampling x model.patch_size)"
        raise BadSettingError(f"{key}.resolution", stage.resolution, allowed)
    if stage.batch_size % recipe.data.lanes:
        raise BadSettingError(f"{key}.batch_size", stage.batch_size, f"must be a multiple of data.lanes = {recipe.data.lanes}")
    num_tokens = recipe.num_tokens(stage)
    num_kept = kept_token_count(num_tokens, stage.mask_ratio)
    if num_kept < 1:
        problem = f"hides all {num_tokens} patches of a {stage.resolution} px picture; lower it"
        raise BadSettingError(f"{key}.mask_ratio", stage.mask_ratio, problem)
    _check_capacity(recipe.model, f"{key}.mask_ratio", stage.mask_ratio, num_kept)


def _check_capacity(model: ModelSettings, key: str, mask_ratio: float, num_kept: int) -> None:
    if not any(shape.has_experts for shape in model.backbone_shapes):
        return
    try:
        expert_capacity(num_kept, model.num_experts, model.capacity_factor)
    except ValueError as error:
        raise BadSettingError(key, mask_ratio, f"{error}; lower it, or raise model.capacity_factor") from error
