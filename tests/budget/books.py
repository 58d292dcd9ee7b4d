"""Records, submissions and their files, as supervisors and `mdiff submit` write them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from mdiff.budget.record import AttemptRecord, Slice
from mdiff.recipe.job import JobSpec, Submission
from mdiff.recipe.load import load_recipe, to_toml
from mdiff.recipe.price import Price
from mdiff.recipe.site import Hardware
from mdiff.run_dir import RunDir, replace_file

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ONE_DOLLAR = Price(usd_per_gpu_hour=Decimal(1), source="contract", read_on="2026-11-20")
ONE_GPU = Hardware(devices_per_node=1)
HOUR = 3600.0


def minutes_ago(minutes: float) -> str:
    return (NOW - timedelta(minutes=minutes)).isoformat()


def make_record(*times: tuple[int, str, float], **changes: Any) -> AttemptRecord:
    """An attempt on one GPU at a dollar an hour that ended an hour ago; `times`: stage, activity, device-seconds."""
    fields: dict[str, Any] = {
        "attempt": "a1", "submission": "s1", "scheduler_job": "17", "kind": "train", "counts": True, "backend": "local",
        "hardware": ONE_GPU, "price": ONE_DOLLAR, "host": "elsewhere", "supervisor_pid": 4242, "boot_id": "of another machine",
        "started_at": minutes_ago(120), "heartbeat_at": minutes_ago(60), "heartbeat_interval_seconds": 36.0, "reason": "completed",
    }  # fmt: skip
    slices = tuple(Slice(stage=stage, activity=activity, device_seconds=seconds) for stage, activity, seconds in times)
    return AttemptRecord(**{**fields, "slices": slices, **changes})


def make_submission(reservation: str = "10", limit: str = "100", **changes: Any) -> Submission:
    """A submission of one second ago; job settings and its own may both be changed."""
    job: dict[str, Any] = {
        "kind": "train", "run": "shapes", "run_dir": "/runs/shapes", "stages": (1, 4), "argv": ("true",), "backend": "local",
        "hardware": ONE_GPU, "price": ONE_DOLLAR, "limit_usd": Decimal(limit),
    }  # fmt: skip
    job |= {key: changes.pop(key) for key in list(changes) if key in JobSpec.model_fields}
    own: dict[str, Any] = {"id": "s1", "submitted_at": minutes_ago(1 / 60), "recipe_toml": "", "reservation_usd": Decimal(reservation)}
    return Submission(**{**own, "job": JobSpec(**job), **changes})


def write_submission(run_dir: RunDir, submission: Submission) -> None:
    replace_file(run_dir.submission(submission.id), submission.model_dump_json())


def write_record(run_dir: RunDir, record: AttemptRecord) -> None:
    replace_file(run_dir.attempt(record.attempt).record, record.model_dump_json())


def write_recipe(run_dir: RunDir, name: str = "shapes") -> None:
    replace_file(run_dir.recipe, to_toml(load_recipe(name)))
