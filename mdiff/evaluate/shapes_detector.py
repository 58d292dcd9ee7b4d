"""Read shapes, colours and places back from pixels, without any network.

Every colour spans a line from the background; a pixel belongs to the line that it lies nearest to, and how far along it lies says how
much of the pixel is covered. (The nearest colour itself would be wrong at antialiased edges: red on white looks yellow there.) Connected
pixels of one colour are an object; its shape is the one whose own picture, drawn at the same place with the same area, differs least.
"""

import math
from typing import NamedTuple

import numpy as np

from mdiff.data.shapes.draw import OUTLINES, REACH, coverage
from mdiff.data.shapes.world import BACKGROUND, COLOURS, ShapesWorld

COVERED = 0.5
"""A pixel counts as part of an object from this coverage on."""
LEAST_AREA = 0.008
"""Of the picture; smaller specks are noise."""
WORST_FIT = 0.3
"""Squared difference to the best shape / squared coverage; above, an object has no shape that we know."""
NEIGHBOURS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
UNKNOWN = "unknown"


class Detected(NamedTuple):
    """One object. Lengths are shares of the picture's side; x goes right, y down."""

    shape: str
    """"unknown" if it looks like no shape of the world."""
    colour: str
    x: float
    y: float
    radius: float


def detect(pixels: np.ndarray, world: ShapesWorld) -> list[Detected]:
    """Every object of a picture, (3, H, W) or (H, W, 3) uint8, from left to right."""
    picture = pixels if pixels.shape[0] == 3 else np.moveaxis(pixels, -1, 0)
    covered_KHW, colour_HW = _unmix(picture.astype(np.float32), world.colours)
    own_HW = np.take_along_axis(covered_KHW, colour_HW[None], axis=0)[0]
    object_HW = _connect(np.where(own_HW >= COVERED, colour_HW, -1))
    least = LEAST_AREA * object_HW.size
    masks = [object_HW == number for number in range(object_HW.max() + 1)]
    found = [_describe(mask, object_HW, covered_KHW, colour_HW, world) for mask in masks if mask.sum() >= least]
    return sorted(found, key=lambda thing: (thing.x, thing.y))


def _unmix(picture: np.ndarray, colours: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Coverage by each colour (K, H, W), as if it were alone; and the colour whose line fits best (H, W)."""
    background = np.array(BACKGROUND, np.float32)
    offset = picture - background[:, None, None]
    lines = np.array([COLOURS[colour] for colour in colours], np.float32) - background
    covered = np.tensordot(lines, offset, axes=1) / np.square(lines).sum(axis=1)[:, None, None]
    on_line = np.clip(covered, 0, 1)[:, None] * lines[:, :, None, None]
    misfit = np.square(offset - on_line).sum(axis=1)
    # Neighbours vote too: one pixel alone may be mostly noise.
    return covered, np.argmin(_sum_of_neighbours(misfit), axis=0)


def _sum_of_neighbours(values: np.ndarray) -> np.ndarray:
    """Sum over 3 x 3 pixels, the middle one twice. (..., H, W) -> the same."""
    height, width = values.shape[-2:]
    padded = np.pad(values, [(0, 0)] * (values.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    return values + sum(padded[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy, dx in NEIGHBOURS)


def _connect(colour_HW: np.ndarray) -> np.ndarray:
    """Number the connected regions of one colour from 0; -1 stays -1. (H, W) -> (H, W)."""
    number_HW = np.full(colour_HW.shape, -1)
    waiting = {(int(y), int(x)) for y, x in np.argwhere(colour_HW >= 0)}
    number = 0
    while waiting:
        start = min(waiting)
        waiting.discard(start)
        border = [start]
        while border:
            y, x = border.pop()
            number_HW[y, x] = number
            near = waiting.intersection((y + dy, x + dx) for dy, dx in NEIGHBOURS)
            same = [place for place in near if colour_HW[place] == colour_HW[start]]
            waiting.difference_update(same)
            border += same
        number += 1
    return number_HW


def _describe(mask: np.ndarray, object_HW: np.ndarray, covered_KHW: np.ndarray, colour_HW: np.ndarray, world: ShapesWorld) -> Detected:
    colour = int(colour_HW[mask][0])
    # Half-covered pixels lie just outside the mask; other objects do not count.
    around = _sum_of_neighbours(mask.astype(np.int64)) > 0
    around = (_sum_of_neighbours(around.astype(np.int64)) > 0) & (mask | (object_HW < 0))
    covered = np.where(around, np.clip(covered_KHW[colour], -0.2, 1.0), 0)
    misfit, shape, x, y, radius = min(_fit(covered, shape) for shape in world.shapes)
    side = mask.shape[1]
    return Detected(shape if misfit <= WORST_FIT else UNKNOWN, world.colours[colour], x / side, y / side, radius / side)


def _fit(covered: np.ndarray, shape: str) -> tuple[float, str, float, float, float]:
    """How badly a shape of this area at this place fits: relative squared difference, shape, x, y, radius in pixels."""
    outline = OUTLINES[shape]
    rows, columns = np.indices(covered.shape) + 0.5
    area = covered.sum()
    radius = math.sqrt(area / outline.area)
    x = float((covered * columns).sum() / area)
    y = float((covered * rows).sum() / area) - outline.centroid_y * radius
    drawn = _drawn(shape, x, y, radius, covered.shape)
    return float(np.square(covered - drawn).sum() / np.square(covered).sum()), shape, x, y, radius


def _drawn(shape: str, x: float, y: float, radius: float, size: tuple[int, ...]) -> np.ndarray:
    """Coverage of the whole picture, of which only the surroundings of the shape are computed."""
    reach = math.ceil(radius * REACH) + 1
    top, left = max(0, math.floor(y) - reach), max(0, math.floor(x) - reach)
    bottom, right = min(size[0], math.ceil(y) + reach), min(size[1], math.ceil(x) + reach)
    drawn = np.zeros(size, np.float32)
    drawn[top:bottom, left:right] = coverage(shape, x - left, y - top, radius, (bottom - top, right - left))
    return drawn
