from decimal import Decimal

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mdiff.model import MicroDiT, PatchMask
from mdiff.recipe.flops import forward_flops_per_image, training_flops, training_flops_per_image
from mdiff.recipe.model import ModelSettings, kept_token_count
from mdiff.recipe.recipe import BudgetSettings, EvaluationSettings, Recipe
from mdiff.recipe.stage import DataSetUse, LearningRate, Stage

XL = ModelSettings()
TINY = ModelSettings(width=512, depth=16, head_dim=32, mixer_depth=4, mixer_width=512)
SMALL = ModelSettings(
    width=64, depth=4, head_dim=16, multiple_of=32, mixer_depth=2, mixer_width=48, num_experts=4, caption_width=32, caption_length=7
)
SMALL_VARIANTS = {
    "whole": {},
    "without mixer": {"mixer_depth": 0},
    "without experts": {"num_experts": 0},
    "mixer as wide as the backbone": {"mixer_width": 64},
    "pixels": {"channels": 3, "patch_size": 4},
}
STAGES = [(32, 0.75), (32, 0.0), (64, 0.75), (64, 0.0)]
H100_FLOPS_PER_SECOND = 989.5e12


def make_stage(resolution: int, mask_ratio: float, steps: int) -> Stage:
    return Stage(
        name="stage", resolution=resolution, mask_ratio=mask_ratio, steps=steps, batch_size=2048, micro_batch_size=32,
        learning_rate=LearningRate(peak=1e-4), clip_norm=0.5, P_mean=-0.6, P_std=1.2, datasets=(DataSetUse(name="pictures"),),
    )  # fmt: skip


@pytest.fixture(scope="module")
def published_run() -> Recipe:
    stages = (make_stage(256, 0.75, 250_000), make_stage(256, 0.0, 30_000), make_stage(512, 0.75, 50_000), make_stage(512, 0.0, 5_000))
    return Recipe(
        name="published", stages=stages, evaluation=EvaluationSettings(prompts=("a",)), budget=BudgetSettings(limit_usd=Decimal(1890))
    )


def measured(settings: ModelSettings, latent_size: int, mask_ratio: float) -> tuple[int, int]:
    """(forward, forward and backward) of one picture, by PyTorch's counter, without computing anything."""
    num_tokens = (latent_size // settings.patch_size) ** 2
    num_kept = kept_token_count(num_tokens, mask_ratio)
    with torch.device("meta"):
        model = MicroDiT(settings, latent_size)
        mask = PatchMask(torch.empty(1, num_kept, dtype=torch.int64), torch.empty(1, num_tokens, dtype=torch.bool)) if mask_ratio else None
        caption = torch.empty(1, settings.caption_length, settings.caption_width)
        latents, c_noise = torch.empty(1, settings.channels, latent_size, latent_size), torch.empty(1)
    with FlopCounterMode(display=False) as counter:
        out = model(latents, c_noise, caption, mask)
        forward = counter.get_total_flops()
        out.sum().backward()
    return forward, counter.get_total_flops()


def assert_counts_agree(settings: ModelSettings, latent_size: int, mask_ratio: float) -> None:
    num_tokens = (latent_size // settings.patch_size) ** 2
    counted = forward_flops_per_image(settings, num_tokens, kept_token_count(num_tokens, mask_ratio))
    forward, training = measured(settings, latent_size, mask_ratio)
    assert counted == forward
    assert 3 * counted == pytest.approx(training, rel=0.01)


@pytest.mark.parametrize(("latent_size", "mask_ratio"), STAGES)
@pytest.mark.parametrize("settings", [XL, TINY], ids=["XL", "Tiny"])
def test_count_is_that_of_pytorch_in_every_stage(settings, latent_size, mask_ratio):
    assert_counts_agree(settings, latent_size, mask_ratio)


@pytest.mark.parametrize("variant", SMALL_VARIANTS.values(), ids=SMALL_VARIANTS)
@pytest.mark.parametrize("mask_ratio", [0.0, 0.5])
def test_count_is_that_of_pytorch_for_every_shape_of_model(variant, mask_ratio):
    assert_counts_agree(SMALL.model_copy(update=variant), 32, mask_ratio)


def test_training_takes_three_times_the_forward_pass(published_run):
    assert training_flops_per_image(published_run, published_run.stages[0]) == 3 * forward_flops_per_image(XL, 256, 64)
    assert training_flops_per_image(published_run, published_run.stages[1]) == 3 * forward_flops_per_image(XL, 256, 256)


def test_whole_published_run_takes_the_flops_of_the_paper_less_its_one_hot_dispatch(published_run):
    assert training_flops(published_run) == pytest.approx(3.287e20, rel=1e-3)


def test_gpu_hours_of_the_stages_at_a_fifth_of_an_h100(published_run):
    flops = [stage.images * training_flops_per_image(published_run, stage) for stage in published_run.stages]
    hours = [total / (0.20 * H100_FLOPS_PER_SECOND) / 3600 for total in flops]
    assert hours == pytest.approx([203.0, 61.7, 154.2, 43.4], rel=0.01)
