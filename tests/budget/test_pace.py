from mdiff.budget.pace import images_done, images_standing, measured_images_per_second
from mdiff.recipe.site import Hardware
from tests.budget.books import make_record


def test_images_that_a_restart_repeats_are_counted_once() -> None:
    first = make_record((1, "training", 100.0), stage_images={"1": 1000})
    second = make_record((1, "repeated", 20.0), (1, "training", 50.0), stage_images={"1": 1500})
    assert images_done([first, second]) == {1: 1500}
    assert measured_images_per_second([first, second], "H100") == {1: 10.0}


def test_attempt_that_did_not_get_as_far_as_an_earlier_one_takes_nothing_back() -> None:
    first, second = make_record(stage_images={"1": 1000}), make_record(stage_images={"1": 800})
    assert images_done([first, second]) == {1: 1000}


def test_start_up_checkpoints_and_samples_do_not_slow_the_measured_speed() -> None:
    record = make_record((0, "startup", 900.0), (1, "training", 100.0), (1, "checkpoint", 50.0), stage_images={"1": 1000})
    assert measured_images_per_second([record], "H100") == {1: 10.0}


def test_speed_of_another_kind_of_device_is_no_measurement() -> None:
    slow = make_record((1, "training", 100.0), stage_images={"1": 100}, hardware=Hardware(device="cpu"))
    fast = make_record((1, "training", 100.0), stage_images={"1": 1100}, hardware=Hardware(device="NVIDIA H100 80GB HBM3"))
    assert measured_images_per_second([slow, fast], "H100") == {1: 10.0}
    assert measured_images_per_second([slow], "H100") == {}


def test_stage_in_which_no_image_was_done_has_no_speed() -> None:
    assert measured_images_per_second([make_record((1, "training", 100.0), stage_images={"1": 0})], "H100") == {}


def test_resumed_attempt_stands_where_its_checkpoint_was_until_it_has_caught_up() -> None:
    first, resumed = make_record(stage_images={"1": 1000}), make_record(stage_images={"1": 800})
    assert images_standing([first, resumed]) == {1: 800}


def test_stage_that_is_trained_afresh_takes_the_later_ones_with_it() -> None:
    whole, afresh = make_record(stage_images={"1": 10, "2": 20, "3": 30}), make_record(stage_images={"2": 5})
    assert images_standing([whole, afresh, make_record()]) == {1: 10, 2: 5}
