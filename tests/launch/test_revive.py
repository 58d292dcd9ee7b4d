"""Which jobs `mdiff watch` brings back, and which it leaves in peace."""

from pathlib import Path

import pytest

from mdiff.budget.ledger import read_ledger
from mdiff.budget.sync import Reading, write_readings
from mdiff.launch.revive import why_revive
from mdiff.run_dir import RunDir
from tests.budget.books import make_record, make_submission, write_record, write_submission


@pytest.fixture
def asked(tmp_path: Path):
    def ask(state: str, *reasons: str | None, ended: bool = True, **job: object) -> str:
        run_dir = RunDir(tmp_path / "run")
        write_submission(run_dir, make_submission(backend="slurm", scheduler_job="7", **job))
        for number, reason in enumerate(reasons):
            write_record(run_dir, make_record((1, "training", 10.0), attempt=f"7-{number:03d}", reason=reason, backend="slurm"))
        reading = Reading(
            submission="s1", scheduler_job="7", read_at="2026-11-24T12:00:00+00:00", state=state, ended=ended, has_accounting=True
        )
        write_readings(run_dir, [reading])
        ledger = read_ledger(run_dir)
        return why_revive(ledger.submissions[0], ledger)

    return ask


@pytest.mark.parametrize("reason", ["time_limit", "preempted", "peer_lost"])
def test_interrupted_job_that_did_not_come_back_is_brought_back(asked, reason):
    assert asked("FAILED", reason) == reason


@pytest.mark.parametrize("state", ["NODE_FAIL", "TIMEOUT", "PREEMPTED"])
def test_job_whose_supervisor_was_lost_with_its_node_is_brought_back(asked, state):
    assert asked(state, "time_limit", None) == state


@pytest.mark.parametrize("state", ["CANCELLED by 1000", "CANCELLED", "COMPLETED"])
def test_what_somebody_wanted_to_end_stays_ended(asked, state):
    assert asked(state, "time_limit") == ""
    assert asked(state, "preempted", None) == ""


@pytest.mark.parametrize("reason", ["completed", "budget", "failed", "cancelled", "no_progress", "attempts_used", "refused_budget"])
def test_job_that_came_to_an_end_of_its_own_stays_ended(asked, reason):
    assert asked("FAILED", reason) == ""


def test_job_that_still_lives_is_left_alone(asked):
    assert asked("PENDING", "time_limit", ended=False) == ""


def test_job_that_never_began_or_has_no_attempts_left_is_left_alone(asked):
    assert asked("FAILED") == ""
    assert asked("FAILED", "time_limit", "time_limit", max_attempts=2) == ""


def test_job_that_slurm_has_forgotten_is_left_alone(asked):
    assert asked("", "time_limit") == ""
