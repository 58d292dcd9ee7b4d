import os
import shutil
import subprocess
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdiff.budget.ledger import Ledger, billed_times, billed_usd, committed_usd, is_open, read_ledger, spent_usd
from mdiff.budget.liveness import boot_id, pid_alive_here, supervisor_is_alive
from mdiff.budget.record import AttemptRecord
from mdiff.errors import MdiffError
from mdiff.run_dir import RunDir
from tests.budget.books import HOUR, NOW, make_record, make_submission, minutes_ago, write_record, write_submission

device_seconds = st.floats(min_value=0, max_value=1e7)
times = st.tuples(st.integers(0, 4), st.sampled_from(["startup", "training", "repeated", "checkpoint"]), device_seconds)


def running(*times: tuple[int, str, float], **changes: object) -> AttemptRecord:
    return make_record(*times, reason=None, heartbeat_at=minutes_ago(0), **changes)


@given(st.lists(st.lists(times, max_size=5), max_size=5))
def test_spent_is_the_sum_of_device_time_times_price(attempts: list[list[tuple[int, str, float]]]) -> None:
    ledger = Ledger(records=tuple(make_record(*parts) for parts in attempts))
    expected = sum(seconds for parts in attempts for _, _, seconds in parts) / 3600
    assert float(spent_usd(ledger, NOW)) == pytest.approx(expected, abs=1e-7)


@given(st.lists(times, max_size=8), st.permutations(range(8)))
def test_bill_does_not_depend_on_how_it_is_grouped(parts: list[tuple[int, str, float]], order: list[int]) -> None:
    record = make_record(*parts)
    bill = list(billed_times(record, NOW))
    shuffled = [bill[index] for index in order if index < len(bill)]
    assert sum((time.usd for time in shuffled), Decimal(0)) == billed_usd(record, NOW) == record.metered_usd


@given(st.lists(st.floats(min_value=0, max_value=3600), min_size=2, max_size=10))
def test_spent_only_grows_from_heartbeat_to_heartbeat_whatever_comes_last(steps: list[float]) -> None:
    total, bills = 0.0, []
    for step in steps:
        total += step
        bills.append(billed_usd(running((1, "training", total)), NOW))
    killed = make_record((1, "training", total), reason=None)
    for end in (make_record((1, "training", total)), killed):
        assert all(earlier <= later for earlier, later in pairwise([*bills, billed_usd(end, NOW)]))


def test_killed_supervisor_is_billed_one_interval_more() -> None:
    record = make_record((1, "training", HOUR), reason=None)
    assert billed_usd(record, NOW) == Decimal("1.01")
    assert [time.activity for time in billed_times(record, NOW)] == ["training", "unseen"]


def test_killed_supervisor_of_eight_gpus_is_billed_for_all_of_them() -> None:
    record = make_record(reason=None, hardware=make_record().hardware.model_copy(update={"devices_per_node": 4, "nodes": 2}))
    assert billed_usd(record, NOW) == Decimal("0.08")


def test_living_supervisor_is_billed_up_to_its_last_heartbeat() -> None:
    assert billed_usd(running((1, "training", HOUR)), NOW) == 1


def test_attempt_that_ended_is_billed_by_its_meter() -> None:
    assert billed_usd(make_record((1, "training", HOUR), (1, "checkpoint", HOUR)), NOW) == 2


@pytest.mark.parametrize("jump", [timedelta(days=-400), timedelta(days=400)])
def test_clock_that_jumps_changes_no_amount_of_an_attempt_that_ended(jump: timedelta) -> None:
    record = make_record((1, "training", HOUR))
    assert billed_usd(record, NOW + jump) == billed_usd(record, NOW)


def test_clock_that_jumps_ahead_adds_one_interval_at_most() -> None:
    record = running((1, "training", HOUR))
    assert billed_usd(record, NOW + timedelta(days=400)) - billed_usd(record, NOW) == Decimal("0.01")


def test_spending_that_does_not_count_is_kept_apart() -> None:
    ledger = Ledger(records=(make_record((1, "training", HOUR)), make_record((0, "working", 2 * HOUR), counts=False, kind="encode")))
    assert (spent_usd(ledger, NOW), spent_usd(ledger, NOW, counted=False)) == (1, 2)


def test_open_job_commits_what_its_reservation_leaves() -> None:
    ledger = Ledger((make_submission("10"),), (running((1, "training", 3 * HOUR)),))
    assert committed_usd(ledger, NOW) == 7
    assert spent_usd(ledger, NOW) + committed_usd(ledger, NOW) == 10


def test_job_that_spends_more_than_its_reservation_commits_nothing() -> None:
    assert committed_usd(Ledger((make_submission("1"),), (running((1, "training", 3 * HOUR)),)), NOW) == 0


def test_all_attempts_of_a_job_use_up_one_reservation() -> None:
    first = make_record((1, "training", HOUR), attempt="a1", reason="preempted", backend="slurm")
    second = running((1, "training", HOUR), attempt="a2", backend="slurm")
    assert committed_usd(Ledger((make_submission("10", backend="slurm"),), (first, second)), NOW) == 8


