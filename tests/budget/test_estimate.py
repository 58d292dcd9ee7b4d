from decimal import Decimal

import pytest

from mdiff.budget.estimate import estimate, remaining_work
from mdiff.errors import RecipeError
from mdiff.recipe.devices import DEVICES
from mdiff.recipe.load import load_recipe
from mdiff.recipe.price import PAPER_PRICE, Price
from mdiff.recipe.recipe import Recipe
from mdiff.recipe.site import Hardware

STAGES = range(1, 5)


@pytest.fixture(scope="module")
def published() -> Recipe:
    return load_recipe("microdit-xl")


def test_published_run_is_expected_to_take_462_gpu_hours_and_1734_dollars_at_the_papers_price(published: Recipe) -> None:
    found = estimate(published, Hardware(), PAPER_PRICE, STAGES)
    assert [stage.gpu_hours for stage in found.stages] == pytest.approx([203.0, 61.7, 154.2, 43.4], rel=0.01)
    assert found.gpu_hours == pytest.approx(462.3, rel=0.005)
    assert float(found.usd) == pytest.approx(1733.8, rel=0.005)
    assert found.assumption == "20 % MFU assumed"
    assert found.images == sum(stage.images for stage in published.stages)


def test_dollars_are_gpu_hours_times_the_price(published: Recipe) -> None:
    found = estimate(published, Hardware(), PAPER_PRICE, STAGES)
    assert [stage.usd for stage in found.stages] == [Decimal(repr(stage.gpu_hours)) * Decimal("3.75") for stage in found.stages]
    assert found.usd == sum(stage.usd for stage in found.stages)


def test_only_the_images_that_remain_are_estimated(published: Recipe) -> None:
    whole = estimate(published, Hardware(), PAPER_PRICE, [1])
    half = estimate(published, Hardware(), PAPER_PRICE, [1], images_done={1: published.stages[0].images // 2})
    assert half.usd * 2 == pytest.approx(whole.usd)
    assert half.flops * 2 == whole.flops


def test_stage_that_is_done_costs_nothing(published: Recipe) -> None:
    found = estimate(published, Hardware(), PAPER_PRICE, [1, 2], images_done={1: published.stages[0].images + 7})
    assert (found.stages[0].images, found.stages[0].usd) == (0, 0)
    assert found.stages[1].usd > 0


def test_measured_speed_replaces_the_assumed_one_where_it_is_known(published: Recipe) -> None:
    found = estimate(published, Hardware(), PAPER_PRICE, STAGES, measured_images_per_second={1: 1000.0})
    assert found.stages[0].gpu_hours == published.stages[0].images / 1000.0 / 3600
    assert [stage.measured for stage in found.stages] == [True, False, False, False]
    assert found.assumption == "20 % MFU assumed in stages 2-4"


def test_number_of_devices_changes_neither_gpu_hours_nor_dollars(published: Recipe) -> None:
    one, many = (estimate(published, Hardware(nodes=nodes), PAPER_PRICE, STAGES) for nodes in (1, 4))
    assert one == many


def test_processor_is_estimated_by_its_assumed_speed() -> None:
    found = estimate(load_recipe("shapes"), Hardware(device="cpu", devices_per_node=2), PAPER_PRICE, STAGES)
    speed = DEVICES["cpu"].assumed_flops_per_second
    assert found.assumption == f"{speed / 1e9:.0f} GFLOP/s a process assumed"
    assert found.gpu_hours == pytest.approx(found.flops / speed / 3600)


def test_driver_name_of_a_device_is_understood(published: Recipe) -> None:
    by_driver, by_name = (remaining_work(published, Hardware(device=name), [1]) for name in ("NVIDIA H100 80GB HBM3", "H100"))
    assert by_driver == by_name


def test_unknown_device_is_refused_and_the_known_ones_are_named(published: Recipe) -> None:
    with pytest.raises(RecipeError, match=r'hardware.device = "MI300X".*H100, H200, A100, B200, cpu'):
        estimate(published, Hardware(device="MI300X"), PAPER_PRICE, [1])


def test_unknown_price_is_an_error_and_never_zero(published: Recipe) -> None:
    with pytest.raises(RecipeError, match=r"\[price\].*--usd-per-gpu-hour"):
        estimate(published, Hardware(), None, [1])


def test_dollars_are_not_rounded_on_the_way(published: Recipe) -> None:
    third = Price(usd_per_gpu_hour=Decimal("0.333333333"), source="contract", read_on="2026-11-20")
    found = estimate(published, Hardware(), third, [4])
    assert found.usd == Decimal(repr(found.gpu_hours)) * Decimal("0.333333333")
