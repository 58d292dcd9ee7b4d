import threading
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdiff.budget.estimate import StageEstimate
from mdiff.budget.ledger import committed_usd, read_ledger, spent_usd
from mdiff.budget.policy import admit, admit_attempt, reserve, restart_usd, withdraw
from mdiff.errors import BudgetExceededError, LaunchError
from mdiff.recipe.job import Submission
from mdiff.run_dir import RunDir
from tests.budget.books import HOUR, NOW, make_record, make_submission, write_record, write_submission

amounts = st.decimals(min_value=0, max_value=10_000, places=4)


def at_now() -> datetime:
    return NOW


def reserve_at_once(run_dir: RunDir, submission: Submission) -> None:
    reserve(run_dir, submission, clock=at_now, sleep=lambda _: None)


def clock_after(event: Callable[[], None]) -> Callable[[], datetime]:
    """Lets `event` happen when `reserve` has looked at the ledger for the first time, before it writes."""
    events = iter([event])

    def clock() -> datetime:
        next(events, lambda: None)()
        return NOW

    return clock


def make_stages(*usd: str) -> list[StageEstimate]:
    return [
        StageEstimate(stage=number, images=1, flops=1, gpu_hours=1.0, measured=False, usd=Decimal(amount))
        for number, amount in enumerate(usd, start=1)
    ]


def test_job_that_uses_the_limit_up_exactly_fits() -> None:
    admission = admit(Decimal("60.01"), Decimal("30"), Decimal("9.99"), Decimal("100"))
    assert admission.left_usd == Decimal("60.01")
    with pytest.raises(BudgetExceededError):
        admit(Decimal("60.010000001"), Decimal("30"), Decimal("9.99"), Decimal("100"))


@given(amounts, amounts, amounts, amounts)
def test_what_is_admitted_stays_within_the_limit(estimate: Decimal, spent: Decimal, committed: Decimal, limit: Decimal) -> None:
    try:
        admit(estimate, spent, committed, limit)
    except BudgetExceededError:
        assert estimate + spent + committed > limit
    else:
        assert estimate + spent + committed <= limit


def test_refusal_says_the_sum_the_shortage_and_every_way_out() -> None:
    with pytest.raises(BudgetExceededError) as refusal:
        admit(Decimal("2080.53"), Decimal(0), Decimal(0), Decimal(1890), stages=make_stages("913.6", "277.8", "693.8", "195.33"))
    assert str(refusal.value) == (
        "does not fit the budget: $2,080.5 estimated + $0.00 spent + $0.00 committed > $1,890.00\n"
        "  short by $190.5. You can: raise [budget] limit_usd; choose a cheaper GPU-hour; submit fewer stages (1-3 cost $1,885.2); "
        'or --over-budget "reason", which is recorded.'
    )
    assert refusal.value.exit_code == 3


def test_fewer_stages_are_suggested_only_if_they_fit() -> None:
    with pytest.raises(BudgetExceededError) as refusal:
        admit(Decimal(200), Decimal(0), Decimal(0), Decimal(90), stages=make_stages("100", "100"))
    assert "fewer stages" not in str(refusal.value)


