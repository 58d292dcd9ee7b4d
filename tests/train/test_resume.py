"""Kill training at any moment, start it again, and nothing shows."""

import json
import random
from pathlib import Path

import pytest

from mdiff.recipe.checkpoints import list_checkpoints
from mdiff.recipe.exchange import StopRequest
from mdiff.recipe.load import load_recipe
from mdiff.recipe.recipe import Recipe

from .conftest import SMALL


def assert_same_run(run, reference) -> None:
    assert run.losses() == reference.losses()
    for stage in range(1, 5):
        assert run.weights_sha256(stage, 9) == reference.weights_sha256(stage, 9)


def test_two_uninterrupted_runs_are_bitwise_equal(training, uninterrupted):
    run = training()
    run.finish()
    assert_same_run(run, uninterrupted)


def test_stages_submitted_one_by_one_equal_one_job(training, uninterrupted):
    run = training()
    for stages in ("1", "2-3", "4"):
        run.finish(stages)
    assert_same_run(run, uninterrupted)


@pytest.mark.parametrize("seed", range(2))
def test_run_killed_at_random_moments_equals_an_uninterrupted_one(training, uninterrupted, seed):
    run, rng = training(), random.Random(seed)
    for _ in range(3):
        rows = rng.randrange(1, 12) + (len(run.losses()) if run.run_dir.metrics.exists() else 0)
        run.kill_when(lambda rows=rows: run.run_dir.metrics.exists() and len(run.losses()) >= rows)
    run.finish()
    assert_same_run(run, uninterrupted)


def test_run_killed_while_a_checkpoint_is_written_equals_an_uninterrupted_one(training, uninterrupted):
    run = training()

    def is_being_written() -> bool:
        return any(run.run_dir.checkpoints.glob(".building-*/model.safetensors"))

    killed_in_time = run.kill_when(is_being_written)
    left_over = list(run.run_dir.checkpoints.glob(".building-*"))
    assert killed_in_time
    assert left_over, "the kill came too late to leave a half-written checkpoint; nothing was tested"
    run.finish()
    assert_same_run(run, uninterrupted)
    assert not list(run.run_dir.checkpoints.glob(".building-*"))


def test_stop_request_is_honoured_with_a_checkpoint_and_the_run_goes_on_bitwise(training, uninterrupted):
    run = training()
    process = run.start()
    while not run.run_dir.metrics.exists() or len(run.losses()) < 6:
        assert process.poll() is None
    run.attempt.stop.write_text(StopRequest(reason="cancelled", requested_at="now").model_dump_json())
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    outcome = json.loads(run.attempt.outcome.read_text())
    assert outcome["reason"] == "stopped"
    assert outcome["checkpoint"] == list_checkpoints(run.run_dir)[-1].name
    assert len(run.losses()) < 36

    run.attempt.stop.unlink()
    run.finish()
    assert json.loads(run.attempt.outcome.read_text())["reason"] == "completed"
    assert_same_run(run, uninterrupted)


def test_finished_stage_is_not_trained_again(training, uninterrupted):
    run = training()
    run.finish("1")
    before = run.run_dir.metrics.read_text()
    run.finish("1")
    assert run.run_dir.metrics.read_text() == before


def test_stage_before_the_one_that_is_under_way_is_not_gone_beyond(training):
    run = training()
    run.finish("1")
    run.kill_when(lambda: run.run_dir.checkpoint(2, 4).exists(), "2")
    before = run.run_dir.metrics.read_text()
    run.finish("1")
    assert run.run_dir.metrics.read_text() == before


def test_later_stage_without_the_one_before_is_refused_in_one_line(training):
    output = training().finish("2", expect=6)
    assert "error: stage 2 needs the weights of stage 1; the run stands at step 0 of 9 of stage 1" in output
    assert "Traceback" not in output


def test_missing_data_set_is_refused_before_anything_is_trained(training, tmp_path):
    run = training()
    run._environment["MDIFF_DATASETS"] = json.dumps({"shapes": str(tmp_path / "nowhere")})
    output = run.finish(expect=5)
    assert "nowhere: no such data set" in output
    assert json.loads(run.attempt.outcome.read_text())["reason"] == "refused_data"


def test_damaged_checkpoint_is_named_and_not_used(training):
    run = training()
    run.finish("1")
    weights = run.run_dir.checkpoint(1, 9) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    output = run.finish("2", expect=6)
    assert f"{weights} is missing or damaged" in output


def test_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint_before(training):
    wild = load_recipe("shapes", [*SMALL, "stages[0].learning_rate.peak=1e30", "stages[0].learning_rate.warmup_steps=0"])
    output = training(recipe=wild).finish("1", expect=1)
    assert "error: stage 1, step" in output
    assert "lower learning_rate.peak" in output


def test_checkpoint_of_another_recipe_is_refused(training, dataset: Path, small_recipe: Recipe):
    run = training()
    run.finish("1")
    other = training("other", load_recipe("shapes", [*SMALL, "seed=5"]))
    run.run_dir.checkpoints.rename(other.run_dir.checkpoints)
    assert "take another --run" in other.finish("2", expect=6)


@pytest.mark.slow  # inductor compiles for most of a minute
def test_compiled_training_agrees_with_plain_training(training):
    short = [*SMALL, "stages[0].steps=3", "evaluation.prompts=['a circle']"]
    plain, compiled = (
        training("plain", load_recipe("shapes", short)),
        training("compiled", load_recipe("shapes", [*short, "training.compile=true"])),
    )
    plain.finish("1")
    compiled.finish("1")
    for place, loss in plain.losses().items():
        assert compiled.losses()[place] == pytest.approx(loss, rel=1e-4), place
