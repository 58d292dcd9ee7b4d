import time
from collections import Counter

import numpy as np
import pytest

from mdiff.data.shapes.draw import draw
from mdiff.data.shapes.generate import ShapesSettings, scenes
from mdiff.data.shapes.layout import PlacedThing
from mdiff.data.shapes.world import BACKGROUND, COLOURS, SHAPES, ShapesWorld
from mdiff.evaluate.shapes_detector import UNKNOWN, detect
from mdiff.evaluate.shapes_score import matches

SMALL = ShapesWorld()
LARGE = ShapesWorld(shapes=SHAPES, colours=tuple(COLOURS))
FREE = LARGE.model_copy(update={"layout": "free"})


def share_right(world, resolution, count, spoil=lambda pixels: pixels):
    """Of `count` generated pictures, how many are read back to exactly what was drawn."""
    drawn = list(scenes(ShapesSettings(images=count, world=world, seed=9), range(count)))
    pixels = spoil(draw([things for _, things in drawn], resolution))
    right = 0
    for picture, (prompt, things) in zip(pixels, drawn, strict=True):
        found = detect(picture, world)
        truth = Counter((thing.shape, thing.colour) for thing in things)
        right += matches(found, prompt) and Counter((thing.shape, thing.colour) for thing in found) == truth
    return right / count


def noisy(pixels):
    noise = np.random.default_rng(0).normal(0, 10, pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


def blurred(pixels):
    padded = np.pad(pixels.astype(np.float32), [(0, 0), (0, 0), (1, 1), (1, 1)], mode="edge")
    rows = 0.15 * padded[..., :-2, :] + 0.7 * padded[..., 1:-1, :] + 0.15 * padded[..., 2:, :]
    return np.rint(0.15 * rows[..., :-2] + 0.7 * rows[..., 1:-1] + 0.15 * rows[..., 2:]).astype(np.uint8)


@pytest.mark.parametrize(("world", "resolution", "count"), [(SMALL, 32, 2000), (SMALL, 16, 1000), (LARGE, 32, 300), (FREE, 32, 500)])
def test_generated_pictures_are_read_back(world, resolution, count):
    assert share_right(world, resolution, count) >= 0.995


@pytest.mark.parametrize("spoil", [noisy, blurred, lambda pixels: noisy(blurred(pixels))])
def test_noise_and_blur_at_32_px_do_no_harm(spoil):
    assert share_right(SMALL, 32, 400, spoil) >= 0.99


@pytest.mark.parametrize(("spoil", "least"), [(noisy, 0.99), (blurred, 0.95)])
def test_noise_and_blur_at_16_px_do_little_harm(spoil, least):
    assert share_right(SMALL, 16, 400, spoil) >= least


def test_place_and_size_are_those_of_the_scene():
    placed = PlacedThing("triangle", "green", 20.0, 12.0, 8.0)
    for pixels in (draw([[placed]], 32)[0], draw([[placed]], 32)[0].transpose(1, 2, 0)):
        (found,) = detect(pixels, SMALL)
        assert (found.shape, found.colour) == ("triangle", "green")
        assert (32 * found.x, 32 * found.y, 32 * found.radius) == pytest.approx((20, 12, 8), abs=0.15)


def test_empty_picture_shows_nothing():
    assert detect(np.broadcast_to(np.array(BACKGROUND, np.uint8), (32, 32, 3)), SMALL) == []


def test_patch_in_another_colour_is_an_object_of_its_own():
    pixels = draw([[PlacedThing("square", "red", 16.0, 16.0, 8.0)]], 32)[0]
    pixels[:, 12:16, 12:16] = np.array(COLOURS["blue"])[:, None, None]
    assert Counter(thing.colour for thing in detect(pixels, SMALL)) == {"red": 1, "blue": 1}


def test_bar_is_no_shape_of_this_world():
    pixels = np.empty((3, 32, 32), np.uint8)
    pixels[:] = np.array(BACKGROUND)[:, None, None]
    pixels[:, 14:17, 2:30] = np.array(COLOURS["red"])[:, None, None]
    assert [thing.shape for thing in detect(pixels, SMALL)] == [UNKNOWN]


def test_noise_picture_is_read_without_failing():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    assert isinstance(detect(pixels, LARGE), list)


def test_reading_a_picture_takes_less_than_10_ms():
    drawn = list(scenes(ShapesSettings(images=50), range(50)))
    pixels = draw([things for _, things in drawn], 32)
    durations = []
    for picture in pixels:
        start = time.perf_counter()
        detect(picture, SMALL)
        durations.append(time.perf_counter() - start)
    assert np.median(durations) < 0.010