def test_own_reservation_and_later_ones_can_be_left_out() -> None:
    ledger = Ledger(tuple(make_submission("10", id=name) for name in ("s1", "s2", "s3")))
    assert committed_usd(ledger, NOW, excluding="s2") == 20
    assert committed_usd(ledger, NOW, excluding="s2", before="s2") == 10


@pytest.mark.parametrize("changes", [{"withdrawn": True}, {"counts": False}, {"submitted_at": minutes_ago(2)}])
def test_nothing_is_committed_for_a_job_that_is_withdrawn_or_not_counted_or_never_began(changes: dict[str, object]) -> None:
    assert committed_usd(Ledger((make_submission(**changes),)), NOW) == 0


@pytest.mark.parametrize("reason", ["completed", "budget", "failed", "preempted", "time_limit", "peer_lost", "cancelled"])
def test_local_job_is_over_with_its_attempt_whatever_the_reason(reason: str) -> None:
    assert not is_open(make_submission(), [make_record(reason=reason)], NOW)


@pytest.mark.parametrize(("reason", "stays_open"), [("preempted", True), ("time_limit", True), ("completed", False), ("failed", False)])
def test_scheduler_starts_a_job_again_after_some_reasons_only(reason: str, stays_open: bool) -> None:
    assert is_open(make_submission(backend="slurm"), [make_record(reason=reason)], NOW) is stays_open


def test_scheduler_does_not_start_a_job_again_whose_attempts_are_used_up() -> None:
    submission = make_submission(backend="slurm", max_attempts=2)
    assert not is_open(submission, [make_record(reason="preempted")] * 2, NOW)


def test_job_whose_supervisor_was_killed_is_over_here_but_not_where_a_scheduler_decides() -> None:
    killed = [make_record(reason=None)]
    assert not is_open(make_submission(), killed, NOW)
    assert is_open(make_submission(backend="slurm"), killed, NOW)


def test_queued_job_is_open_however_long_it_waits() -> None:
    assert is_open(make_submission(backend="kubernetes", submitted_at=minutes_ago(10_000)), [], NOW)


@pytest.mark.parametrize(("seen", "is_alive"), [(True, True), (False, False), (None, False)])
def test_process_decides_where_it_can_be_seen_and_the_heartbeat_elsewhere(seen: bool | None, is_alive: bool) -> None:
    assert supervisor_is_alive(make_record(reason=None), NOW, lambda _: seen) is is_alive


def test_process_of_this_machine_is_seen_until_it_is_gone() -> None:
    process = subprocess.Popen(["sleep", "60"])
    record = make_record(reason=None, boot_id=boot_id(), supervisor_pid=process.pid)
    assert pid_alive_here(record)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert pid_alive_here(record) is False, "a zombie is dead"
    process.wait()
    assert pid_alive_here(record) is False
    assert pid_alive_here(record.model_copy(update={"boot_id": "another"})) is None


def test_ledger_reads_what_was_written_in_order_of_time(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    late, early = make_record(attempt="job-2", started_at=minutes_ago(5)), make_record(attempt="job-10", started_at=minutes_ago(9))
    for record in (late, early):
        write_record(run_dir, record)
    for name in ("20260102", "20260101"):
        write_submission(run_dir, make_submission(id=name))
    ledger = read_ledger(run_dir)
    assert ledger.records == (early, late)
    assert [submission.id for submission in ledger.submissions] == ["20260101", "20260102"]
    assert list(ledger.records_of("s1")) == [early, late]


def test_run_that_has_not_begun_has_an_empty_ledger(tmp_path: Path) -> None:
    assert read_ledger(RunDir(tmp_path / "none")) == Ledger()


def test_attempt_without_a_record_yet_is_passed_over(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.attempt("a1").path.mkdir(parents=True)
    assert read_ledger(run_dir) == Ledger()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"attempt": "a1"}', "\xff"])
def test_damaged_record_is_named_and_nothing_is_counted(tmp_path: Path, content: str) -> None:
    run_dir = RunDir(tmp_path)
    write_record(run_dir, make_record())
    run_dir.attempt("a1").record.write_text(content, encoding="latin-1")
    with pytest.raises(MdiffError, match="attempts/a1/record.json is damaged"):
        read_ledger(run_dir)


def test_damaged_submission_is_named(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    write_submission(run_dir, make_submission())
    run_dir.submission("s1").write_text("{}")
    with pytest.raises(MdiffError, match="submissions/s1.json is damaged"):
        read_ledger(run_dir)


def test_newest_submission_that_was_not_withdrawn_counts() -> None:
    ledger = Ledger((make_submission(id="s1"), make_submission(id="s2"), make_submission(id="s3", withdrawn=True)))
    assert ledger.newest_submission == ledger.submissions[1]


def test_ledger_of_a_copied_run_directory_is_the_same(tmp_path: Path) -> None:
    write_record(RunDir(tmp_path / "here"), make_record((1, "training", HOUR)))
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    assert read_ledger(RunDir(tmp_path / "there")) == read_ledger(RunDir(tmp_path / "here"))
