"""How far the stages of a run are, and how fast they went, as its records tell."""

from collections import defaultdict
from collections.abc import Iterable

from mdiff.budget.record import AttemptRecord
from mdiff.recipe.devices import device_named


def images_done(records: Iterable[AttemptRecord]) -> dict[int, int]:
    """Images of each stage that any attempt has trained on; those that a restart repeats are counted once."""
    done: dict[int, int] = {}
    for record in records:
        for stage, images in record.stage_images.items():
            done[int(stage)] = max(images, done.get(int(stage), 0))
    return done


def images_standing(records: Iterable[AttemptRecord]) -> dict[int, int]:
    """Images of each stage that are in the newest weights: a stage that is trained afresh begins at 0, and takes the later ones with it.

    Args:
        records: in order of start.
    """
    standing: dict[int, int] = {}
    for told in filter(None, (images_done([record]) for record in records)):
        standing = {stage: images for stage, images in standing.items() if stage <= max(told)} | told
    return standing


def measured_images_per_second(records: Iterable[AttemptRecord], device: str) -> dict[int, float]:
    """Images per second of one device in each stage that was trained on devices of this kind.

    Time for repeated images, start-up, checkpoints and samples is left out.

    Args:
        records: in order of start.
    """
    images: dict[int, int] = defaultdict(int)
    seconds: dict[int, float] = defaultdict(float)
    done: dict[int, int] = {}
    for record in records:
        is_same_device = device_named(record.hardware.device) == device_named(device)
        for stage, total in images_done([record]).items():
            images[stage] += max(0, total - done.get(stage, 0)) if is_same_device else 0
            done[stage] = max(total, done.get(stage, 0))
        for part in record.slices:
            seconds[part.stage] += part.device_seconds if part.activity == "training" and is_same_device else 0.0
    return {stage: count / seconds[stage] for stage, count in images.items() if count and seconds[stage] > 0}
