"""The scheduler's account beside the meter's: the larger is billed, and nothing is billed twice."""

from datetime import timedelta
from decimal import Decimal

import pytest

from mdiff.budget.differences import compare
from mdiff.budget.ledger import billed_usd, is_open, read_ledger, spent_usd
from mdiff.budget.sync import Reading, SchedulerAttempt, same_facts, write_readings
from mdiff.run_dir import RunDir
from mdiff.units import utc_now
from tests.budget.books import make_record, make_submission, write_record, write_submission

USD_PER_SECOND = Decimal(1) / 3600


def usd(seconds: int) -> object:
    return pytest.approx(seconds * USD_PER_SECOND, abs=Decimal("1e-8"))


@pytest.fixture
def run_dir(tmp_path) -> RunDir:
    run_dir = RunDir(tmp_path / "run")
    write_submission(run_dir, make_submission(backend="slurm", scheduler_job="7"))
    return run_dir


def put(run_dir: RunDir, name: str, seconds: float, reason: str | None = "completed") -> None:
    write_record(run_dir, make_record((1, "training", seconds), attempt=name, reason=reason, backend="slurm"))


def say(run_dir: RunDir, *attempts: tuple[str, float], ended: bool = True, has_accounting: bool = True) -> None:
    told = tuple(
        SchedulerAttempt(attempt=name, state="COMPLETED", device_seconds=seconds, started_at=utc_now().isoformat())
        for name, seconds in attempts
    )
    reading = Reading(
        submission="s1", scheduler_job="7", read_at=utc_now().isoformat(), ended=ended, has_accounting=has_accounting, attempts=told
    )
    write_readings(run_dir, [reading])


def test_larger_account_is_billed(run_dir):
    put(run_dir, "7-000", 100.0)
    put(run_dir, "7-001", 100.0)
    say(run_dir, ("7-000", 160.0), ("7-001", 90.0))
    ledger = read_ledger(run_dir)
    bills = [billed_usd(found, utc_now()) for found in ledger.records]
    assert bills == [usd(160), usd(100)]


def test_attempt_that_died_before_its_meter_started_is_billed_by_the_scheduler(run_dir):
    put(run_dir, "7-001", 100.0)
    say(run_dir, ("7-000", 50.0), ("7-001", 100.0))
    ledger = read_ledger(run_dir)
    assert spent_usd(ledger, utc_now()) == usd(150)
    report = compare("run", ledger, utc_now())
    missing = next(row for row in report.attempts if row.attempt == "7-000")
    assert missing.meter_gpu_hours is None
    assert missing.differs
    assert "its meter never started" in missing.note


def test_killed_attempt_is_billed_as_the_scheduler_knows_it_and_not_by_a_guess(run_dir):
    put(run_dir, "7-000", 100.0, reason=None)
    late = utc_now() + timedelta(hours=1)
    before = spent_usd(read_ledger(run_dir), late, pid_alive=lambda _: False)
    say(run_dir, ("7-000", 105.0))
    after = spent_usd(read_ledger(run_dir), late, pid_alive=lambda _: False)
    assert before > after == usd(105)


def test_newest_reading_counts_and_readings_are_never_added_up(run_dir):
    put(run_dir, "7-000", 10.0)
    for seconds in (20.0, 40.0, 30.0):
        say(run_dir, ("7-000", seconds))
    assert spent_usd(read_ledger(run_dir), utc_now()) == usd(30)


def test_job_that_the_scheduler_has_ended_is_not_open_whatever_its_last_record_says(run_dir):
    put(run_dir, "7-000", 10.0, reason="preempted")
    job = read_ledger(run_dir).submissions[0]
    assert is_open(job, read_ledger(run_dir).records, utc_now())
    say(run_dir, ("7-000", 10.0))
    ledger = read_ledger(run_dir)
    assert not is_open(ledger.submissions[0], ledger.records, utc_now())


def test_without_accounting_the_meter_stands_and_the_comparison_says_so(run_dir):
    put(run_dir, "7-000", 10.0)
    say(run_dir, has_accounting=False)
    report = compare("run", read_ledger(run_dir), utc_now())
    assert not report.has_accounting
    assert report.attempts[0].scheduler_gpu_hours is None
    assert not report.attempts[0].differs


def test_reading_that_says_nothing_new_is_recognised():
    one = Reading(submission="s", scheduler_job="7", read_at="a", ended=False, has_accounting=True)
    assert same_facts(one, one.model_copy(update={"read_at": "b"}))
    assert not same_facts(one, one.model_copy(update={"ended": True}))
    assert not same_facts(None, one)


def test_readings_do_not_pile_up_and_the_newest_of_each_job_stays(run_dir):
    write_submission(run_dir, make_submission(id="s0", backend="slurm", scheduler_job="6"))
    other = Reading(submission="s0", scheduler_job="6", read_at="a", ended=True, has_accounting=True)
    write_readings(run_dir, [other])
    for seconds in range(60):
        say(run_dir, ("7-000", float(seconds)))
    assert len(list(run_dir.sync.iterdir())) <= 21
    readings = read_ledger(run_dir).readings
    assert readings["s0"] == other
    assert readings["s1"].attempts[0].device_seconds == 59.0
