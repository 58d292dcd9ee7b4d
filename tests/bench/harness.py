"""Times a piece of work and writes the row down together with what it takes to repeat it."""

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
RESULTS = Path(__file__).parent / "results"


def seconds_of(work: Callable[[], object], warmup: int, repeats: int) -> list[float]:
    for _ in range(warmup):
        work()
    return [_seconds(work) for _ in range(repeats)]


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def record(name: str, row: str, values: list[float], unit: str, warmup: int, **more: Any) -> None:
    """Print one row for people and append it to the results."""
    median, p90 = statistics.median(values), sorted(values)[int(len(values) * 0.9)]
    result = {
        "name": name, "row": row, "median": median, "p90": p90, "min": min(values), "unit": unit, "warmup": warmup, "repeats": len(values),
        "command": f"just bench {name}", **commit(), "date": datetime.now(UTC).isoformat(timespec="seconds"), **machine(), **more,
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(result) + "\n")
    print(f"{name:12} {row:44} {median:12,.4g} {unit:14} (p90 {p90:,.4g}, {len(values)} runs)", flush=True)


def commit() -> dict[str, Any]:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    changed = [line for line in git("status", "--porcelain").splitlines() if "tests/bench/results" not in line]
    return {"commit": git("rev-parse", "--short=12", "HEAD"), "dirty": bool(changed)}


def machine() -> dict[str, Any]:
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {"gpu": gpu, "cpu": models[0] if models else platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
