"""Every billed second of a run, sorted into accounts: by stage, by what else it was for, by activity, by attempt."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from mdiff.budget.ledger import BilledTime, billed_times
from mdiff.budget.liveness import PidAlive, supervisor_is_alive
from mdiff.budget.record import AttemptRecord
from mdiff.units import SECONDS_PER_HOUR

BEFORE_A_STAGE = "before a stage"


@dataclass
class Account:
    device_seconds: float = 0.0
    usd: Decimal = Decimal(0)

    def add(self, time: BilledTime) -> None:
        self.device_seconds += time.device_seconds
        self.usd += time.usd

    @property
    def gpu_hours(self) -> float:
        return self.device_seconds / SECONDS_PER_HOUR


def _named_accounts() -> dict[str, Account]:
    return defaultdict(Account)


@dataclass
class Accounts:
    """Those of one run. Whatever counts against the limit stands in `stages` or in `others`, and once more in `activities`."""

    stages: dict[int, Account] = field(default_factory=lambda: defaultdict(Account))
    others: dict[str, Account] = field(default_factory=_named_accounts)
    """Spending that belongs to no stage."""
    activities: dict[str, Account] = field(default_factory=_named_accounts)
    not_counted: dict[str, Account] = field(default_factory=_named_accounts)
    """By kind of job."""
    bills: list["AttemptBill"] = field(default_factory=list)
    """In the order of the records."""


@dataclass(frozen=True)
class AttemptBill:
    record: AttemptRecord
    total: Account
    ended: str
    """Reason of the end; "running", or "killed" where the supervisor died without giving one."""


def sort_into_accounts(records: Iterable[AttemptRecord], num_stages: int, now: datetime, pid_alive: PidAlive) -> Accounts:
    accounts = Accounts()
    for record in records:
        total = Account()
        for time in billed_times(record, now, pid_alive=pid_alive):
            total.add(time)
            _account_of(accounts, record, time, num_stages).add(time)
            if record.counts:
                accounts.activities[time.activity].add(time)
        going = "running" if supervisor_is_alive(record, now, pid_alive) else "killed"
        accounts.bills.append(AttemptBill(record, total, record.reason or going))
    return accounts


def _account_of(accounts: Accounts, record: AttemptRecord, time: BilledTime, num_stages: int) -> Account:
    if not record.counts:
        return accounts.not_counted[record.kind]
    if record.kind != "train":
        return accounts.others[record.kind]
    return accounts.stages[time.stage] if 1 <= time.stage <= num_stages else accounts.others[BEFORE_A_STAGE]
