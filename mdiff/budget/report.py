"""What a run was planned to cost, has cost and will cost: the object that `mdiff budget report` shows.

Its rows add up to its totals to the last digit: every amount is a whole number of nano-dollars, and totals are sums of rows.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import PlainSerializer, field_serializer

from mdiff.budget.accounts import Account, AttemptBill, sort_into_accounts
from mdiff.budget.estimate import StageWork, assumed_speed_text, remaining_work, require_device, speed_text, stages_text, work_usd
from mdiff.budget.ledger import Ledger, committed_usd, is_open
from mdiff.budget.liveness import PidAlive, pid_alive_here
from mdiff.budget.pace import images_standing, measured_images_per_second
from mdiff.budget.record import NANO_DOLLAR
from mdiff.recipe.devices import Device
from mdiff.recipe.flops import training_flops_per_image
from mdiff.recipe.price import Price
from mdiff.recipe.recipe import JobKind, Recipe
from mdiff.recipe.settings import Settings
from mdiff.recipe.site import BackendName, Hardware
from mdiff.recipe.stage import Stage

Amount = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]
"""Dollars, whole nano-dollars; in JSON a number."""


class Spending(Settings):
    """Device time and what it cost."""

    gpu_hours: float = 0.0
    usd: Amount = Decimal(0)


class StageRow(Settings):
    """One stage, from plan to forecast. Amounts are None while the price is unknown."""

    stage: int
    """Counted from 1."""
    name: str
    resolution: int
    mask_ratio: float
    images_planned: int
    images_done: int
    """That are in the newest weights; images that were trained twice are counted once."""
    gpu_hours_planned: float
    """At the assumed speed."""
    gpu_hours_spent: float
    planned_usd: Amount | None
    spent_usd: Amount
    usd_per_million_images: Amount | None
    """Of the images that are done; before there are any, as planned."""
    forecast_usd: Amount | None
    """Spent, and what remains at the measured speed, or at the assumed one where none was measured."""
    share_of_limit: float | None
    """Forecast / limit."""
    measured_flops_per_second: float | None
    """Of one device; None where the speed was not measured."""
    measured_mfu: float | None
    """None also where the device's peak is not known."""


class OtherRow(Settings):
    """Spending that belongs to no stage: before the first one, or by jobs that do not train."""

    label: str
    gpu_hours_spent: float
    spent_usd: Amount


class Total(Settings):
    """Sums of the rows that count against the limit."""

    images_planned: int
    images_done: int
    gpu_hours_planned: float
    gpu_hours_spent: float
    planned_usd: Amount | None
    spent_usd: Amount
    usd_per_million_images: Amount | None
    forecast_usd: Amount | None
    share_of_limit: float | None


class AttemptRow(Settings):
    """One start of a job."""

    attempt: str
    submission: str
    scheduler_job: str
    kind: JobKind
    backend: BackendName
    counts: bool
    started_at: str
    ended: str
    """Reason of the end; "running", or "killed" where the supervisor died without giving one."""
    gpu_hours: float
    usd: Amount


class Report(Settings):
    """All that is known about the money of a run."""

    run: str
    recipe: str
    runs_root: str
    """Absolute."""
    runs_root_is_empty: bool
    limit_usd: Amount
    limit_source: str
    committed_usd: Amount
    """Promised to open jobs, beyond what they have spent."""
    left_usd: Amount
    """Limit - spent - committed."""
    hardware: Hardware
    """What the images that remain are taken to run on."""
    price: Price | None
    speed_note: str
    """How fast the images that remain are taken to be trained, and who says so."""
    stages: tuple[StageRow, ...]
    others: tuple[OtherRow, ...]
    total: Total
    not_counted: tuple[OtherRow, ...]
    """Kinds of job that the budget does not cover, metered beside it."""
    activities: dict[str, Spending]
    """What the counted spending was for."""
    attempts: tuple[AttemptRow, ...]
    """In order of start."""
    account_note: str
    """Who counted the time of jobs that a scheduler ran; "" where none did."""
    open_jobs: tuple[str, ...]
    """Submissions that may still spend."""
    may_lack: bool = False
    """What was spent is a lower bound: pods may have run that nobody saw."""

    @field_serializer("price", when_used="json")
    def _price_with_number(self, price: Price | None) -> dict[str, str | float] | None:
        """Like every other amount; the ledger's own files keep a text."""
        return None if price is None else {**price.model_dump(), "usd_per_gpu_hour": float(price.usd_per_gpu_hour)}

    @property
    def unit(self) -> str:
        """What an hour is billed of."""
        return "process" if self.hardware.device == "cpu" else "GPU"


