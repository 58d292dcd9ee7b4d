"""Processes that must not outlive the one that started them.

Killing a process group is not enough: torchrun gives each worker a session of its own, and a worker may start more.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PROC = Path("/proc")


def adopt_orphans() -> None:
    """From now on the orphans among our descendants become our children. On systems without this call nothing happens."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Kill this process when its parent dies; for a child right after the fork. On systems without this call nothing happens."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # The parent died between the fork and the call above: no signal will come.
        os._exit(128 + signal.SIGKILL)


def descendants(root: int) -> list[int]:
    """Processes below `root` that are alive, zombies not counted."""
    parents = _parents()
    found: list[int] = []
    frontier = [root]
    while frontier:
        frontier = [pid for pid, parent in parents.items() if parent in frontier]
        found += frontier
    return found


def kill_descendants(root: int, timeout_seconds: float = 10.0) -> list[int]:
    """Kill everything below `root`, also what starts meanwhile; the processes that are still alive after the timeout."""
    deadline = time.monotonic() + timeout_seconds
    while (alive := descendants(root)) and time.monotonic() < deadline:
        for pid in alive:
            _kill(pid)
        time.sleep(0.01)
    return alive


def _parents() -> dict[int, int]:
    """Parent of each process that is alive."""
    rows = (_proc_row(path) for path in PROC.iterdir() if path.name.isdigit()) if (PROC / "self/stat").exists() else _ps_rows()
    return {int(pid): int(parent) for pid, state, parent in filter(None, rows) if state[0] not in "ZX"}


def _proc_row(path: Path) -> tuple[str, str, str] | None:
    try:
        # The command stands in parentheses and may contain spaces and parentheses itself.
        state, parent, *_ = (path / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return path.name, state, parent


def _ps_rows() -> list[tuple[str, str, str] | None]:
    rows = (line.split() for line in _ps("-axo", "pid=,state=,ppid=").splitlines())
    return [(row[0], row[1], row[2]) for row in rows]


def _ps(*arguments: str) -> str:
    return subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False).stdout


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
