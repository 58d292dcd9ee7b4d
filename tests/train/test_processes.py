"""Several processes train what one process trains."""

import pytest
import torch

from mdiff.recipe.load import load_recipe
from mdiff.train.checkpoint import load_checkpoint

from .conftest import SMALL

TWO_STAGES = [*SMALL, "stages[0].steps=6", "stages[1].steps=6"]


def test_two_processes_equal_one_within_rounding(training):
    recipe = load_recipe("shapes", TWO_STAGES)
    one, two = training("one", recipe), training("two", recipe)
    one.finish("1-2")
    two.finish("1-2", processes=2)
    for place, loss in one.losses().items():
        assert two.losses()[place] == pytest.approx(loss, rel=1e-4), place
    weights = [load_checkpoint(run.run_dir.checkpoint(2, 6))[1]["model"] for run in (one, two)]
    for name, tensor in weights[0].items():
        # Adam divides by the root of the second moment, so rounding in tiny gradients grows to a share of the learning rate.
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=2e-4, msg=name)


def test_checkpoint_of_two_processes_goes_on_with_one_on_the_same_samples(training):
    recipe = load_recipe("shapes", TWO_STAGES)
    straight, changed = training("straight", recipe), training("changed", recipe)
    straight.finish("1-2")
    changed.finish("1", processes=2)
    changed.finish("2", processes=1)
    for place, loss in straight.losses().items():
        assert changed.losses()[place] == pytest.approx(loss, rel=1e-3), place


@pytest.mark.parametrize("processes", [2, 4])
def test_killed_run_of_several_processes_resumes_bitwise(training, processes):
    recipe = load_recipe("shapes", TWO_STAGES)
    straight, resumed = training("straight", recipe), training("resumed", recipe)
    straight.finish("1-2", processes=processes)
    resumed.kill_when(lambda: resumed.run_dir.checkpoint(1, 4).exists(), "1-2", processes)
    resumed.finish("1-2", processes=processes)
    assert resumed.losses() == straight.losses()
    assert resumed.weights_sha256(2, 6) == straight.weights_sha256(2, 6)


def test_lanes_that_processes_cannot_share_are_refused_in_one_line(training):
    output = training().finish("1", processes=3, expect=1)
    assert "data.lanes = 4 must be a multiple of the 3 processes of this job" in output
