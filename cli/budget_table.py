"""How a budget report looks: on a terminal 80 columns wide, and as CSV."""

import csv
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal

from rich.console import Console
from rich.table import Table

from mdiff.budget.report import Report, StageRow
from mdiff.recipe.devices import device_named
from mdiff.units import count_text, usd_text

WIDTH = 80
BAR_CELLS = 30
MOST_ATTEMPTS = 8

Amounts = Callable[[Decimal | None], str]


def print_csv(report: Report) -> None:
    """One row a stage; unknown amounts are empty."""
    writer = csv.DictWriter(sys.stdout, list(StageRow.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.model_dump(mode="json") for row in report.stages)


def print_report(report: Report, next_step: str) -> None:
    """The answer first, the next command last."""
    console = Console(width=WIDTH, highlight=False, markup=False, soft_wrap=True)
    console.print(_heading(report), style="bold")
    _print_table(console, _stage_table(report))
    console.print()
    _print_lines(console, _bars(report))
    if report.attempts:
        _print_table(console, _activity_table(report))
        _print_table(console, _attempt_table(report))
    console.print()
    _print_lines(console, [*_notes(report), next_step])


def _print_table(console: Console, table: Table) -> None:
    console.print()
    console.print(table, soft_wrap=False)


def _print_lines(console: Console, lines: list[str]) -> None:
    for line in lines:
        console.print(f"  {line}")


def _heading(report: Report) -> str:
    """One line, unless the path is too long for it."""
    money = f"budget {usd_text(report.limit_usd)}"
    place = f"runs root {report.runs_root}{' (empty)' if report.runs_root_is_empty else ''}"
    one_line = f"{money}    {place}"
    if len(report.run) + 2 + len(one_line) <= WIDTH:
        return f"{report.run}{one_line:>{WIDTH - len(report.run)}}"
    return f"{report.run}{money:>{WIDTH - len(report.run)}}\n{place}"


def _table(*headings: str, num_left: int = 1) -> Table:
    """The first `num_left` columns flush left, amounts flush right."""
    table = Table(box=None, padding=(0, 0, 0, 2))
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < num_left else "right", no_wrap=True)
    return table


def _stage_table(report: Report) -> Table:
    headings = ["stage", "images", "done", _hours_heading(report), "planned", "spent", "forecast", "per M\nimages"]
    rows = list(_stage_rows(report))
    if not report.total.images_done:
        headings, rows = _without_done(headings), [_without_done(row) for row in rows]
    table = _table(*headings)
    for row in rows[:-1]:
        table.add_row(*row)
    table.add_row(*rows[-1], style="bold")
    return table


def _without_done(cells: list[str]) -> list[str]:
    return cells[:2] + cells[3:]


def _stage_rows(report: Report) -> Iterator[list[str]]:
    total = report.total
    planned, spent, forecast, each = (
        _amounts(usd) for usd in (total.planned_usd, total.spent_usd, total.forecast_usd, _most_expensive(report))
    )
    for row in report.stages:
        label = f"{row.stage}  {row.resolution:>3} px {100 * row.mask_ratio:3.0f} %"
        money = [planned(row.planned_usd), spent(row.spent_usd) if row.spent_usd else "-", forecast(row.forecast_usd)]
        yield [label, *_work(row.images_planned, row.images_done, row.gpu_hours_planned), *money, each(row.usd_per_million_images)]
    for other in report.others:
        yield [other.label, "", "", "", "-", spent(other.spent_usd), forecast(other.spent_usd), ""]
    money = [planned(total.planned_usd), spent(total.spent_usd), forecast(total.forecast_usd)]
    yield ["total", *_work(total.images_planned, total.images_done, total.gpu_hours_planned), *money, each(total.usd_per_million_images)]


def _work(images: int, done: int, hours: float) -> list[str]:
    return [count_text(images), f"{100 * done / images:.0f} %", _hours_text(hours)]


