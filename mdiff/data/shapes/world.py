"""Which shapes and colours there are, how freely they lie, and which pairs no training picture shows."""

import hashlib
from functools import lru_cache
from itertools import combinations
from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from mdiff.recipe.settings import BadSettingError, Settings

SHAPES = ("circle", "square", "triangle", "star", "diamond")
COLOURS = {
    "red": (222, 51, 48),
    "green": (43, 160, 72),
    "blue": (46, 98, 214),
    "yellow": (243, 187, 27),
    "purple": (146, 62, 186),
}
"""Red, green and blue, 0..255."""
BACKGROUND = (246, 246, 242)
HELD_OUT_ONE_IN = 5
"""Of the pairs, one in this many is held out."""


class ShapesWorld(Settings):
    """What captions and pictures may show. Lengths are in units: a picture is 32 units wide at any resolution."""

    shapes: tuple[str, ...] = SHAPES[:3]
    colours: tuple[str, ...] = tuple(COLOURS)[:3]
    layout: Literal["fixed", "free"] = "fixed"
    """Fixed: the caption decides where objects lie and how large they are. Free: it decides only what it says."""
    jitter: float = Field(default=1.0, ge=0, le=1)
    """With a fixed layout every object is moved by up to this many units on each axis."""

    @model_validator(mode="after")
    def _can_be_drawn(self) -> "ShapesWorld":
        for key, chosen, known in (("shapes", self.shapes, SHAPES), ("colours", self.colours, tuple(COLOURS))):
            if len(chosen) < 2 or len(set(chosen)) < len(chosen) or not set(chosen) <= set(known):
                raise BadSettingError(key, chosen, f"must be two or more different ones of {', '.join(known)}")
        return self

    @property
    def things(self) -> tuple["Thing", ...]:
        return tuple(Thing(shape, colour) for shape in self.shapes for colour in self.colours)


class Thing(NamedTuple):
    """A shape in a colour; None where a caption leaves the colour open."""

    shape: str
    colour: str | None


Pair = frozenset[Thing]


class Pairs(NamedTuple):
    """Unordered combinations of two different coloured shapes."""

    seen: frozenset[Pair]
    held_out: frozenset[Pair]


@lru_cache
def pairs(world: ShapesWorld) -> Pairs:
    """Which pairs training pictures show, and which they never show in any wording. Depends on the world alone.

    Pairs of one colour and pairs of two colours are held out in equal shares.
    """
    everything = [frozenset(pair) for pair in combinations(world.things, 2)]
    one_colour = [pair for pair in everything if len({thing.colour for thing in pair}) == 1]
    two_colours = [pair for pair in everything if len({thing.colour for thing in pair}) == 2]
    held_out = _spread(one_colour) | _spread(two_colours)
    return Pairs(frozenset(everything) - held_out, held_out)


def _spread(candidates: list[Pair]) -> frozenset[Pair]:
    """One in HELD_OUT_ONE_IN of the candidates, such that no thing loses many of its pairs."""
    chosen: list[Pair] = []
    times = {thing: 0 for pair in candidates for thing in pair}

    def cost(pair: Pair) -> tuple[int, int, str]:
        counts = [times[thing] for thing in pair]
        return max(counts), sum(counts), _stable_rank(pair)

    for _ in range(round(len(candidates) / HELD_OUT_ONE_IN)):
        pair = min((pair for pair in candidates if pair not in chosen), key=cost)
        chosen.append(pair)
        for thing in pair:
            times[thing] += 1
    return frozenset(chosen)


def _stable_rank(pair: Pair) -> str:
    return hashlib.sha256("|".join(sorted(f"{thing.colour} {thing.shape}" for thing in pair)).encode()).hexdigest()
