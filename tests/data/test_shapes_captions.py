from collections import Counter

import pytest

from mdiff.data.shapes.captions import PAIR_TASKS, TASKS, VOCABULARY, evaluation_prompts, parse_caption, task_prompts
from mdiff.data.shapes.world import COLOURS, SHAPES, ShapesWorld, Thing, pairs
from mdiff.errors import DataError

SMALL = ShapesWorld()
LARGE = ShapesWorld(shapes=SHAPES, colours=tuple(COLOURS))


@pytest.mark.parametrize(
    ("text", "task", "things", "relation"),
    [
        ("a circle", "single_object", [("circle", None)], None),
        ("a red circle", "colours", [("circle", "red")], None),
        ("three blue squares", "counting", [("square", "blue")] * 3, None),
        ("a red circle and a red square", "two_objects", [("circle", "red"), ("square", "red")], None),
        ("a red circle and a blue circle", "colour_attribution", [("circle", "red"), ("circle", "blue")], None),
        ("A blue square  left of a red circle", "position", [("square", "blue"), ("circle", "red")], "left of"),
    ],
)
def test_caption_is_read_back_to_its_truth(text, task, things, relation):
    prompt = parse_caption(text, SMALL)
    assert (prompt.task, list(prompt.things), prompt.relation) == (task, [Thing(*thing) for thing in things], relation)


@pytest.mark.parametrize("text", ["", "a purple circle", "five red circles", "a red circle and a red circle", "a red circle near a star"])
def test_caption_outside_the_world_is_refused_with_what_is_allowed(text):
    with pytest.raises(DataError, match=r"circle, square, triangle in red, green, blue.*two red circles.*left of"):
        parse_caption(text, SMALL)


@pytest.mark.parametrize("world", [SMALL, LARGE])
def test_every_caption_fits_the_vocabulary_and_eight_words(world):
    for task in TASKS:
        for prompt in (*task_prompts(world, task, False), *task_prompts(world, task, True)):
            words = prompt.text.split()
            assert set(words) <= set(VOCABULARY)
            assert len(words) <= 8


@pytest.mark.parametrize("task", PAIR_TASKS)
def test_held_out_prompts_show_held_out_pairs_only_and_seen_prompts_never(task):
    held_out_pairs = pairs(SMALL).held_out
    assert all(frozenset(prompt.things) in held_out_pairs for prompt in evaluation_prompts(SMALL, task, 60, True, seed=0))
    assert not any(frozenset(prompt.things) in held_out_pairs for prompt in evaluation_prompts(SMALL, task, 60, False, seed=0))


@pytest.mark.parametrize("task", TASKS)
def test_evaluation_prompts_use_every_caption_equally_often(task):
    prompts = evaluation_prompts(SMALL, task, 100, False, seed=0)
    times = Counter(prompt.text for prompt in prompts)
    assert len(prompts) == 100
    assert max(times.values()) - min(times.values()) <= 1


def test_evaluation_prompts_depend_on_the_seed_alone():
    assert evaluation_prompts(SMALL, "position", 20, True, seed=1) == evaluation_prompts(SMALL, "position", 20, True, seed=1)
    assert evaluation_prompts(SMALL, "position", 20, True, seed=1) != evaluation_prompts(SMALL, "position", 20, True, seed=2)


def test_asking_for_held_out_captions_of_a_task_without_any_is_refused():
    with pytest.raises(DataError, match="single_object: this world has no held-out captions"):
        evaluation_prompts(SMALL, "single_object", 5, True, seed=0)
