"""Whether a job fits into what is left of the budget: before it is submitted, and again where it starts.

Nothing is locked. A submission writes its reservation first and then counts again: of two at the same moment at least one sees the other.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import accumulate

from mdiff.budget.estimate import StageEstimate
from mdiff.budget.ledger import Ledger, billed_usd, committed_usd, read_ledger, spent_usd
from mdiff.budget.record import AttemptRecord, device_time_usd
from mdiff.errors import BudgetExceededError, LaunchError
from mdiff.recipe.job import JobSpec, Submission
from mdiff.run_dir import RunDir, create_file, replace_file
from mdiff.units import usd_text, utc_now

CHECKPOINT_SECONDS = 120.0
"""Assumed for a checkpoint before one has been measured."""

RECOUNTS = 10
RECOUNT_PAUSE_SECONDS = 0.2


@dataclass(frozen=True)
class Admission:
    """The sum that decides whether a job may start."""

    estimate_usd: Decimal
    spent_usd: Decimal
    committed_usd: Decimal
    """Promised to other jobs that are still open."""
    limit_usd: Decimal

    @property
    def left_usd(self) -> Decimal:
        return self.limit_usd - self.spent_usd - self.committed_usd

    @property
    def short_usd(self) -> Decimal:
        return self.estimate_usd - self.left_usd

    @property
    def fits(self) -> bool:
        return self.short_usd <= 0


def admit(estimate_usd: Decimal, spent: Decimal, committed: Decimal, limit: Decimal, *, stages: Sequence[StageEstimate] = ()) -> Admission:
    """What exactly uses up the limit still fits.

    Args:
        stages: what the estimate consists of; then a refusal can say how many of them would fit.

    Raises:
        BudgetExceededError: it does not fit; says by how much, and what can be done.
    """
    return _require_room(Admission(estimate_usd, spent, committed, limit), stages)


def _require_room(admission: Admission, stages: Sequence[StageEstimate]) -> Admission:
    if admission.fits:
        return admission
    ways = ["raise [budget] limit_usd", "choose a cheaper GPU-hour", *_fewer_stages(stages, admission.left_usd)]
    raise BudgetExceededError(
        f"does not fit the budget: {_sum_text(admission, 'estimated')}\n"
        f'  short by {amount_text(admission.short_usd)}. You can: {"; ".join(ways)}; or --over-budget "reason", which is recorded.'
    )


def _sum_text(admission: Admission, what: str) -> str:
    amounts = f"{amount_text(admission.estimate_usd)} {what} + {amount_text(admission.spent_usd)} spent"
    return f"{amounts} + {amount_text(admission.committed_usd)} committed > {usd_text(admission.limit_usd)}"


def _fewer_stages(stages: Sequence[StageEstimate], left_usd: Decimal) -> list[str]:
    """The most stages from the first on that still fit, as a suggestion; none if not even one does."""
    fitting = [total for total in accumulate(stage.usd for stage in stages) if total <= left_usd]
    if not fitting:
        return []
    first, last = stages[0].stage, stages[len(fitting) - 1].stage
    which = f"{first} costs" if first == last else f"{first}-{last} cost"
    return [f"submit fewer stages ({which} {amount_text(fitting[-1])})"]


def amount_text(usd: Decimal) -> str:
    """Cents only where they matter.

    >>> amount_text(Decimal("1733.75")), amount_text(Decimal("3.75")), amount_text(Decimal(0))
    ('$1,733.8', '$3.75', '$0.00')
    """
    return usd_text(usd, 1 if abs(usd) >= 10 else 2)


def reserve(
    run_dir: RunDir,
    submission: Submission,
    *,
    stages: Sequence[StageEstimate] = (),
    clock: Callable[[], datetime] = utc_now,
    sleep: Callable[[float], None] = time.sleep,
) -> Admission:
    """Write the submission's file, if it fits; what does not count, or is over budget for a reason, is written in any case.

    Raises:
        BudgetExceededError: it does not fit; nothing was reserved.
        LaunchError: the id is taken.
    """
    must_fit = submission.counts and not submission.over_budget_reason
    if must_fit:
        _require_room(_admission(submission, read_ledger(run_dir), clock()), stages)
    if not create_file(run_dir.submission(submission.id), submission.model_dump_json(indent=2)):
        raise LaunchError(f"submission {submission.id} exists already in {run_dir.submissions}; submit again")
    if not must_fit:
        return _admission(submission, read_ledger(run_dir), clock())
    try:
        return _settle(run_dir, submission, stages, clock, sleep)
    except BaseException:
        withdraw(run_dir, submission)
        raise


def _settle(
    run_dir: RunDir, submission: Submission, stages: Sequence[StageEstimate], clock: Callable[[], datetime], sleep: Callable[[float], None]
) -> Admission:
    """The sum after everybody who submitted at the same moment has seen the others.

    The earlier id has precedence: the later one gives way at once, and the earlier one waits for that. One that does not give way was
    admitted before our file was there.
    """
    for _ in range(RECOUNTS):
        ledger = read_ledger(run_dir)
        _require_room(_admission(submission, ledger, clock(), before=submission.id), stages)
        admission = _admission(submission, ledger, clock())
        if admission.fits:
            break
        sleep(RECOUNT_PAUSE_SECONDS)
    return _require_room(admission, stages)


def _admission(submission: Submission, ledger: Ledger, now: datetime, *, before: str = "") -> Admission:
    committed = committed_usd(ledger, now, excluding=submission.id, before=before)
    return Admission(submission.reservation_usd, spent_usd(ledger, now), committed, limit_in_force(submission, ledger))


def limit_in_force(submission: Submission, ledger: Ledger) -> Decimal:
    """The newest submission's limit counts, and that may be this one."""
    newest = ledger.newest_submission
    return newest.job.limit_usd if newest and newest.id > submission.id else submission.job.limit_usd


