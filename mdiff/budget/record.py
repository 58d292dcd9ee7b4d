"""The ledger record of one attempt: one small file, one writer, replaced as a whole."""

from decimal import Decimal
from typing import Literal

from pydantic import Field

from mdiff.recipe.price import Price
from mdiff.recipe.recipe import JobKind
from mdiff.recipe.settings import Settings
from mdiff.recipe.site import BackendName, Hardware
from mdiff.units import SECONDS_PER_HOUR

Activity = Literal["startup", "training", "repeated", "checkpoint", "sampling", "shutdown", "working"]
"""`working`: jobs other than training, while they do what they are for."""

EndReason = Literal[
    "completed", "budget", "preempted", "peer_lost", "time_limit", "failed", "cancelled", "no_progress", "attempts_used",
    "refused_budget", "refused_data",
]  # fmt: skip

RESTARTED_REASONS: frozenset[EndReason] = frozenset({"preempted", "peer_lost", "time_limit"})
"""After these a scheduler starts the job again, until its attempts are used up. The local backend starts nothing again."""

NANO_DOLLAR = Decimal("1e-9")


def device_time_usd(device_seconds: float, price: Price) -> Decimal:
    """What device time costs, in whole nano-dollars: however such amounts are grouped, their sums agree to the last digit.

    >>> device_time_usd(8 * 3600.0, Price(usd_per_gpu_hour=Decimal("3.75"), source="contract", basis="flag"))
    Decimal('30.000000000')
    """
    return (Decimal(repr(device_seconds)) * price.usd_per_gpu_hour / SECONDS_PER_HOUR).quantize(NANO_DOLLAR)


class Slice(Settings):
    """Time of one activity in one stage; stage 0 is before any stage has begun."""

    stage: int
    activity: Activity
    device_seconds: float = Field(ge=0)


class AttemptRecord(Settings):
    """What one attempt used, and why it ended. All times are UTC, ISO."""

    attempt: str
    submission: str
    scheduler_job: str
    kind: JobKind
    counts: bool
    backend: BackendName
    hardware: Hardware
    price: Price
    """The price under which the attempt started; a later price does not change it."""
    host: str
    supervisor_pid: int
    boot_id: str
    """`mdiff.budget.liveness.boot_id()` of the supervisor: tells whether the pid can still mean the same process."""
    started_at: str
    heartbeat_at: str
    heartbeat_interval_seconds: float
    slices: tuple[Slice, ...] = ()
    stage_images: dict[str, int] = {}
    """Images of each stage that were done when the attempt last looked, repeated ones counted once."""
    images_seen: int = 0
    """The run's clock: images over all stages at the last report."""
    stage: int = 0
    step: int = 0
    scheduler_device_seconds: float | None = None
    """What the scheduler's own account says. Never in the file: `read_ledger` knows it from `sync/`."""
    scheduler_read_at: str = ""
    """When that was read; UTC, ISO."""
    reason: EndReason | None = None
    """None while the attempt goes on, or when its supervisor was killed."""
    detail: str = ""
    """One line for people, such as the last line of an error."""

    @property
    def device_seconds(self) -> float:
        return sum(part.device_seconds for part in self.slices)

    @property
    def metered_usd(self) -> Decimal:
        return sum((device_time_usd(part.device_seconds, self.price) for part in self.slices), Decimal(0))
