"""The meter counts what the clock that it was given says."""

from mdiff.attempt.meter import Meter


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def charged(meter: Meter) -> dict[tuple[int, str], float]:
    return {(part.stage, part.activity): part.device_seconds for part in meter.slices() if part.device_seconds}


def test_time_before_the_first_report_is_start_up_of_no_stage():
    clock = Clock()
    meter = Meter(8, "train", {}, clock)
    clock.now += 60
    assert charged(meter) == {(0, "startup"): 480.0}


def test_time_belongs_to_what_was_under_way_when_it_began():
    clock = Clock()
    meter = Meter(1, "train", {}, clock)
    clock.now += 5
    meter.observe(1, "training", 0)
    clock.now += 100
    meter.observe(1, "checkpoint", 64)
    clock.now += 7
    meter.observe(2, "training", 0)
    clock.now += 3
    meter.shut_down()
    clock.now += 2
    assert charged(meter) == {(0, "startup"): 5, (1, "training"): 100, (1, "checkpoint"): 7, (2, "training"): 3, (2, "shutdown"): 2}


def test_steps_that_were_done_before_are_repeated_until_the_old_place_is_reached():
    clock = Clock()
    meter = Meter(2, "train", {1: 200}, clock)
    meter.observe(1, "training", 100)
    clock.now += 10
    meter.observe(1, "training", 200)
    clock.now += 30
    assert charged(meter) == {(1, "repeated"): 20, (1, "training"): 60}


def test_reading_the_meter_changes_no_amount():
    clock = Clock()
    meter = Meter(1, "train", {}, clock)
    for _ in range(10):
        clock.now += 1
        meter.slices()
    assert charged(meter) == {(0, "startup"): 10}
    assert meter.elapsed_seconds == 10


def test_other_jobs_than_training_work_from_the_first_second():
    clock = Clock()
    meter = Meter(4, "encode", {}, clock)
    clock.now += 2
    assert charged(meter) == {(0, "working"): 8}
