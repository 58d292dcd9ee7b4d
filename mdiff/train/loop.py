"""One stage, from where it stands to its end or to a stop request."""

import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from mdiff.data.codecs import Codecs
from mdiff.data.order import lanes_of_rank
from mdiff.data.positions import merge_states
from mdiff.data.reader import Batch, Reader, open_reader
from mdiff.recipe.devices import Device
from mdiff.recipe.exchange import JobActivity
from mdiff.recipe.flops import training_flops_per_image
from mdiff.run_dir import RunDir
from mdiff.train.checkpoint import CheckpointWriter
from mdiff.train.metrics import MetricsLog, ProgressFile, log
from mdiff.train.optimizer import set_learning_rate
from mdiff.train.parallel import parallelise, settle_buckets
from mdiff.train.randomness import Draws, draw_step
from mdiff.train.samples import write_samples
from mdiff.train.schedule import learning_rate_at
from mdiff.train.state import TrainingState, snapshot
from mdiff.train.step import StepResult, StepSettings, micro_batch_loss, train_step
from mdiff.train.stop import StopFlag
from mdiff.train.throughput import Throughput
from mdiff.train.world import World
from mdiff.units import duration_text, utc_now


@dataclass(frozen=True)
class Workshop:
    """What every stage of a job works with."""

    world: World
    run_dir: RunDir
    folders: dict[str, Path]
    """Of the data sets, by name."""
    stop: StopFlag
    progress: ProgressFile
    metrics: MetricsLog
    writer: CheckpointWriter
    codecs: Codecs | None
    """None: no sample grids."""
    device: Device | None
    """What is known of the device; None: no MFU."""