def test_reservation_is_written_and_commits(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    reserve_at_once(run_dir, make_submission("60"))
    assert committed_usd(read_ledger(run_dir), NOW) == 60


def test_job_that_does_not_fit_beside_the_others_reserves_nothing(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    reserve_at_once(run_dir, make_submission("60", id="s1"))
    with pytest.raises(BudgetExceededError, match=r"\$60.0 estimated \+ \$0.00 spent \+ \$60.0 committed > \$100.00"):
        reserve_at_once(run_dir, make_submission("60", id="s2"))
    assert not run_dir.submission("s2").exists()


def test_withdrawn_reservation_makes_room(tmp_path: Path) -> None:
    run_dir, first = RunDir(tmp_path), make_submission("60", id="s1")
    reserve_at_once(run_dir, first)
    withdraw(run_dir, first)
    reserve_at_once(run_dir, make_submission("60", id="s2"))
    assert committed_usd(read_ledger(run_dir), NOW) == 60


@pytest.mark.parametrize("changes", [{"over_budget_reason": "the deadline"}, {"counts": False}])
def test_reservation_over_budget_for_a_reason_or_outside_the_budget_is_written(tmp_path: Path, changes: dict[str, object]) -> None:
    run_dir = RunDir(tmp_path)
    reserve_at_once(run_dir, make_submission("600", **changes))
    assert read_ledger(run_dir).submissions[0].reservation_usd == 600


def test_limit_of_a_new_submission_counts_for_itself(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    reserve_at_once(run_dir, make_submission("60", id="s1"))
    reserve_at_once(run_dir, make_submission("60", limit="120", id="s2"))
    assert committed_usd(read_ledger(run_dir), NOW) == 120


def test_id_that_is_taken_is_refused_and_the_other_submission_stays(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    reserve_at_once(run_dir, make_submission("60"))
    with pytest.raises(LaunchError, match="s1"):
        reserve_at_once(run_dir, make_submission("1"))
    assert read_ledger(run_dir).submissions[0].reservation_usd == 60


def test_interrupted_reservation_is_withdrawn(tmp_path: Path) -> None:
    run_dir, first = RunDir(tmp_path), make_submission("60", id="s1")

    def clock() -> datetime:
        if run_dir.submission("s1").exists():
            raise KeyboardInterrupt
        return NOW

    with pytest.raises(KeyboardInterrupt):
        reserve(run_dir, first, clock=clock)
    assert read_ledger(run_dir).submissions[0].withdrawn


@pytest.mark.parametrize("round_number", range(10))
def test_of_two_who_submit_at_the_same_moment_exactly_one_gets_what_is_left_for_one(tmp_path: Path, round_number: int) -> None:
    run_dir, start, refused = RunDir(tmp_path), threading.Barrier(2), []

    def submit(name: str) -> None:
        start.wait()
        try:
            reserve(run_dir, make_submission("60", id=name), clock=at_now)
        except BudgetExceededError:
            refused.append(name)

    people = [threading.Thread(target=submit, args=(name,)) for name in ("s1", "s2")]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert len(refused) == 1
    assert committed_usd(read_ledger(run_dir), NOW) == 60


def test_earlier_one_waits_for_the_later_one_to_give_way(tmp_path: Path) -> None:
    run_dir, later = RunDir(tmp_path), make_submission("60", id="s2")
    clock = clock_after(lambda: write_submission(run_dir, later))
    reserve(run_dir, make_submission("60", id="s1"), clock=clock, sleep=lambda _: withdraw(run_dir, later))
    assert [submission.withdrawn for submission in read_ledger(run_dir).submissions] == [False, True]


def test_earlier_one_gives_way_to_a_later_one_that_was_admitted_before_it_was_seen(tmp_path: Path) -> None:
    run_dir, pauses = RunDir(tmp_path), []
    clock = clock_after(lambda: write_submission(run_dir, make_submission("60", id="s2")))
    with pytest.raises(BudgetExceededError):
        reserve(run_dir, make_submission("60", id="s1"), clock=clock, sleep=pauses.append)
    assert [submission.withdrawn for submission in read_ledger(run_dir).submissions] == [True, False]
    assert 1 <= sum(pauses) <= 5


def test_own_reservation_does_not_count_against_the_first_attempt(tmp_path: Path) -> None:
    run_dir, submission = RunDir(tmp_path), make_submission("100")
    reserve_at_once(run_dir, submission)
    write_record(run_dir, make_record(attempt="mine", reason=None))
    assert admit_attempt(run_dir, submission, attempt="mine", clock=at_now).left_usd == 100


def test_first_attempt_is_refused_when_the_money_was_spent_meanwhile(tmp_path: Path) -> None:
    run_dir, submission = RunDir(tmp_path), make_submission("60", id="s2")
    reserve_at_once(run_dir, submission)
    write_record(run_dir, make_record((1, "training", 50 * HOUR), submission="s1"))
    with pytest.raises(BudgetExceededError, match=r"any more: \$60.0 estimated \+ \$50.0 spent .* > \$100.00\n  short by \$10.0"):
        admit_attempt(run_dir, submission, clock=at_now)


def test_job_gives_way_to_earlier_submissions_and_not_to_later_ones(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    first, second = make_submission("60", id="s1"), make_submission("60", id="s2", over_budget_reason="the deadline")
    for submission in (first, second):
        write_submission(run_dir, submission)
    assert admit_attempt(run_dir, first, clock=at_now).fits
    with pytest.raises(BudgetExceededError):
        admit_attempt(run_dir, second.model_copy(update={"over_budget_reason": ""}), clock=at_now)


def test_requeue_needs_room_for_start_up_and_one_checkpoint_only(tmp_path: Path) -> None:
    run_dir, submission = RunDir(tmp_path), make_submission("90", backend="slurm")
    write_submission(run_dir, submission)
    write_record(run_dir, make_record((0, "startup", 180.0), (1, "training", 80 * HOUR), backend="slurm", reason="preempted"))
    admission = admit_attempt(run_dir, submission, clock=at_now)
    assert admission.estimate_usd == Decimal("0.1"), "180 s to start, 60 s unseen, 120 s to save"
    assert admission.spent_usd == Decimal("80.05")


def test_requeue_without_that_room_is_refused(tmp_path: Path) -> None:
    run_dir, submission = RunDir(tmp_path), make_submission("90", backend="slurm")
    write_submission(run_dir, submission)
    write_record(run_dir, make_record((1, "training", 99.99 * HOUR), backend="slurm", reason="preempted"))
    with pytest.raises(BudgetExceededError, match="to start again and save a checkpoint"):
        admit_attempt(run_dir, submission, clock=at_now)


def test_job_beyond_its_reservation_leaves_the_later_ones_what_they_were_promised(tmp_path: Path) -> None:
    run_dir, submission = RunDir(tmp_path), make_submission("50", id="s1", backend="slurm")
    write_submission(run_dir, submission)
    write_submission(run_dir, make_submission("50", id="s2", backend="slurm"))
    write_record(run_dir, make_record((1, "training", 50 * HOUR), backend="slurm", reason="preempted"))
    with pytest.raises(BudgetExceededError):
        admit_attempt(run_dir, submission, clock=at_now)


def test_measured_checkpoint_and_slowest_start_make_the_room_of_a_requeue() -> None:
    attempts = [make_record((0, "startup", seconds)) for seconds in (30.0, 90.0, 60.0)]
    job = make_submission(allowance_seconds=0.0).job
    assert restart_usd(job, attempts, checkpoint_seconds=270.0) == Decimal("0.1")


def test_over_budget_job_may_spend_up_to_its_estimate_and_not_more(tmp_path: Path) -> None:
    run_dir, submission = RunDir(tmp_path), make_submission("200", backend="slurm", over_budget_reason="the deadline")
    reserve_at_once(run_dir, submission)
    for hours, may_start in ((150, True), (201, False)):
        write_record(run_dir, make_record((1, "training", hours * HOUR), backend="slurm", reason="preempted"))
        if may_start:
            assert admit_attempt(run_dir, submission, clock=at_now).spent_usd == hours
        else:
            with pytest.raises(BudgetExceededError):
                admit_attempt(run_dir, submission, clock=at_now)


def test_newest_limit_counts_for_jobs_that_were_submitted_before(tmp_path: Path) -> None:
    run_dir, submission = RunDir(tmp_path), make_submission("90", id="s1")
    write_submission(run_dir, submission)
    write_submission(run_dir, make_submission("1", limit="50", id="s2"))
    with pytest.raises(BudgetExceededError, match=r"\$50.00"):
        admit_attempt(run_dir, submission, clock=at_now)
    assert spent_usd(read_ledger(run_dir), NOW) == 0
