"""Meter and scheduler side by side: every attempt of which they say different things, and what is billed."""

from datetime import datetime
from decimal import Decimal

from mdiff.budget.ledger import Ledger, billed_times
from mdiff.budget.record import AttemptRecord
from mdiff.budget.report import Amount
from mdiff.recipe.settings import Settings
from mdiff.units import SECONDS_PER_HOUR

AGREE_SECONDS = 1.0
"""Schedulers count whole seconds."""


class AttemptComparison(Settings):
    """One attempt in both accounts."""

    attempt: str
    ended: str
    """The meter's reason of the end; "" where it gave none."""
    meter_gpu_hours: float | None
    """None: the meter never started."""
    scheduler_gpu_hours: float | None
    """None: the scheduler keeps no account."""
    billed_gpu_hours: float
    billed_usd: Amount
    differs: bool
    note: str


class SyncReport(Settings):
    run: str
    has_accounting: bool
    """False: the scheduler keeps no account of some job, and the meter stands for it."""
    attempts: tuple[AttemptComparison, ...]
    """Of jobs that a scheduler ran, in order of start."""
    billed_usd: Amount
    may_lack: bool = False
    """The sum is a lower bound."""


def compare(run: str, ledger: Ledger, now: datetime) -> SyncReport:
    rows = tuple(_compare(record, now) for record in ledger.records if record.backend != "local")
    return SyncReport(
        run=run,
        has_accounting=all(reading.has_accounting for reading in ledger.readings.values()),
        attempts=rows,
        billed_usd=sum((row.billed_usd for row in rows), Decimal(0)),
        may_lack=ledger.may_lack,
    )


def _compare(record: AttemptRecord, now: datetime) -> AttemptComparison:
    times = list(billed_times(record, now))
    metered = record.device_seconds if record.supervisor_pid else None
    told = record.scheduler_device_seconds
    grain = AGREE_SECONDS * record.hardware.num_devices
    return AttemptComparison(
        attempt=record.attempt,
        ended=record.reason or "",
        meter_gpu_hours=None if metered is None else metered / SECONDS_PER_HOUR,
        scheduler_gpu_hours=None if told is None else told / SECONDS_PER_HOUR,
        billed_gpu_hours=sum(time.device_seconds for time in times) / SECONDS_PER_HOUR,
        billed_usd=sum((time.usd for time in times), Decimal(0)),
        differs=told is not None and (metered is None or abs(told - metered) > grain),
        note=_note(record, metered, told, grain),
    )


def _note(record: AttemptRecord, metered: float | None, told: float | None, grain: float) -> str:
    if told is None:
        return "no account at the scheduler; the meter stands"
    if metered is None:
        return record.detail
    if told > metered + grain:
        return "the scheduler's account is larger: start and end that the meter did not see"
    return "the meter's is larger" if metered > told + grain else ""