class StageLoop:
    """Takes steps until the stage is done or somebody asks to stop."""

    def __init__(self, state: TrainingState, shop: Workshop) -> None:
        self._state = state
        self._shop = shop
        self._network = parallelise(state.model, shop.world, compile=state.recipe.training.compile)
        self._throughput = Throughput()
        stage, recipe = state.settings, state.recipe
        self._settings = StepSettings(
            micro_batch_size=stage.micro_batch_size,
            clip_norm=stage.clip_norm,
            sigma_data=recipe.diffusion.sigma_data,
            precision=recipe.training.precision,
        )

    def run(self) -> bool:
        """True when the stage came to its end, False when it was asked to stop; either way its checkpoint is under way."""
        state = self._state
        self._tell("startup")
        with closing(self._open_reader()) as reader:
            for count, batch in enumerate(reader):
                draws = self._draws(batch)
                if count == 0:
                    settle_buckets(self._network, partial(self._loss_of_one, batch, draws))
                result = self._step(batch, draws)
                if state.stage_is_done or result.stop:
                    break
                self._look_around(batch)
        self._save(batch)
        if state.stage_is_done:
            self._draw_samples()
        return state.stage_is_done

    def _loss_of_one(self, batch: Batch, draws: Draws) -> Tensor:
        return micro_batch_loss(self._network, batch, draws, slice(0, 1), self._settings, self._shop.world)

    def _step(self, batch: Batch, draws: Draws) -> StepResult:
        state, stage = self._state, self._state.settings
        rate = learning_rate_at(stage.learning_rate, state.step, stage.steps)
        set_learning_rate(state.optimizer, rate)
        result = train_step(
            self._network, state.optimizer, batch, draws, self._settings, self._shop.world, stop=self._shop.stop.is_raised(),
            place=f"stage {state.stage}, step {state.step + 1}",
        )  # fmt: skip
        state.step += 1
        state.images_seen += stage.batch_size
        if state.average:
            state.average.update(state.model, state.step)
        self._throughput.add(stage.batch_size)
        if state.step % state.recipe.training.log_every_steps == 0 or state.stage_is_done:
            self._report(result, rate)
        self._tell("training")
        return result

    def _look_around(self, batch: Batch) -> None:
        """What is done between steps, at the recipe's intervals."""
        step, recipe = self._state.step, self._state.recipe
        if step % recipe.training.checkpoint_every_steps == 0:
            self._save(batch)
        if recipe.evaluation.sample_every_steps and step % recipe.evaluation.sample_every_steps == 0:
            self._draw_samples()

    def _report(self, result: StepResult, rate: float) -> None:
        """A row of metrics and a line of log."""
        state, world = self._state, self._shop.world
        speed = self._throughput.read()
        flops = speed / world.world_size * training_flops_per_image(state.recipe, state.settings)
        peak = self._shop.device.peak_flops_per_second if self._shop.device else None
        measured = {"images_per_second": speed, "flops_per_second": flops} | ({"mfu": flops / peak} if peak else {})
        self._shop.progress.remember(loss=result.loss, **measured)
        self._shop.metrics.write(
            {"stage": state.stage, "step": state.step, "images_seen": state.images_seen, "loss": result.loss, "grad_norm": result.grad_norm,
             "learning_rate": rate, **measured}
        )  # fmt: skip
        if world.is_main:
            stage = state.settings
            left = duration_text((stage.steps - state.step) * stage.batch_size / max(speed, 1e-9))
            note = f"  {measured['mfu']:.1%} MFU" if peak else ""
            place = f"stage {state.stage}  step {state.step:,}/{stage.steps:,}"
            log(f"{place}  loss {result.loss:.4f}  {speed:,.0f} images/s{note}  ETA {left}")

    def _save(self, batch: Batch) -> None:
        """Begin a checkpoint; the copy is taken now, the files are written while training goes on."""
        state, shop = self._state, self._shop
        self._tell("checkpoint")
        begin = time.monotonic()
        state.reader_state = merge_states(shop.world.gather(batch.state_after))
        with self._throughput.paused():
            if shop.world.is_main:
                state.newest_checkpoint = shop.writer.write(*snapshot(state)).name
                log(f"checkpoint {state.newest_checkpoint}  {state.images_seen:,} images seen")
        seconds = time.monotonic() - begin
        shop.progress.remember(
            newest_checkpoint=state.newest_checkpoint, newest_checkpoint_at=utc_now().isoformat(), checkpoint_seconds=seconds
        )

    def _draw_samples(self) -> None:
        """A grid of pictures, drawn by the main process while the others wait at their next collective."""
        state, shop = self._state, self._shop
        if shop.codecs is None or not shop.world.is_main:
            return
        self._tell("sampling")
        with self._throughput.paused():
            path = write_samples(state, shop.codecs, shop.run_dir)
        shop.progress.remember(newest_samples=path)
        log(f"samples {path}")

    def _tell(self, activity: JobActivity) -> None:
        state = self._state
        self._shop.progress.update(
            activity,
            stage=state.stage,
            step=state.step,
            steps=state.settings.steps,
            stage_images=state.stage_images,
            images_seen=state.images_seen,
        )

    def _open_reader(self) -> Reader:
        state, world, data = self._state, self._shop.world, self._state.recipe.data
        return open_reader(
            self._shop.folders,
            state.settings.datasets,
            state.settings.resolution,
            seed=state.recipe.seed,
            lanes=data.lanes,
            batch_size=state.settings.batch_size,
            caption_dropout=data.caption_dropout,
            stage_index=state.stage - 1,
            rank=world.rank,
            world_size=world.world_size,
            state=state.reader_state,
            first_step=state.step,
        )

    def _draws(self, batch: Batch) -> Draws:
        recipe, stage, data = self._state.recipe, self._state.settings, self._state.recipe.data
        size = recipe.latent_size(stage)
        return draw_step(
            stage,
            (recipe.model.channels, size, size),
            recipe.num_tokens(stage),
            lanes_of_rank(data.lanes, self._shop.world.rank, self._shop.world.world_size),
            stage.batch_size // data.lanes,
            seed=recipe.seed,
            stage_number=self._state.stage,
            step=batch.step,
        )