def _most_expensive(report: Report) -> Decimal | None:
    return max((row.usd_per_million_images for row in report.stages if row.usd_per_million_images is not None), default=None)


def _amounts(largest: Decimal | None) -> Amounts:
    """Writes the amounts of one column, all with as many digits as its largest one needs."""
    size = largest or Decimal(10)
    digits = 1 if size >= 100 else 2 if size >= 1 else 4
    return lambda usd: "unknown" if usd is None else usd_text(usd, digits if usd else 2)


def _hours_heading(report: Report) -> str:
    return "GPU-hours" if report.unit == "GPU" else "process\nhours"


def _hours_text(hours: float) -> str:
    if 0 < hours < 0.001:
        return "<0.001"
    return f"{hours:,.1f}" if hours >= 1 else f"{hours:.3f}"


def _bars(report: Report) -> list[str]:
    """Shares of the limit, as far as they are known."""
    spent = "spent, at least" if report.may_lack else "spent"
    begun = {spent: report.total.spent_usd, "committed": report.committed_usd, "left": report.left_usd}
    shares = {"spent": Decimal(0)} if report.left_usd == report.limit_usd else {name: usd for name, usd in begun.items() if usd}
    if report.total.forecast_usd is not None:
        shares["forecast"] = report.total.forecast_usd
    amounts = _amounts(report.limit_usd)
    width, names = max(len(amounts(usd)) for usd in shares.values()), max(9, *map(len, shares))
    return [
        f"{name:<{names}}  {amounts(usd):>{width}}  {_bar(usd / report.limit_usd)}  {_share_text(usd / report.limit_usd):>5} of the budget"
        for name, usd in shares.items()
    ]


def _bar(share: Decimal) -> str:
    filled = max(0, min(BAR_CELLS, round(share * BAR_CELLS)))
    return "#" * filled + "." * (BAR_CELLS - filled)


def _share_text(share: Decimal) -> str:
    percent = 100 * share
    return f"{percent:.1f} %" if 0 < percent < 10 else f"{percent:.0f} %"


def _activity_table(report: Report) -> Table:
    table = _table("spent on", f"{report.unit}-hours", "spent", "share")
    amounts = _amounts(report.total.spent_usd)
    for name, part in sorted(report.activities.items(), key=lambda item: -item[1].usd):
        share = part.usd / report.total.spent_usd if report.total.spent_usd else Decimal(0)
        table.add_row(name, _hours_text(part.gpu_hours), amounts(part.usd), _share_text(share))
    for other in report.not_counted:
        table.add_row(f"{other.label}, outside the budget", _hours_text(other.gpu_hours_spent), amounts(other.spent_usd), "")
    return table


def _attempt_table(report: Report) -> Table:
    newest = report.attempts[-MOST_ATTEMPTS:]
    table = _table("attempt", "job", "ended", f"{report.unit}-hours", "spent", num_left=3)
    amounts = _amounts(max(row.usd for row in newest))
    if len(newest) < len(report.attempts):
        table.add_row(f"... {len(report.attempts) - len(newest):,} earlier: --json", "", "", "", "")
    for row in newest:
        table.add_row(row.attempt, row.kind, row.ended, _hours_text(row.gpu_hours), amounts(row.usd))
    return table


def _notes(report: Report) -> list[str]:
    """What the figures rest on."""
    notes = [f"budget set by {report.limit_source}", _hardware_text(report), report.speed_note]
    return [*notes, f"billed: {report.account_note}"] if report.account_note else notes


def _hardware_text(report: Report) -> str:
    hardware = report.hardware
    device = device_named(hardware.device)
    name = device.name if device else hardware.device
    devices = f"{hardware.num_devices} x {name}" if name != "cpu" else f"{hardware.num_devices} CPU processes"
    if report.price is None:
        return f"{devices}, price unknown: set [price] in the site file or --usd-per-gpu-hour"
    return f"{devices} at {str(report.price).replace('{unit}', report.unit)}"
