from itertools import combinations

import numpy as np
import pytest

from mdiff.data.shapes.captions import RELATIONS, TASKS, task_prompts
from mdiff.data.shapes.draw import OUTLINES, REACH, coverage, draw
from mdiff.data.shapes.layout import PICTURE_UNITS, PlacedThing, place, relation_holds
from mdiff.data.shapes.world import BACKGROUND, COLOURS, SHAPES, ShapesWorld

FREE = ShapesWorld(shapes=SHAPES, colours=tuple(COLOURS), layout="free")
FIXED = ShapesWorld(shapes=SHAPES, colours=tuple(COLOURS))


def scenes_of_every_task(world):
    rng = np.random.default_rng(0)
    for task in TASKS:
        for prompt in task_prompts(world, task, False)[::7]:
            yield prompt, place(world, prompt, rng)


@pytest.mark.parametrize("shape", SHAPES)
def test_area_and_centroid_of_an_outline_are_those_of_its_picture(shape):
    covered = coverage(shape, 50, 40, 30, (80, 100))
    rows = np.arange(80) + 0.5
    assert covered.sum() == pytest.approx(OUTLINES[shape].area * 30**2, rel=0.005)
    assert (covered.sum(axis=1) * rows).sum() / covered.sum() == pytest.approx(40 + 30 * OUTLINES[shape].centroid_y, abs=0.1)


@pytest.mark.parametrize("shape", SHAPES)
def test_outline_stays_within_its_reach(shape):
    covered = coverage(shape, 20, 20, 15, (40, 40))
    rows, columns = np.nonzero(covered)
    assert max(abs(rows + 0.5 - 20).max(), abs(columns + 0.5 - 20).max()) <= 15 * REACH


@pytest.mark.parametrize("world", [FIXED, FREE])
def test_small_picture_is_the_large_one_seen_from_further_away(world):
    scenes = [things for _, things in scenes_of_every_task(world)]
    averaged = draw(scenes, 32).reshape(len(scenes), 3, 16, 2, 16, 2).mean(axis=(3, 5))
    difference = np.abs(averaged - draw(scenes, 16))
    assert difference.mean() < 0.3
    # Edges fall on a grid of 1/8 pixel at both sizes.
    assert difference.max() < 26


def test_stamped_picture_equals_one_drawn_without_a_cache():
    thing = PlacedThing("star", "purple", 10.25, 20.75, 6.5)
    covered = coverage("star", 10.25 * 20 / 32, 20.75 * 20 / 32, 6.5 * 20 / 32, (20, 20))
    ground, colour = (np.array(rgb, np.float32)[:, None, None] for rgb in (BACKGROUND, COLOURS["purple"]))
    assert np.abs(draw([[thing]], 20)[0] - (ground + covered * (colour - ground))).max() <= 0.51


@pytest.mark.parametrize("world", [FIXED, FREE])
def test_scene_shows_what_its_caption_says(world):
    for prompt, things in scenes_of_every_task(world):
        for wanted, placed in zip(prompt.things, things, strict=True):
            assert placed.shape == wanted.shape
            assert placed.colour == (wanted.colour or placed.colour)
        if prompt.relation is not None:
            assert relation_holds(prompt.relation, things[0][2:4], things[1][2:4])


@pytest.mark.parametrize("world", [FIXED, FREE])
def test_things_lie_inside_the_picture_and_apart(world):
    for _, things in scenes_of_every_task(world):
        for thing in things:
            reach = thing.radius * REACH
            assert reach <= min(thing.x, thing.y)
            assert max(thing.x, thing.y) <= PICTURE_UNITS - reach
        for a, b in combinations(things, 2):
            assert max(abs(a.x - b.x), abs(a.y - b.y)) >= a.radius + b.radius + 1.5


@pytest.mark.parametrize(("relation", "second"), zip(RELATIONS, [(9, 1), (-9, 1), (1, 9), (1, -9)], strict=True))
def test_relation_holds_in_its_main_direction_only(relation, second):
    assert [other for other in RELATIONS if relation_holds(other, (0, 0), second)] == [relation]
