"""Sample grids: what the model draws for the recipe's prompts, at chosen moments of the training."""

import torch
from torch import Tensor
from torch.func import functional_call

from mdiff.data.codecs import Codecs
from mdiff.data.picture_grid import write_picture_grid
from mdiff.diffusion.draw import draw_latents
from mdiff.diffusion.scalings import Mask
from mdiff.run_dir import RunDir
from mdiff.train.state import TrainingState


def write_samples(state: TrainingState, codecs: Codecs, run_dir: RunDir) -> str:
    """Draw the prompts with the averaged weights into samples/; the path, relative to the run directory."""
    recipe = state.recipe
    prompts = recipe.evaluation.prompts
    weights = state.sampling_weights()
    captions = codecs.encode_captions(prompts).to(next(state.model.parameters()).device)

    def network(latents: Tensor, c_noise: Tensor, caption: Tensor, mask: Mask | None = None, /) -> Tensor:
        return functional_call(state.model, weights, (latents, c_noise, caption, mask))

    # The same noise at every grid, so that two grids show what training changed.
    latents = draw_latents(network, captions, recipe, state.settings, torch.Generator().manual_seed(recipe.seed))
    path = run_dir.sample_grid(state.stage, state.step)
    write_picture_grid(path, codecs.latents.decode(latents.cpu()), prompts)
    return str(path.relative_to(run_dir.path))
