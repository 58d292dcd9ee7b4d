"""Forward and backward of one micro-batch, at the shapes of the four stages."""

import torch

from mdiff.diffusion import edm_loss, sample_sigma
from mdiff.model import MicroDiT, random_mask
from mdiff.recipe.flops import training_flops_per_image
from mdiff.recipe.load import fingerprint, load_recipe
from mdiff.recipe.recipe import Recipe
from mdiff.recipe.stage import Stage
from tests.bench.harness import record, seconds_of

CPU_BATCH = {"shapes": 32, "microdit-tiny": 1}


def run() -> None:
    if torch.cuda.is_available():
        for name in ("microdit-tiny", "microdit-xl"):
            _time_recipe(load_recipe(name), torch.device("cuda"), "bf16")
    else:
        for name in CPU_BATCH:
            for precision in ("bf16", "fp32"):
                _time_recipe(load_recipe(name), torch.device("cpu"), precision)


def _time_recipe(recipe: Recipe, device: torch.device, precision: str) -> None:
    with device:
        model = MicroDiT(recipe.model, recipe.latent_size(recipe.stages[0]))
    model.init_weights(torch.Generator(device).manual_seed(0))
    for stage in recipe.stages:
        batch = stage.micro_batch_size if device.type == "cuda" else CPU_BATCH[recipe.name]
        warmup, repeats = (3, 10) if recipe.name == "shapes" or device.type == "cuda" else (1, 3)
        values = seconds_of(lambda stage=stage, batch=batch: _step(model, recipe, stage, batch, device, precision), warmup, repeats)
        rates = [batch / value for value in values]
        flops = training_flops_per_image(recipe, stage)
        record(
            "model_step", f"{recipe.name} {stage.name} {precision} batch {batch}", rates, "images/s", warmup,
            flops_per_second=flops * sorted(rates)[len(rates) // 2], recipe=fingerprint(recipe), threads=torch.get_num_threads(),
        )  # fmt: skip


def _step(model: MicroDiT, recipe: Recipe, stage: Stage, batch: int, device: torch.device, precision: str) -> None:
    size, generator = recipe.latent_size(stage), torch.Generator().manual_seed(0)
    model.set_grid(size, stage.position_scale)
    latents = torch.randn(batch, recipe.model.channels, size, size, generator=generator).to(device)
    caption = torch.randn(batch, recipe.model.caption_length, recipe.model.caption_width, generator=generator).to(device)
    sigma = sample_sigma(batch, stage.P_mean, stage.P_std, generator).to(device)
    mask = random_mask(batch, recipe.num_tokens(stage), stage.mask_ratio, generator).to(device) if stage.mask_ratio else None
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        loss = edm_loss(model, latents, torch.randn_like(latents), sigma, caption, recipe.diffusion.sigma_data, mask)
    loss.backward()
    model.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.synchronize()
