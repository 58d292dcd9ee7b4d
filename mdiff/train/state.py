"""What training carries from step to step, and how it goes into a checkpoint and comes back."""

from dataclasses import dataclass, field

import torch

from mdiff.data.positions import ReaderState
from mdiff.errors import CheckpointError
from mdiff.model.microdit import MicroDiT
from mdiff.recipe.checkpoints import CheckpointManifest, list_checkpoints
from mdiff.recipe.load import fingerprint
from mdiff.recipe.recipe import Recipe
from mdiff.recipe.stage import Stage
from mdiff.run_dir import RunDir
from mdiff.train.checkpoint import TensorFiles, load_checkpoint
from mdiff.train.ema import WeightAverage
from mdiff.train.optimizer import build_optimizer, load_optimizer_tensors, optimizer_tensors


@dataclass
class TrainingState:
    """`stage` counts from 1; `step` are the optimizer steps of that stage that are done."""

    recipe: Recipe
    model: MicroDiT
    optimizer: torch.optim.AdamW
    average: WeightAverage | None = None
    stage: int = 1
    step: int = 0
    images_seen: int = 0
    reader_state: ReaderState = field(default_factory=dict)
    newest_checkpoint: str = ""

    @property
    def settings(self) -> Stage:
        return self.recipe.stages[self.stage - 1]

    @property
    def stage_images(self) -> int:
        return self.step * self.settings.batch_size

    @property
    def stage_is_done(self) -> bool:
        return self.step >= self.settings.steps

    def sampling_weights(self) -> dict[str, torch.Tensor]:
        """The average where there is one, else the weights themselves."""
        return self.average.weights if self.average else {name: p.detach() for name, p in self.model.named_parameters()}


def open_state(recipe: Recipe, run_dir: RunDir, device: torch.device) -> TrainingState:
    """The state of the newest checkpoint, or that of a run that begins.

    Raises:
        CheckpointError: the newest checkpoint is damaged or belongs to another recipe.
    """
    state = begin(recipe, device)
    checkpoints = list_checkpoints(run_dir)
    if checkpoints:
        restore(state, *load_checkpoint(checkpoints[-1]))
        state.newest_checkpoint = checkpoints[-1].name
    return state


def begin(recipe: Recipe, device: torch.device) -> TrainingState:
    """A run that has seen nothing yet; its weights depend on the recipe's seed alone."""
    stage = recipe.stages[0]
    model = MicroDiT(recipe.model, recipe.latent_size(stage), stage.position_scale)
    model.init_weights(torch.Generator().manual_seed(recipe.seed))
    model.to(device)
    return TrainingState(recipe, model, build_optimizer(model, recipe.optimizer), _average(model, stage))


def enter_next_stage(state: TrainingState) -> None:
    """The weights go on; the position table, the average and perhaps the optimizer start anew."""
    state.stage += 1
    state.step = 0
    state.model.set_grid(state.recipe.latent_size(state.settings), state.settings.position_scale)
    state.average = _average(state.model, state.settings)
    if state.settings.optimizer_state == "fresh":
        state.optimizer = build_optimizer(state.model, state.recipe.optimizer)


def restore(state: TrainingState, manifest: CheckpointManifest, tensors: TensorFiles) -> None:
    """Put a checkpoint into a state that has just begun."""
    if manifest.recipe_fingerprint != fingerprint(state.recipe):
        raise CheckpointError(
            f"checkpoint stage-{manifest.stage}-step-{manifest.step:06d} was made with recipe {manifest.recipe_fingerprint}, "
            f"this run has {fingerprint(state.recipe)}; take another --run"
        )
    state.stage, state.step = manifest.stage, manifest.step
    state.images_seen, state.reader_state = manifest.images_seen, manifest.reader_state
    state.model.set_grid(state.recipe.latent_size(state.settings), state.settings.position_scale)
    state.model.load_state_dict(tensors["model"])
    load_optimizer_tensors(state.model, state.optimizer, tensors["optimizer"])
    state.average = _average(state.model, state.settings)
    if state.average:
        state.average.load(tensors["ema"])


def snapshot(state: TrainingState) -> tuple[CheckpointManifest, TensorFiles]:
    """What `restore` takes. The tensors are the live ones."""
    manifest = CheckpointManifest(
        stage=state.stage,
        step=state.step,
        stage_images=state.stage_images,
        images_seen=state.images_seen,
        recipe_fingerprint=fingerprint(state.recipe),
        reader_state=state.reader_state,
    )
    tensors = {"model": dict(state.model.state_dict()), "optimizer": optimizer_tensors(state.model, state.optimizer)}
    if state.average:
        tensors["ema"] = state.average.weights
    return manifest, tensors


def _average(model: MicroDiT, stage: Stage) -> WeightAverage | None:
    return WeightAverage(model, stage.ema) if stage.ema else None
