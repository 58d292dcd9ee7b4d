import json
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdiff.budget.ledger import Ledger, read_ledger, spent_usd
from mdiff.budget.report import Report, budget_report
from mdiff.recipe.load import load_recipe
from mdiff.recipe.price import PAPER_PRICE
from mdiff.recipe.site import Hardware
from mdiff.run_dir import RunDir
from tests.budget.books import HOUR, NOW, ONE_DOLLAR, ONE_GPU, make_record, make_submission, minutes_ago, write_record

RECIPE = load_recipe("microdit-xl")
NO_RUNS = Path("/nowhere/runs")
activities = st.sampled_from(["startup", "training", "repeated", "checkpoint", "sampling", "shutdown"])
slices = st.lists(st.tuples(st.integers(0, 6), activities, st.floats(min_value=0, max_value=1e6)), max_size=6)


def report_of(*records: object, price: object = ONE_DOLLAR, **changes: object) -> Report:
    return budget_report(RECIPE, Ledger(records=records), ONE_GPU, price, NOW, NO_RUNS, **changes)


def test_before_any_run_everything_is_planned_and_nothing_spent() -> None:
    report = budget_report(RECIPE, Ledger(), Hardware(), PAPER_PRICE, NOW, NO_RUNS)
    assert (report.run, report.limit_usd, report.total.spent_usd, report.left_usd) == ("microdit-xl", 1890, 0, 1890)
    assert float(report.total.planned_usd) == pytest.approx(1733.8, rel=0.005)
    assert report.total.forecast_usd == report.total.planned_usd
    assert report.total.share_of_limit == pytest.approx(0.92, abs=0.005)
    assert report.runs_root == "/nowhere/runs"
    assert report.runs_root_is_empty
    assert report.speed_note == "20 % MFU (assumed: not yet measured here)"
    assert report.others == report.attempts == report.open_jobs == ()


@given(st.lists(st.tuples(slices, st.sampled_from(["train", "encode"]), st.booleans(), st.booleans()), max_size=5))
def test_rows_add_up_to_the_total_and_nothing_is_counted_twice(attempts: list[tuple]) -> None:
    records = [make_record(*parts, kind=kind, counts=counts, reason="failed" if ended else None) for parts, kind, counts, ended in attempts]
    report = report_of(*records)
    rows = [*report.stages, *report.others]
    assert sum(row.spent_usd for row in rows) == report.total.spent_usd == spent_usd(Ledger(records=tuple(records)), NOW)
    assert sum(row.forecast_usd for row in report.stages) + sum(row.spent_usd for row in report.others) == report.total.forecast_usd
    assert sum(part.usd for part in report.activities.values()) == report.total.spent_usd
    assert sum(row.usd for row in report.attempts if row.counts) == report.total.spent_usd
    assert sum(row.usd for row in report.attempts if not row.counts) == sum(row.spent_usd for row in report.not_counted)
    assert sum(row.gpu_hours_spent for row in rows) == pytest.approx(report.total.gpu_hours_spent)


def test_time_before_a_stage_and_other_kinds_of_job_have_rows_of_their_own() -> None:
    train = make_record((0, "startup", HOUR), (1, "training", 2 * HOUR))
    report = report_of(train, make_record((0, "working", 4 * HOUR), kind="encode"))
    assert {row.label: row.spent_usd for row in report.others} == {"before a stage": 1, "encode": 4}
    assert report.stages[0].spent_usd == 2
    assert report.total.spent_usd == 7


def test_jobs_that_the_budget_does_not_cover_are_shown_beside_it() -> None:
    report = report_of(make_record((0, "working", 4 * HOUR), kind="encode", counts=False))
    assert (report.total.spent_usd, report.left_usd) == (0, 1890)
    assert [(row.label, row.spent_usd) for row in report.not_counted] == [("encode", 4)]


