"""A training job: the stages that it was asked for, in order, from wherever the run stands."""

from contextlib import closing
from pathlib import Path

from mdiff.data.codecs import Codecs, open_codecs
from mdiff.errors import CheckpointError, DataError
from mdiff.recipe.devices import device_named
from mdiff.recipe.exchange import Outcome
from mdiff.recipe.manifest import check_dataset, dataset_needs
from mdiff.recipe.recipe import Recipe
from mdiff.run_dir import AttemptDir, RunDir, replace_file
from mdiff.train.checkpoint import CheckpointWriter
from mdiff.train.loop import StageLoop, Workshop
from mdiff.train.metrics import MetricsLog, ProgressFile, log
from mdiff.train.state import TrainingState, enter_next_stage, open_state
from mdiff.train.stop import StopFlag
from mdiff.train.world import World


def train(recipe: Recipe, run_dir: RunDir, stages: range, folders: dict[str, Path], attempt: AttemptDir | None, world: World) -> Outcome:
    """Train `stages` (counted from 1); what an earlier job has done of them is not done again.

    Raises:
        DataError: a data set is missing or does not fit the recipe.
        CheckpointError: there are no weights to start the first stage from.
    """
    check_job(recipe, stages, folders, world)
    state = open_state(recipe, run_dir, world.device)
    find_first_stage(state, stages)
    with (
        closing(CheckpointWriter(run_dir, recipe.training.keep_checkpoints, last_steps(recipe))) as writer,
        closing(MetricsLog(run_dir, world.is_main)) as metrics,
    ):
        shop = Workshop(
            world=world,
            run_dir=run_dir,
            folders=folders,
            stop=StopFlag(attempt),
            progress=ProgressFile(attempt if world.is_main else None),
            metrics=metrics,
            writer=writer,
            codecs=codecs_or_warning(recipe) if world.is_main else None,
            device=device_named(world.device_name),
        )
        completed = train_stages(state, stages, shop)
        shop.progress.close()
        writer.wait()
        world.wait_for_all()
    return Outcome(reason="completed" if completed else "stopped", checkpoint=state.newest_checkpoint)


def codecs_or_warning(recipe: Recipe) -> Codecs | None:
    """What sample grids need. Training needs none of it, so a missing encoder costs the grids alone."""
    codecs = open_codecs(recipe)
    if codecs is None:
        data = recipe.data
        encoders = [name for name in (data.text_encoder, data.vae if data.latent_codec == "vae" else "") if name]
        log(f"warning: no sample grids in this job: {' and '.join(encoders)} cannot be loaded here; training goes on without")
    return codecs


def check_job(recipe: Recipe, stages: range, folders: dict[str, Path], world: World) -> None:
    """Everything that can be known before the devices are used."""
    if recipe.data.lanes % world.world_size:
        raise DataError(f"data.lanes = {recipe.data.lanes} must be a multiple of the {world.world_size} processes of this job")
    for number in stages:
        stage = recipe.stages[number - 1]
        for use in stage.datasets:
            check_dataset(folders[use.name], stage.resolution, dataset_needs(recipe, stage))


def find_first_stage(state: TrainingState, stages: range) -> None:
    """Go on to the next stage if the newest checkpoint is the end of one.

    Raises:
        CheckpointError: the stage before the first wanted one is not finished.
    """
    if state.stage_is_done and state.stage < len(state.recipe.stages) and state.stage < stages[-1]:
        enter_next_stage(state)
    if state.stage < stages[0]:
        raise CheckpointError(
            f"stage {stages[0]} needs the weights of stage {stages[0] - 1}; the run stands at "
            f"step {state.step:,} of {state.settings.steps:,} of stage {state.stage}"
        )


def train_stages(state: TrainingState, stages: range, shop: Workshop) -> bool:
    """True when all of `stages` are done."""
    while state.stage <= stages[-1] and not state.stage_is_done:
        if shop.world.is_main:
            stage = state.settings
            size = f"{stage.resolution} px, {stage.mask_ratio:.0%} masked, {stage.steps:,} steps of {stage.batch_size:,} images"
            log(f"stage {state.stage}  {size}, from step {state.step:,}")
        if not StageLoop(state, shop).run():
            return False
        if state.stage < stages[-1]:
            enter_next_stage(state)
    return True


def last_steps(recipe: Recipe) -> dict[int, int]:
    return {number: stage.steps for number, stage in enumerate(recipe.stages, start=1)}


def write_outcome(attempt: AttemptDir | None, outcome: Outcome) -> None:
    if attempt is not None:
        replace_file(attempt.outcome, outcome.model_dump_json())
