"""Pictures from a run's newest checkpoint."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from mdiff.data.codecs import Codecs, open_codecs
from mdiff.diffusion.draw import draw_latents
from mdiff.errors import CheckpointError, DataError
from mdiff.model.microdit import MicroDiT
from mdiff.recipe.checkpoints import list_checkpoints, read_checkpoint_manifest, verified_file
from mdiff.recipe.load import load_recipe
from mdiff.recipe.recipe import Recipe
from mdiff.recipe.stage import Stage
from mdiff.run_dir import RunDir

BATCH = 64
"""Pictures that are drawn together."""


@dataclass(frozen=True)
class Painter:
    """A trained model with all that it needs to draw."""

    recipe: Recipe
    stage: Stage
    """The stage of the checkpoint: it fixes the size of the pictures."""
    checkpoint: Path
    model: MicroDiT
    codecs: Codecs

    def draw(self, captions: Sequence[str], seed: int, on_picture: Callable[[int], None] | None = None) -> Tensor:
        """Pixels, (B, 3, H, W) uint8. `on_picture` is called with the number of pictures that are done.

        Raises:
            DataError: the text encoder cannot read a caption.
        """
        caption_latents = self.codecs.encode_captions(captions).to(next(self.model.parameters()).device)
        generator = torch.Generator().manual_seed(seed)
        pictures = []
        for start in range(0, len(captions), BATCH):
            latents = draw_latents(self.model, caption_latents[start : start + BATCH], self.recipe, self.stage, generator)
            pictures.append(self.codecs.latents.decode(latents.cpu()))
            if on_picture is not None:
                on_picture(min(start + BATCH, len(captions)))
        return torch.cat(pictures)


def open_painter(run_dir: RunDir, *, guidance: float | None = None, sampler_steps: int | None = None) -> Painter:
    """The newest checkpoint of a run, with averaged weights where it has them.

    Args:
        guidance: instead of the recipe's; so is `sampler_steps`.

    Raises:
        CheckpointError: the run has no checkpoint, or it is damaged.
        DataError: the recipe's text encoder or latent codec is not built in.
    """
    checkpoints = list_checkpoints(run_dir)
    if not checkpoints:
        raise CheckpointError(f"{run_dir.path} has no checkpoint to draw from; train it first: mdiff submit --stage 1 --run {run_dir.name}")
    chosen = {"guidance": guidance, "sampler_steps": sampler_steps}
    overrides = [f"evaluation.{key}={value}" for key, value in chosen.items() if value is not None]
    recipe, folder = load_recipe(str(run_dir.recipe), overrides), checkpoints[-1]
    codecs = open_codecs(recipe)
    if codecs is None:
        data = recipe.data
        raise DataError(
            f"only built-in codecs can draw yet; {recipe.name} has text_encoder {data.text_encoder} and latent_codec {data.latent_codec}"
        )
    manifest = read_checkpoint_manifest(folder)
    stage = recipe.stages[manifest.stage - 1]
    model = MicroDiT(recipe.model, recipe.latent_size(stage), stage.position_scale)
    file = "ema.safetensors" if "ema.safetensors" in manifest.files else "model.safetensors"
    model.load_state_dict(load_file(verified_file(folder, file, manifest)))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Painter(recipe, stage, folder, model.to(device).eval(), codecs)
