"""Where the things of a caption lie and how large they are.

Lengths are in units: a picture is 32 units wide, x goes right and y down. Positions lie on a grid of a quarter of a unit, so
that the renderer can keep what it has drawn once.
"""

from typing import NamedTuple

import numpy as np

from mdiff.data.shapes.captions import Prompt, Relation
from mdiff.data.shapes.world import ShapesWorld

PICTURE_UNITS = 32
STEPS_PER_UNIT = 4
"""Positions per unit and axis."""
RADII = {1: 8.0, 2: 5.5, 3: 5.0, 4: 5.0}
"""By the number of things."""
SPOTS = {
    1: ((16.0, 16.0),),
    2: ((8.5, 16.0), (23.5, 16.0)),
    3: ((16.0, 9.0), (8.5, 23.0), (23.5, 23.0)),
    4: ((8.5, 8.5), (23.5, 8.5), (8.5, 23.5), (23.5, 23.5)),
}
COLUMN = ((16.0, 8.5), (16.0, 23.5))
"""Places of "above" and "below"."""
FREE_RADII = {1: (4.0, 10.0), 2: (4.0, 7.0), 3: (4.0, 5.5), 4: (4.0, 5.0)}
"""Smallest and largest."""
FREE_GAP = 2.5
"""Between the bounding boxes of two things, on one axis at least."""
FREE_TRIES = 32
"""Scenes that are drawn at once."""
MARGIN = 1.25
"""From a thing's radius to the edge of the picture."""
DOMINANCE = 1.5
"""For "left of" the horizontal distance is at least this many times the vertical one."""


class PlacedThing(NamedTuple):
    """A thing in a picture, in units."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float


def place(world: ShapesWorld, prompt: Prompt, rng: np.random.Generator) -> tuple[PlacedThing, ...]:
    """One scene that the caption describes. A colour that it leaves open is drawn too."""
    spots = _fixed_spots(world, prompt, rng) if world.layout == "fixed" else _free_spots(prompt, rng)
    colours = [thing.colour or world.colours[rng.integers(len(world.colours))] for thing in prompt.things]
    return tuple(PlacedThing(thing.shape, colour, *spot) for thing, colour, spot in zip(prompt.things, colours, spots, strict=True))


def relation_holds(relation: Relation, first: tuple[float, float], second: tuple[float, float], dominance: float = 1.0) -> bool:
    """Does the thing at `first` (x, y) lie like this, seen from `second`? Its direction must be the main one."""
    along_x = relation in ("left of", "right of")
    dx, dy = second[0] - first[0], second[1] - first[1]
    main, other = (dx, dy) if along_x else (dy, dx)
    return (main if relation in ("left of", "above") else -main) > dominance * abs(other)


def _fixed_spots(world: ShapesWorld, prompt: Prompt, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    number = len(prompt.things)
    spots = COLUMN if prompt.relation in ("above", "below") else SPOTS[number]
    if prompt.relation in ("right of", "below"):
        spots = spots[::-1]
    reach = int(world.jitter * STEPS_PER_UNIT)
    jitter = rng.integers(-reach, reach + 1, size=(number, 2)) / STEPS_PER_UNIT
    return [(x + float(dx), y + float(dy), RADII[number]) for (x, y), (dx, dy) in zip(spots, jitter, strict=True)]


def _free_spots(prompt: Prompt, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Draw many scenes at once until one is clear: few are, where four things share a picture."""
    while True:
        tries = _free_tries(len(prompt.things), rng)
        for index in np.flatnonzero(_are_apart(tries)):
            spots = [(float(x), float(y), float(radius)) for x, y, radius in tries[index]]
            if prompt.relation is None or relation_holds(prompt.relation, spots[0][:2], spots[1][:2], DOMINANCE):
                return spots


def _free_tries(number: int, rng: np.random.Generator) -> np.ndarray:
    """Scenes of `number` things anywhere, (FREE_TRIES, things, 3): x, y, radius."""
    least, most = FREE_RADII[number]
    radii = rng.integers(round(2 * least), round(2 * most) + 1, size=(FREE_TRIES, number, 1)) / 2
    low, high = (radii + MARGIN) * STEPS_PER_UNIT, (PICTURE_UNITS - radii - MARGIN) * STEPS_PER_UNIT
    spots = np.floor(low + rng.random((FREE_TRIES, number, 2)) * (high - low + 1)) / STEPS_PER_UNIT
    return np.concatenate([spots, radii], axis=-1)


def _are_apart(tries: np.ndarray) -> np.ndarray:
    """Which scenes have no two things that touch, (FREE_TRIES,) bool."""
    x, y, radius = np.moveaxis(tries, -1, 0)
    first, second = np.triu_indices(tries.shape[1], k=1)
    distance = np.maximum(np.abs(x[:, first] - x[:, second]), np.abs(y[:, first] - y[:, second]))
    return np.all(distance >= radius[:, first] + radius[:, second] + FREE_GAP, axis=1)
