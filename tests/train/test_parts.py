"""The small parts of training, each by what it promises."""

import itertools
import json
import math

import pytest
import torch

from mdiff.errors import CheckpointError
from mdiff.model import MicroDiT
from mdiff.model.moe import ExpertChoiceFFN
from mdiff.recipe.checkpoints import list_checkpoints
from mdiff.recipe.load import load_recipe
from mdiff.recipe.stage import Ema, LearningRate
from mdiff.run_dir import AttemptDir, RunDir
from mdiff.train.checkpoint import CheckpointWriter, load_checkpoint, prune, write_checkpoint
from mdiff.train.ema import WeightAverage
from mdiff.train.metrics import ProgressFile
from mdiff.train.optimizer import build_optimizer, load_optimizer_tensors, optimizer_tensors, parameter_groups, set_learning_rate
from mdiff.train.randomness import draw_step
from mdiff.train.run import codecs_or_warning
from mdiff.train.schedule import learning_rate_at
from mdiff.train.state import begin, enter_next_stage, snapshot
from mdiff.train.stop import StopFlag
from mdiff.train.throughput import Throughput

from .conftest import SMALL

CPU = torch.device("cpu")


@pytest.fixture
def recipe():
    return load_recipe("shapes", SMALL)


def test_warm_up_reaches_the_peak_and_cosine_ends_at_its_floor():
    rate = LearningRate(peak=2.0, schedule="cosine", floor_ratio=0.25, warmup_steps=10)
    rates = [learning_rate_at(rate, step, 110) for step in range(111)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == rates[10] == 2.0
    assert rates[60] == pytest.approx(2.0 * (0.25 + 0.75 / 2))
    assert rates[110] == pytest.approx(0.5)
    assert all(after <= before for before, after in itertools.pairwise(rates[10:]))


def test_constant_rate_stays_at_its_peak_after_the_warm_up():
    rate = LearningRate(peak=3.0, warmup_steps=2)
    assert [learning_rate_at(rate, step, 5) for step in range(5)] == [1.5, 3.0, 3.0, 3.0, 3.0]


def test_groups_hold_every_parameter_once_and_the_experts_apart(recipe):
    model = MicroDiT(recipe.model, 16)
    rest, experts = parameter_groups(model, 0.5)
    owned = [p for module in model.modules() if isinstance(module, ExpertChoiceFFN) for p in module.parameters()]
    assert owned
    assert {id(p) for p in experts["params"]} == {id(p) for p in owned}
    ids = [id(p) for group in (rest, experts) for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())


def test_expert_rate_is_scaled(recipe):
    optimizer = build_optimizer(MicroDiT(recipe.model, 16), recipe.optimizer.model_copy(update={"expert_lr_scale": 0.5}))
    set_learning_rate(optimizer, 0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.05]


def test_model_without_experts_has_one_group(recipe):
    model = MicroDiT(recipe.model.model_copy(update={"num_experts": 0}), 16)
    assert len(parameter_groups(model, 1.0)) == 1


def test_optimizer_state_survives_as_tensors(recipe):
    state = begin(recipe, CPU)
    for parameter in state.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    state.optimizer.step()
    tensors = optimizer_tensors(state.model, state.optimizer)
    other = build_optimizer(state.model, recipe.optimizer)
    load_optimizer_tensors(state.model, other, tensors)
    copied = optimizer_tensors(state.model, other)
    assert copied.keys() == tensors.keys()
    assert len(tensors) == 3 * len(list(state.model.parameters()))
    assert all(torch.equal(copied[name], tensor) for name, tensor in tensors.items())


def test_average_copies_up_to_its_start_and_follows_after_it():
    model = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, Ema(decay=0.9, start_step=2))
    values = []
    for step in range(1, 5):
        model.weight.data.fill_(float(step))
        average.update(model, step)
        values.append(float(average.weights["weight"]))
    assert values == pytest.approx([1, 2, 2.1, 2.29])


def test_next_stage_keeps_the_weights_and_makes_the_rest_anew(recipe):
    state = begin(recipe, CPU)
    weights = {name: p.clone() for name, p in state.model.named_parameters()}
    optimizers = [state.optimizer]
    for _ in range(3):
        enter_next_stage(state)
        optimizers.append(state.optimizer)
    assert all(torch.equal(weights[name], p) for name, p in state.model.named_parameters())
    assert (state.stage, state.step) == (4, 0)
    assert state.average is not None
    # continued, fresh, continued
    assert [after is before for before, after in itertools.pairwise(optimizers)] == [True, False, True]
    latents = torch.zeros(1, 3, 32, 32)
    assert state.model(latents, torch.zeros(1), torch.zeros(1, 8, 64)).shape == latents.shape


