"""Whether the supervisor that writes a record is still there. Wall clocks are used for this alone, never for amounts."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from mdiff.budget.record import AttemptRecord

MISSED_HEARTBEATS = 4
"""A supervisor that cannot be seen and has been silent for so many intervals is taken for dead."""

PidAlive = Callable[[AttemptRecord], bool | None]
"""Whether the process that writes a record lives; None where that cannot be seen, as from another machine."""


def supervisor_is_alive(record: AttemptRecord, now: datetime, pid_alive: PidAlive) -> bool:
    """By its process where that can be seen: on a full disk even a living one has an old heartbeat."""
    if record.reason is not None:
        return False
    seen = pid_alive(record)
    if seen is not None:
        return seen
    silence = now - datetime.fromisoformat(record.heartbeat_at)
    return silence.total_seconds() <= MISSED_HEARTBEATS * record.heartbeat_interval_seconds


def pid_alive_here(record: AttemptRecord) -> bool | None:
    """Asks this machine's process table, if the record was written under it. A zombie is dead."""
    if not record.boot_id or record.boot_id != boot_id():
        return None
    try:
        state = Path(f"/proc/{record.supervisor_pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def boot_id() -> str:
    """Names this machine's process table: its kernel's boot and the pid namespace. Empty where Linux does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # Containers share the boot but not the pids.
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
