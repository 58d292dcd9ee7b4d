"""Antialiased pictures of placed things, at any resolution: a scene at 16 px is the scene at 32 px, seen from further away."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from mdiff.data.shapes.layout import PICTURE_UNITS, STEPS_PER_UNIT, PlacedThing
from mdiff.data.shapes.world import BACKGROUND, COLOURS

SUBSAMPLES = 8
"""Points per pixel and axis that decide how much of the pixel is covered."""
REACH = 1.1
"""No outline leaves the square of this half side, in radii."""
STAR_TIP, STAR_NOTCH = 1.1, 0.5
STEPS_PER_PICTURE = PICTURE_UNITS * STEPS_PER_UNIT


class Outline(NamedTuple):
    """A shape of radius 1 around the origin, y down."""

    inside: Callable[[np.ndarray, np.ndarray], np.ndarray]
    area: float
    centroid_y: float = 0.0


def _in_star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Fold the plane into one half of one tip; inside means left of the line from tip to notch."""
    tenth = math.pi / 5
    angle = np.abs((np.arctan2(u, -v) + tenth) % (2 * tenth) - tenth)
    distance = np.hypot(u, v)
    along, across = distance * np.cos(angle), distance * np.sin(angle)
    notch = STAR_NOTCH * math.cos(tenth), STAR_NOTCH * math.sin(tenth)
    return (along - STAR_TIP) * notch[1] <= across * (notch[0] - STAR_TIP)


OUTLINES = {
    "circle": Outline(lambda u, v: u * u + v * v <= 1, math.pi),
    "square": Outline(lambda u, v: np.maximum(np.abs(u), np.abs(v)) <= 0.9, 1.8**2),
    "triangle": Outline(lambda u, v: (v <= 0.9) & (np.abs(u) <= (v + 1) * 1.05 / 1.9), 1.9 * 1.05, 1.9 * 2 / 3 - 1),
    "star": Outline(_in_star, 5 * STAR_TIP * STAR_NOTCH * math.sin(math.pi / 5)),
    "diamond": Outline(lambda u, v: np.abs(u) + np.abs(v) <= 1.1, 2 * 1.1**2),
}


def coverage(shape: str, x: float, y: float, radius: float, size: tuple[int, int]) -> np.ndarray:
    """How much of each pixel a shape covers, 0..1, (H, W) float32. x, y, radius are in pixels; pixel 0 spans 0..1."""
    height, width = size
    columns = (np.arange(width * SUBSAMPLES) + 0.5) / SUBSAMPLES
    rows = (np.arange(height * SUBSAMPLES) + 0.5) / SUBSAMPLES
    inside = OUTLINES[shape].inside((columns[None, :] - x) / radius, (rows[:, None] - y) / radius)
    return inside.reshape(height, SUBSAMPLES, width, SUBSAMPLES).mean(axis=(1, 3), dtype=np.float32)


def draw(scenes: Sequence[Sequence[PlacedThing]], resolution: int) -> np.ndarray:
    """Pixels of many scenes, (B, 3, H, W) uint8. Things of a scene must not overlap."""
    pictures = np.empty((len(scenes), 3, resolution, resolution), np.float32)
    pictures[:] = np.array(BACKGROUND, np.float32)[:, None, None]
    for picture, things in zip(pictures, scenes, strict=True):
        for thing in things:
            _put(picture, thing)
    return np.rint(pictures, out=pictures).astype(np.uint8)


def _put(picture: np.ndarray, thing: PlacedThing) -> None:
    resolution = picture.shape[-1]
    # Integers, so that the same fraction of a pixel is the same key of the cache.
    left, phase_x = divmod(round(thing.x * STEPS_PER_UNIT) * resolution, STEPS_PER_PICTURE)
    top, phase_y = divmod(round(thing.y * STEPS_PER_UNIT) * resolution, STEPS_PER_PICTURE)
    stamp = _stamp(thing.shape, thing.colour, thing.radius, phase_x, phase_y, resolution)
    reach = stamp.shape[-1] // 2
    top, left = top - reach, left - reach
    # A stamp may hang over the edge with pixels that it does not cover.
    cut_top, cut_left = max(0, -top), max(0, -left)
    target = picture[:, top + cut_top : top + stamp.shape[1], left + cut_left : left + stamp.shape[2]]
    target += stamp[:, cut_top : cut_top + target.shape[1], cut_left : cut_left + target.shape[2]]


@lru_cache(maxsize=20_000)
def _stamp(shape: str, colour: str, radius: float, phase_x: int, phase_y: int, resolution: int) -> np.ndarray:
    """What a thing adds to the background, (3, 2R+1, 2R+1); its centre lies in the middle pixel, at the given fraction."""
    scale = resolution / PICTURE_UNITS
    reach = math.ceil(radius * scale * REACH)
    x, y = (reach + phase / STEPS_PER_PICTURE for phase in (phase_x, phase_y))
    covered = coverage(shape, x, y, radius * scale, (2 * reach + 1, 2 * reach + 1))
    difference = np.subtract(COLOURS[colour], BACKGROUND, dtype=np.float32)
    return difference[:, None, None] * covered