def test_forecast_is_what_was_spent_and_the_rest_at_the_measured_speed() -> None:
    images = RECIPE.stages[0].images
    record = make_record((1, "training", 50 * HOUR), (1, "checkpoint", HOUR), stage_images={"1": images // 4})
    row = report_of(record).stages[0]
    assert row.images_done == images // 4
    assert row.spent_usd == 51
    assert row.forecast_usd == 51 + 150
    assert row.usd_per_million_images == pytest.approx(Decimal(51 * 10**6) / (images // 4))
    assert row.share_of_limit == pytest.approx(201 / 1890)


def test_measured_speed_is_stated_with_the_stages_where_it_is_still_assumed() -> None:
    record = make_record((1, "training", 50 * HOUR), stage_images={"1": RECIPE.stages[0].images // 4})
    report = report_of(record)
    assert report.stages[0].measured_mfu == pytest.approx(0.2029, abs=0.001)
    assert report.speed_note == "20.3 % MFU (measured in stage 1); 20 % MFU (assumed in stages 2-4)"


def test_finished_run_is_forecast_at_what_it_cost() -> None:
    images = {str(number): stage.images for number, stage in enumerate(RECIPE.stages, start=1)}
    report = report_of(make_record((0, "startup", HOUR), (4, "training", 9 * HOUR), stage_images=images), price=None)
    assert report.total.forecast_usd == report.total.spent_usd == 10
    assert report.total.images_done == report.total.images_planned


def test_unknown_price_plans_gpu_hours_and_no_dollars() -> None:
    report = report_of(make_record((1, "training", HOUR)), price=None)
    assert report.price is None
    assert report.total.gpu_hours_planned > 400
    assert report.total.planned_usd is report.total.forecast_usd is report.stages[1].planned_usd is None
    assert report.total.spent_usd == 1, "an attempt keeps the price that it started under"


def test_attempt_keeps_its_price_when_a_later_one_is_dearer() -> None:
    dear = ONE_DOLLAR.model_copy(update={"usd_per_gpu_hour": Decimal(3)})
    report = report_of(make_record((1, "training", HOUR)), make_record((1, "training", HOUR), price=dear))
    assert report.total.spent_usd == 4


def test_limit_is_the_newest_submissions_and_before_that_the_recipes() -> None:
    ledger = Ledger((make_submission(limit="100", id="s1"), make_submission(limit="50", id="s2")))
    report = budget_report(RECIPE, ledger, ONE_GPU, ONE_DOLLAR, NOW, NO_RUNS)
    assert (report.limit_usd, report.limit_source) == (50, "the newest submission, 2026-11-24")
    assert report_of().limit_source == "[budget] limit_usd of the recipe"
    assert report_of(limit_usd=Decimal(7)).limit_usd == 7


def test_open_jobs_and_what_they_are_promised_are_taken_off_what_is_left() -> None:
    ledger = Ledger((make_submission("30"),), (make_record((1, "training", HOUR), reason=None, heartbeat_at=minutes_ago(0)),))
    report = budget_report(RECIPE, ledger, ONE_GPU, ONE_DOLLAR, NOW, NO_RUNS)
    assert (report.total.spent_usd, report.committed_usd, report.left_usd) == (1, 29, 70)
    assert report.open_jobs == ("s1",)
    assert [row.ended for row in report.attempts] == ["running"]


def test_killed_supervisor_is_called_killed_and_its_last_interval_unseen() -> None:
    report = report_of(make_record((1, "training", HOUR), reason=None, stage=1))
    assert [row.ended for row in report.attempts] == ["killed"]
    assert report.activities["unseen"].usd == Decimal("0.01")
    assert report.stages[0].spent_usd == Decimal("1.01")


def test_json_holds_the_same_numbers() -> None:
    report = report_of(make_record((1, "training", 1234.567), (0, "startup", 7.89)))
    document = json.loads(report.model_dump_json(), parse_float=Decimal)
    assert document["total"]["spent_usd"] == report.total.spent_usd
    assert [row["forecast_usd"] for row in document["stages"]] == [row.forecast_usd for row in report.stages]
    assert sum(row["spent_usd"] for row in (*document["stages"], *document["others"])) == report.total.spent_usd
    assert document["price"]["usd_per_gpu_hour"] == 1


def test_ten_thousand_attempts_are_read_and_reported_in_seconds_not_minutes(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    template = make_record(*((stage, activity, 1.5) for stage in (1, 2) for activity in ("startup", "training", "checkpoint")))
    write_record(run_dir, template)
    for number in range(10_000):
        attempt = run_dir.attempt(f"20261124T000000-{number}")
        attempt.path.mkdir()
        attempt.record.write_text(template.model_copy(update={"attempt": attempt.name}).model_dump_json())
    begun = time.perf_counter()
    report = budget_report(RECIPE, read_ledger(run_dir), ONE_GPU, ONE_DOLLAR, NOW, tmp_path)
    seconds = time.perf_counter() - begun
    assert len(report.attempts) == 10_001
    print(f"10,001 attempts: {seconds:.2f} s")
    assert seconds < 5, "about 1 s on an idle core"
