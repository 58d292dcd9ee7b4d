import numpy as np
import pytest

from mdiff.data.shapes.captions import TASKS, evaluation_prompts, parse_caption
from mdiff.data.shapes.draw import draw
from mdiff.data.shapes.layout import place
from mdiff.data.shapes.world import ShapesWorld
from mdiff.evaluate.shapes_score import mean_share, score, score_table

WORLD = ShapesWorld()


def picture_of(text):
    return draw([place(WORLD, parse_caption(text, WORLD), np.random.default_rng(0))], 32)[0]


@pytest.mark.parametrize("task", TASKS)
def test_picture_of_a_caption_scores_right_on_it(task):
    for prompt in evaluation_prompts(WORLD, task, 20, False, seed=0):
        assert score(picture_of(prompt.text), prompt, WORLD)


@pytest.mark.parametrize(
    ("shown", "asked"),
    [
        ("a red circle", "a square"),
        ("a red circle", "a blue circle"),
        ("two red circles", "a red circle"),
        ("three red circles", "four red circles"),
        ("a red circle and a blue square", "a blue circle and a red square"),
        ("a red circle and a blue square", "a red circle right of a blue square"),
        ("a red circle above a blue square", "a red circle left of a blue square"),
    ],
)
def test_picture_of_something_else_scores_wrong(shown, asked):
    assert not score(picture_of(shown), parse_caption(asked, WORLD), WORLD)


@pytest.mark.parametrize(
    ("shown", "asked"),
    [
        ("a green circle", "a circle"),
        ("a red circle left of a blue square", "a blue square and a red circle"),
        ("a red circle below a blue square", "a blue square above a red circle"),
    ],
)
def test_another_wording_of_the_same_truth_scores_right(shown, asked):
    assert score(picture_of(shown), parse_caption(asked, WORLD), WORLD)


def test_table_has_a_row_for_each_task_first_seen_then_held_out():
    seen = evaluation_prompts(WORLD, "position", 4, False, seed=0)
    held_out = evaluation_prompts(WORLD, "position", 2, True, seed=0)
    colours = evaluation_prompts(WORLD, "colours", 2, False, seed=0)
    rows = score_table(zip([*held_out, *seen, *colours], [True, False, *[True] * 4, False, False], strict=True))
    assert [tuple(row) for row in rows] == [("colours", False, 2, 0), ("position", False, 4, 4), ("position", True, 2, 1)]
    assert [row.share for row in rows] == [0.0, 1.0, 0.5]
    assert mean_share(rows) == 0.5
    assert mean_share(rows, held_out=True) == 0.5