def budget_report(
    recipe: Recipe,
    ledger: Ledger,
    hardware: Hardware,
    price: Price | None,
    now: datetime,
    runs_root: Path,
    *,
    run: str = "",
    limit_usd: Decimal | None = None,
    pid_alive: PidAlive = pid_alive_here,
) -> Report:
    """
    Args:
        hardware: what the images that remain would run on, at `price`.
        run: its name; the recipe's unless given.
        limit_usd: counts instead of the newest submission's and the recipe's.

    Raises:
        RecipeError: the speed of this kind of device is not known.
    """
    accounts = sort_into_accounts(ledger.records, len(recipe.stages), now, pid_alive)
    limit, limit_source = _limit(recipe, ledger, limit_usd)
    stages = _stage_rows(recipe, ledger, hardware, price, accounts.stages, limit)
    others = _other_rows(accounts.others)
    total = _total(stages, others, limit)
    committed = _nano(committed_usd(ledger, now, pid_alive=pid_alive))
    return Report(
        run=run or recipe.name,
        recipe=recipe.name,
        runs_root=str(runs_root.absolute()),
        runs_root_is_empty=not runs_root.is_dir() or not any(runs_root.iterdir()),
        limit_usd=limit,
        limit_source=limit_source,
        committed_usd=committed,
        left_usd=limit - total.spent_usd - committed,
        hardware=hardware,
        price=price,
        speed_note=_speed_note(require_device(hardware), stages),
        stages=stages,
        others=others,
        total=total,
        not_counted=_other_rows(accounts.not_counted),
        activities={name: Spending(gpu_hours=part.gpu_hours, usd=part.usd) for name, part in sorted(accounts.activities.items())},
        attempts=tuple(_attempt_row(bill) for bill in accounts.bills),
        account_note=_account_note(ledger),
        open_jobs=tuple(job.id for job in ledger.submissions if is_open(job, ledger.records_of(job.id), now, pid_alive=pid_alive)),
        may_lack=ledger.may_lack,
    )


def _limit(recipe: Recipe, ledger: Ledger, limit_usd: Decimal | None) -> tuple[Decimal, str]:
    """The limit that counts, and who set it."""
    if limit_usd is not None:
        return limit_usd, "given for this report"
    newest = ledger.newest_submission
    if newest is not None:
        return newest.job.limit_usd, f"the newest submission, {newest.submitted_at[:10]}"
    return recipe.budget.limit_usd, "[budget] limit_usd of the recipe"


def _stage_rows(
    recipe: Recipe, ledger: Ledger, hardware: Hardware, price: Price | None, spent: Mapping[int, Account], limit: Decimal
) -> tuple[StageRow, ...]:
    numbers = range(1, len(recipe.stages) + 1)
    training = [record for record in ledger.records if record.kind == "train"]
    rates = measured_images_per_second(training, hardware.device)
    speeds = {number: rate * training_flops_per_image(recipe, recipe.stages[number - 1]) for number, rate in rates.items()}
    planned = remaining_work(recipe, hardware, numbers)
    remaining = remaining_work(recipe, hardware, numbers, images_standing(training), rates)
    device = require_device(hardware)
    return tuple(
        _stage_row(stage, plan, rest, spent.get(plan.stage, Account()), price, limit, speeds.get(plan.stage), device)
        for stage, plan, rest in zip(recipe.stages, planned, remaining, strict=True)
    )


