"""Whether the data sets of a submission are there, where that can be seen from here."""

from collections.abc import Sequence
from pathlib import Path

from mdiff.errors import DataError
from mdiff.launch.job import dataset_names
from mdiff.launch.place import Place
from mdiff.recipe.manifest import check_dataset, dataset_needs
from mdiff.recipe.recipe import Recipe

SHAPES = "shapes"
"""The data set that `mdiff data shapes` makes."""


def look_at_data(recipe: Recipe, place: Place, stages: Sequence[int]) -> tuple[int, list[str]]:
    """Images in the data sets of the first of `stages`, and what is wrong with the data sets of all of them."""
    if place.backend == "kubernetes":
        # Its volumes cannot be seen from here; the job looks at them itself.
        return 0, []
    counts: dict[str, int] = {}
    problems: list[str] = []
    for stage in (recipe.stages[number - 1] for number in stages):
        for use in stage.datasets:
            folder = place.site.dataset_folder(use.name)
            try:
                found = check_dataset(folder, stage.resolution, dataset_needs(recipe, stage))
                counts.setdefault(use.name, found.samples)
            except DataError as error:
                problems.append(f"data set {use.name}: {error}\n  {_data_advice(use.name, folder)}")
    first = dataset_names(recipe, range(stages[0], stages[0] + 1))
    return sum(counts.get(name, 0) for name in first), list(dict.fromkeys(problems))


def _data_advice(name: str, folder: Path) -> str:
    if name == SHAPES:
        return f"Make it with: mdiff data shapes {folder} --images 20000      or say in the site file where it lies: [datasets]"
    return f'If it lies elsewhere, say so in the site file: [datasets] {name} = "/its/folder"'
