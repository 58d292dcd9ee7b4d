"""What stages will take and cost: FLOPs, GPU-hours, dollars, for the images that remain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from mdiff.errors import RecipeError
from mdiff.recipe.devices import DEVICES, Device, device_named
from mdiff.recipe.flops import training_flops_per_image
from mdiff.recipe.price import Price
from mdiff.recipe.recipe import Recipe
from mdiff.recipe.site import Hardware
from mdiff.units import SECONDS_PER_HOUR


@dataclass(frozen=True, kw_only=True)
class StageWork:
    """What remains of one stage."""

    stage: int
    """Counted from 1."""
    images: int
    flops: int
    """Of training, forward and backward."""
    gpu_hours: float
    """Without GPUs: hours of one process."""
    measured: bool
    """Whether the speed was measured in this run; otherwise it is assumed."""


@dataclass(frozen=True, kw_only=True)
class StageEstimate(StageWork):
    """What remains of one stage, with its price."""

    usd: Decimal


@dataclass(frozen=True)
class Estimate:
    """What the stages of one job will cost."""

    stages: tuple[StageEstimate, ...]
    assumption: str
    """Where the speed comes from: "20 % MFU assumed"."""

    @property
    def images(self) -> int:
        return sum(stage.images for stage in self.stages)

    @property
    def flops(self) -> int:
        return sum(stage.flops for stage in self.stages)

    @property
    def gpu_hours(self) -> float:
        return sum(stage.gpu_hours for stage in self.stages)

    @property
    def usd(self) -> Decimal:
        return sum((stage.usd for stage in self.stages), Decimal(0))


def estimate(
    recipe: Recipe,
    hardware: Hardware,
    price: Price | None,
    stages: Sequence[int],
    images_done: Mapping[int, int] | None = None,
    measured_images_per_second: Mapping[int, float] | None = None,
) -> Estimate:
    """Work and cost of what remains of these stages.

    Args:
        stages: counted from 1.
        images_done: images of each stage that are trained already.
        measured_images_per_second: of one device, in the stages where it is known. Elsewhere the device's assumed speed applies.

    Raises:
        RecipeError: the price or the device is not known.
    """
    known_price = require_price(price)
    works = remaining_work(recipe, hardware, stages, images_done, measured_images_per_second)
    priced = tuple(StageEstimate(**vars(work), usd=work_usd(work, known_price)) for work in works)
    return Estimate(priced, _assumption(require_device(hardware), works))


def remaining_work(
    recipe: Recipe,
    hardware: Hardware,
    stages: Sequence[int],
    images_done: Mapping[int, int] | None = None,
    measured_images_per_second: Mapping[int, float] | None = None,
) -> tuple[StageWork, ...]:
    """`estimate` without money.

    Raises:
        RecipeError: the device is not known.
    """
    device, done, measured = require_device(hardware), images_done or {}, measured_images_per_second or {}
    return tuple(_work(recipe, device, stage, done.get(stage, 0), measured.get(stage)) for stage in stages)


def _work(recipe: Recipe, device: Device, stage: int, done: int, images_per_second: float | None) -> StageWork:
    settings = recipe.stages[stage - 1]
    images = max(0, settings.images - done)
    flops = images * training_flops_per_image(recipe, settings)
    seconds = images / images_per_second if images_per_second else flops / device.assumed_flops_per_second
    return StageWork(stage=stage, images=images, flops=flops, gpu_hours=seconds / SECONDS_PER_HOUR, measured=bool(images_per_second))


def work_usd(work: StageWork, price: Price) -> Decimal:
    return Decimal(repr(work.gpu_hours)) * price.usd_per_gpu_hour


def require_price(price: Price | None) -> Price:
    """
    Raises:
        RecipeError: nobody said what an hour costs.
    """
    if price is None:
        raise RecipeError("[price]", "unknown, so no budget can be kept; write it in the site file, or give --usd-per-gpu-hour")
    return price


def require_device(hardware: Hardware) -> Device:
    """
    Raises:
        RecipeError: no speed is known for this kind of device.
    """
    device = device_named(hardware.device)
    if device is None:
        raise RecipeError(f'hardware.device = "{hardware.device}"', f"its speed is not known; known are {', '.join(DEVICES)}")
    return device


def _assumption(device: Device, works: Sequence[StageWork]) -> str:
    assumed = [work.stage for work in works if work.images and not work.measured]
    if not assumed:
        return "speed measured in this run"
    where = f" in {stages_text(assumed)}" if any(work.measured for work in works) else ""
    return f"{assumed_speed_text(device)} assumed{where}"


def assumed_speed_text(device: Device) -> str:
    """
    >>> assumed_speed_text(DEVICES["H100"]), assumed_speed_text(DEVICES["cpu"])
    ('20 % MFU', '60 GFLOP/s a process')
    """
    return speed_text(device, device.assumed_flops_per_second, digits=0)


def speed_text(device: Device, *flops_per_second: float, digits: int = 1) -> str:
    """Speeds of one device: shares of its peak where that is known.

    >>> speed_text(DEVICES["cpu"], 35.9e9, 58.3e9)
    '35.9, 58.3 GFLOP/s a process'
    """
    peak = device.peak_flops_per_second
    figures = ", ".join(f"{100 * speed / peak if peak else speed / 1e9:.{digits}f}" for speed in flops_per_second)
    return f"{figures} % MFU" if peak else f"{figures} GFLOP/s a process"


def stages_text(stages: Sequence[int]) -> str:
    """
    >>> stages_text([2, 3, 4]), stages_text([2]), stages_text([1, 3])
    ('stages 2-4', 'stage 2', 'stages 1, 3')
    """
    if len(stages) == 1:
        return f"stage {stages[0]}"
    is_range = list(stages) == list(range(stages[0], stages[-1] + 1))
    return f"stages {stages[0]}-{stages[-1]}" if is_range else f"stages {', '.join(map(str, stages))}"