def withdraw(run_dir: RunDir, submission: Submission) -> None:
    """Nothing will run: neither its reservation nor its limit counts any longer."""
    replace_file(run_dir.submission(submission.id), submission.model_copy(update={"withdrawn": True}).model_dump_json(indent=2))


def admit_attempt(
    run_dir: RunDir,
    submission: Submission,
    *,
    attempt: str = "",
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    clock: Callable[[], datetime] = utc_now,
) -> Admission:
    """The check where the job really runs. The first attempt needs its reservation, a later one only room to start and to save its work.

    Within its own reservation a job gives way to earlier submissions only: later ones were admitted beside it.

    Args:
        attempt: this attempt; what its record says already is part of what it needs.
        checkpoint_seconds: how long a checkpoint of this job takes, where that has been measured.

    Raises:
        BudgetExceededError: there is no room; the attempt must not start.
    """
    ledger, now = _without(attempt, read_ledger(run_dir)), clock()
    attempts = ledger.records_of(submission.id)
    need = restart_usd(submission.job, attempts, checkpoint_seconds) if attempts else submission.reservation_usd
    is_within = need + sum((billed_usd(record, now) for record in attempts), Decimal(0)) <= submission.reservation_usd
    committed = committed_usd(ledger, now, excluding=submission.id, before=submission.id if is_within else "")
    admission = Admission(need, spent_usd(ledger, now), committed, limit_in_force(submission, ledger))
    if admission.fits or not submission.counts or (submission.over_budget_reason and is_within):
        return admission
    what = "to start again and save a checkpoint" if attempts else "estimated"
    raise BudgetExceededError(
        f"does not fit the budget any more: {_sum_text(admission, what)}\n"
        f"  short by {amount_text(admission.short_usd)}. To go on: raise [budget] limit_usd and submit what is left."
    )


def _without(attempt: str, ledger: Ledger) -> Ledger:
    return Ledger(ledger.submissions, tuple(record for record in ledger.records if record.attempt != attempt))


def restart_usd(job: JobSpec, attempts: Sequence[AttemptRecord], checkpoint_seconds: float = CHECKPOINT_SECONDS) -> Decimal:
    """What it costs to start once more, as long as the slowest start so far took, and to save one checkpoint."""
    unseen_seconds = (job.allowance_seconds + checkpoint_seconds) * job.hardware.num_devices
    return device_time_usd(unseen_seconds + max(map(_startup_seconds, attempts), default=0.0), job.price)


def _startup_seconds(record: AttemptRecord) -> float:
    return sum(part.device_seconds for part in record.slices if part.activity == "startup")