def test_draws_of_a_lane_do_not_depend_on_which_lanes_are_drawn_with_it(recipe):
    stage = recipe.stages[0]
    arguments = {"seed": 1, "stage_number": 1, "step": 5}
    both = draw_step(stage, (3, 16, 16), 16, [0, 1], 2, **arguments)
    alone = draw_step(stage, (3, 16, 16), 16, [1], 2, **arguments)
    assert torch.equal(both.noise_NCHW[2:], alone.noise_NCHW)
    assert torch.equal(both.sigma_N111[2:], alone.sigma_N111)
    assert torch.equal(both.mask.hidden_BT[2:], alone.mask.hidden_BT)
    later = draw_step(stage, (3, 16, 16), 16, [1], 2, **(arguments | {"step": 6}))
    assert not torch.equal(later.noise_NCHW, alone.noise_NCHW)


def test_noise_levels_follow_the_stage(recipe):
    stage = recipe.stages[0]
    sigmas = draw_step(stage, (1, 1, 1), 16, range(64), 64, seed=0, stage_number=1, step=0).sigma_N111.log()
    assert float(sigmas.mean()) == pytest.approx(stage.P_mean, abs=4 * stage.P_std / math.sqrt(4096))
    assert float(sigmas.std()) == pytest.approx(stage.P_std, rel=0.05)


def test_speed_leaves_out_pauses():
    now = [0.0]
    throughput = Throughput(clock=lambda: now[0])
    throughput.add(30)
    now[0] = 3.0
    with throughput.paused():
        now[0] = 10.0
    assert throughput.read() == pytest.approx(10.0)
    throughput.add(4)
    now[0] = 12.0
    assert throughput.read() == pytest.approx(2.0)


def test_stop_flag_looks_at_most_twice_a_second_and_stays_up(tmp_path):
    now = [0.0]
    attempt = AttemptDir(tmp_path)
    flag = StopFlag(attempt, clock=lambda: now[0])
    assert not flag.is_raised()
    attempt.stop.write_text("{}")
    assert not flag.is_raised()
    now[0] = 0.6
    assert flag.is_raised()
    attempt.stop.unlink()
    now[0] = 2.0
    assert flag.is_raised()


def test_progress_is_written_once_a_second_and_at_each_change_of_activity(tmp_path):
    now, attempt = [0.0], AttemptDir(tmp_path)
    progress = ProgressFile(attempt, clock=lambda: now[0])

    def written_step() -> int:
        return json.loads(attempt.progress.read_text())["step"]

    progress.update("startup", stage=1, steps=9, step=0)
    progress.update("training", step=1)
    assert written_step() == 1
    progress.update("training", step=2)
    assert written_step() == 1
    now[0] = 1.1
    progress.update("training", step=3)
    assert written_step() == 3


def test_pruning_keeps_the_newest_and_the_end_of_every_stage(tmp_path):
    run_dir = RunDir(tmp_path)
    for stage, step in ((1, 5), (1, 10), (2, 5), (2, 10), (2, 15)):
        run_dir.checkpoint(stage, step).mkdir(parents=True)
    prune(run_dir, 2, {1: 10, 2: 20})
    assert [path.name for path in list_checkpoints(run_dir)] == ["stage-1-step-000010", "stage-2-step-000010", "stage-2-step-000015"]


def test_checkpoint_loads_as_it_was_written(recipe, tmp_path):
    state = begin(recipe, CPU)
    state.step = 3
    manifest, tensors = snapshot(state)
    write_checkpoint(tmp_path / "checkpoints" / "stage-1-step-000003", manifest, tensors)
    loaded, loaded_tensors = load_checkpoint(tmp_path / "checkpoints" / "stage-1-step-000003")
    assert loaded.model_copy(update={"files": {}}) == manifest
    assert all(torch.equal(loaded_tensors["model"][name], tensor) for name, tensor in tensors["model"].items())


def test_checkpoint_is_a_copy_of_the_moment(recipe, tmp_path):
    state = begin(recipe, CPU)
    state.step = 3
    before = state.model.final_layer.projection.bias.clone()
    writer = CheckpointWriter(RunDir(tmp_path), 2, {})
    folder = writer.write(*snapshot(state))
    state.model.final_layer.projection.bias.data.add_(1)
    writer.close()
    assert torch.equal(load_checkpoint(folder)[1]["model"]["final_layer.projection.bias"], before)


def test_checkpoint_that_cannot_be_written_is_an_error_and_leaves_no_checkpoint(recipe, tmp_path):
    state = begin(recipe, CPU)
    state.step = 3
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    writer = CheckpointWriter(RunDir(tmp_path), 2, {})
    writer.write(*snapshot(state))
    with pytest.raises(CheckpointError, match="cannot write"):
        writer.wait()
    writer.close()
    assert list_checkpoints(RunDir(tmp_path)) == []


def test_missing_encoder_costs_the_sample_grids_and_one_warning(capsys):
    assert codecs_or_warning(load_recipe("shapes")) is not None
    assert capsys.readouterr().out == ""
    assert codecs_or_warning(load_recipe("microdit-tiny")) is None
    assert "warning: no sample grids in this job: apple/DFN5B-CLIP-ViT-H-14-378 and stabilityai/" in capsys.readouterr().out
