"""Every sentence that a world allows, with its truth: the six tasks of GenEval (arXiv:2310.11513) in small."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import permutations
from typing import Literal, NamedTuple, get_args

from mdiff.data.randomness import permutation
from mdiff.data.shapes.world import COLOURS, SHAPES, ShapesWorld, Thing, pairs
from mdiff.errors import DataError

Task = Literal["single_object", "two_objects", "counting", "colours", "position", "colour_attribution"]
Relation = Literal["left of", "right of", "above", "below"]
TASKS: tuple[Task, ...] = get_args(Task)
PAIR_TASKS: tuple[Task, ...] = ("two_objects", "position", "colour_attribution")
"""Only these have held-out captions."""
RELATIONS: tuple[Relation, ...] = get_args(Relation)
NUMBERS = {"two": 2, "three": 3, "four": 4}
VOCABULARY = (
    *("a", "and", "left", "right", "of", "above", "below"),
    *NUMBERS,
    *SHAPES,
    *(f"{shape}s" for shape in SHAPES),
    *COLOURS,
)
"""Every word of the largest world."""


class Prompt(NamedTuple):
    """A caption and its truth."""

    text: str
    task: Task
    held_out: bool
    """True if no training picture shows this pair of things."""
    things: tuple[Thing, ...]
    """All that the picture must show, and nothing else."""
    relation: Relation | None = None
    """Where the first thing lies, seen from the second."""


def parse_caption(text: str, world: ShapesWorld) -> Prompt:
    """The truth of a caption.

    Raises:
        DataError: the world has no such caption.
    """
    prompt = _prompts_by_text(world).get(" ".join(text.lower().split()))
    if prompt is None:
        raise DataError(
            f'"{text}": not a caption of this world of {", ".join(world.shapes)} in {", ".join(world.colours)}; it knows "a circle", '
            f'"a red circle", "two red circles" (two to four), and "a red circle X a blue square" with X = and, {", ".join(RELATIONS)}'
        )
    return prompt


@lru_cache
def task_prompts(world: ShapesWorld, task: Task, held_out: bool) -> tuple[Prompt, ...]:
    """All captions of a task, in a fixed order."""
    return tuple(prompt for prompt in _prompts_by_text(world).values() if (prompt.task, prompt.held_out) == (task, held_out))


def evaluation_prompts(world: ShapesWorld, task: Task, count: int, held_out: bool, seed: int) -> list[Prompt]:
    """`count` captions of a task, each as often as every other, give or take one.

    Raises:
        DataError: the world holds out no caption of this task.
    """
    choices = task_prompts(world, task, held_out)
    if not choices:
        kind = "held-out" if held_out else "seen"
        raise DataError(f"{task}: this world has no {kind} captions of this task; only {', '.join(PAIR_TASKS)} hold some out")
    rounds = range(-(-count // len(choices)))
    order = [index for number in rounds for index in permutation(("evaluation prompts", seed, task, held_out, number), len(choices))]
    return [choices[index] for index in order[:count]]


@lru_cache
def _prompts_by_text(world: ShapesWorld) -> dict[str, Prompt]:
    return {prompt.text: prompt for prompt in (*_of_one_thing(world), *_of_two_things(world))}


def _of_one_thing(world: ShapesWorld) -> Iterator[Prompt]:
    for shape in world.shapes:
        yield Prompt(f"a {shape}", "single_object", False, (Thing(shape, None),))
    for thing in world.things:
        yield Prompt(_noun(thing), "colours", False, (thing,))
        for word, number in NUMBERS.items():
            yield Prompt(f"{word} {thing.colour} {thing.shape}s", "counting", False, (thing,) * number)


def _of_two_things(world: ShapesWorld) -> Iterator[Prompt]:
    for first, second in permutations(world.things, 2):
        held_out = frozenset((first, second)) in pairs(world).held_out
        task: Task = "two_objects" if first.colour == second.colour else "colour_attribution"
        yield Prompt(f"{_noun(first)} and {_noun(second)}", task, held_out, (first, second))
        for relation in RELATIONS:
            yield Prompt(f"{_noun(first)} {relation} {_noun(second)}", "position", held_out, (first, second), relation)


def _noun(thing: Thing) -> str:
    return f"a {thing.colour} {thing.shape}"