def _stage_row(
    stage: Stage, plan: StageWork, rest: StageWork, spent: Account, price: Price | None, limit: Decimal, speed: float | None, device: Device
) -> StageRow:
    planned_usd, rest_usd, done = _usd(plan, price), _usd(rest, price), plan.images - rest.images
    forecast_usd = None if rest_usd is None else spent.usd + rest_usd
    return StageRow(
        stage=plan.stage,
        name=stage.name,
        resolution=stage.resolution,
        mask_ratio=stage.mask_ratio,
        images_planned=plan.images,
        images_done=done,
        gpu_hours_planned=plan.gpu_hours,
        gpu_hours_spent=spent.gpu_hours,
        planned_usd=planned_usd,
        spent_usd=spent.usd,
        usd_per_million_images=_per_million(spent.usd, done) if done else _per_million(planned_usd, plan.images),
        forecast_usd=forecast_usd,
        share_of_limit=_share(forecast_usd, limit),
        measured_flops_per_second=speed,
        measured_mfu=speed / device.peak_flops_per_second if speed and device.peak_flops_per_second else None,
    )


def _total(stages: Sequence[StageRow], others: Sequence[OtherRow], limit: Decimal) -> Total:
    outside = sum((row.spent_usd for row in others), Decimal(0))
    spent = sum((row.spent_usd for row in stages), outside)
    planned, forecast = _sum([row.planned_usd for row in stages]), _sum([row.forecast_usd for row in stages], outside)
    images, done = sum(row.images_planned for row in stages), sum(row.images_done for row in stages)
    return Total(
        images_planned=images,
        images_done=done,
        gpu_hours_planned=sum(row.gpu_hours_planned for row in stages),
        gpu_hours_spent=sum(row.gpu_hours_spent for row in stages) + sum(row.gpu_hours_spent for row in others),
        planned_usd=planned,
        spent_usd=spent,
        usd_per_million_images=_per_million(spent, done) if done else _per_million(planned, images),
        forecast_usd=forecast,
        share_of_limit=_share(forecast, limit),
    )


def _other_rows(accounts: Mapping[str, Account]) -> tuple[OtherRow, ...]:
    return tuple(OtherRow(label=label, gpu_hours_spent=part.gpu_hours, spent_usd=part.usd) for label, part in sorted(accounts.items()))


def _attempt_row(bill: AttemptBill) -> AttemptRow:
    record = bill.record
    return AttemptRow(
        attempt=record.attempt,
        submission=record.submission,
        scheduler_job=record.scheduler_job,
        kind=record.kind,
        backend=record.backend,
        counts=record.counts,
        started_at=record.started_at,
        ended=bill.ended,
        gpu_hours=bill.total.gpu_hours,
        usd=bill.total.usd,
    )


def _account_note(ledger: Ledger) -> str:
    by_scheduler = [record for record in ledger.records if record.backend != "local"]
    if not by_scheduler:
        return ""
    without = [record for record in by_scheduler if record.scheduler_device_seconds is None]
    if not without:
        return "each attempt at the larger of meter and scheduler's account"
    return f"{len(without)} of {len(by_scheduler)} attempts by the meter alone: no account of them from the scheduler (yet)"


def _speed_note(device: Device, stages: Sequence[StageRow]) -> str:
    """ "39.8 % MFU (measured in stage 1); 20 % MFU (assumed in stages 2-4)" """
    measured = {row.stage: row.measured_flops_per_second for row in stages if row.measured_flops_per_second is not None}
    if not measured:
        return f"{assumed_speed_text(device)} (assumed: not yet measured here)"
    note = f"{speed_text(device, *measured.values())} (measured in {stages_text(list(measured))})"
    assumed = [row.stage for row in stages if row.stage not in measured and row.images_done < row.images_planned]
    return f"{note}; {assumed_speed_text(device)} (assumed in {stages_text(assumed)})" if assumed else note


def _usd(work: StageWork, price: Price | None) -> Decimal | None:
    """What needs no work costs nothing at any price."""
    if not work.images:
        return Decimal(0)
    return None if price is None else _nano(work_usd(work, price))


def _per_million(usd: Decimal | None, images: int) -> Decimal | None:
    return None if usd is None else _nano(usd * 10**6 / images)


def _share(usd: Decimal | None, limit: Decimal) -> float | None:
    return None if usd is None else float(usd / limit)


def _sum(amounts: Sequence[Decimal | None], start: Decimal = Decimal(0)) -> Decimal | None:
    """None if one is unknown."""
    known = [usd for usd in amounts if usd is not None]
    return sum(known, start) if len(known) == len(amounts) else None


def _nano(usd: Decimal) -> Decimal:
    return usd.quantize(NANO_DOLLAR)
