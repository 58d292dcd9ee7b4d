"""How the comparison of meter and scheduler looks."""

from collections.abc import Iterator

from mdiff.budget.differences import AttemptComparison, SyncReport
from mdiff.budget.policy import amount_text
from mdiff.units import SECONDS_PER_HOUR

COLUMNS = "  {:<{width}}  {:<12}{:>10}{:>11}{:>10}{:>10}"
LEAST_WIDTH = 18


def sync_lines(report: SyncReport) -> Iterator[str]:
    if not report.attempts:
        yield f"{report.run}: no attempt that a scheduler ran; the meter stands"
        return
    yield f"{report.run}    GPU-hours by meter and by scheduler; the larger is billed"
    yield ""
    width = max(LEAST_WIDTH, *(len(row.attempt) for row in report.attempts))
    yield COLUMNS.format("attempt", "ended", "meter", "scheduler", "billed", "", width=width)
    for row in report.attempts:
        hours = (row.meter_gpu_hours, row.scheduler_gpu_hours, row.billed_gpu_hours)
        yield COLUMNS.format(row.attempt, row.ended or "-", *map(_hours, hours), amount_text(row.billed_usd), width=width)
    total = _hours(sum(row.billed_gpu_hours for row in report.attempts))
    yield COLUMNS.format("total, at least" if report.may_lack else "total", "", "", "", total, amount_text(report.billed_usd), width=width)
    yield ""
    yield from _notes(report)


def _notes(report: SyncReport) -> Iterator[str]:
    differing = [row for row in report.attempts if row.differs]
    yield from (f"  {row.attempt}: {_difference(row)}" for row in differing)
    if not report.has_accounting:
        yield "  The scheduler keeps no account of some jobs (no sacct); for them the meter stands."
    if report.may_lack:
        yield "  Pods may have run that nobody saw and that are forgotten now; the books on the run's volume, by which"
        yield "  its jobs are admitted, have all of them."
    elif report.has_accounting and not differing:
        yield "  Meter and scheduler agree to the second."


def _difference(row: AttemptComparison) -> str:
    seconds = abs((row.scheduler_gpu_hours or 0) - (row.meter_gpu_hours or 0)) * SECONDS_PER_HOUR
    return f"{seconds:,.0f} GPU-seconds: {row.note}"


def _hours(hours: float | None) -> str:
    return "-" if hours is None else f"{hours:,.3f}"
