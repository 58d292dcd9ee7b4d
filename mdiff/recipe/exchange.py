"""What a job and its supervisor tell each other through the files of the attempt's folder."""

from typing import Literal

from mdiff.recipe.settings import Settings

ATTEMPT_VARIABLE = "MDIFF_ATTEMPT"
"""Environment variable of the job: absolute path of its attempt's folder."""

DATASETS_VARIABLE = "MDIFF_DATASETS"
"""Environment variable of the job: JSON object, name of a data set -> its folder."""

JobActivity = Literal["startup", "training", "checkpoint", "sampling", "shutdown"]


class StopRequest(Settings):
    """`stop.json`: asks the job to save its work and leave."""

    reason: Literal["budget", "time_limit", "preempted", "cancelled"]
    requested_at: str
    requested_by: str = ""


class Progress(Settings):
    """`progress.json`: where training stands, about once a second, and at each change of activity at once."""

    stage: int
    """Counted from 1."""
    step: int
    """Optimizer steps of this stage that are done."""
    steps: int
    """Of the whole stage."""
    stage_images: int
    images_seen: int
    activity: JobActivity
    loss: float | None = None
    images_per_second: float | None = None
    """Over all processes, measured over the last logged steps, without checkpoints and sampling."""
    flops_per_second: float | None = None
    """Of one device."""
    mfu: float | None = None
    """None where the device's peak is not known."""
    newest_checkpoint: str = ""
    newest_checkpoint_at: str = ""
    newest_samples: str = ""
    """Path relative to the run directory."""
    checkpoint_seconds: float | None = None
    """Of the last checkpoint."""
    updated_at: str


class Outcome(Settings):
    """`outcome.json`: how the job itself saw its end."""

    reason: Literal["completed", "stopped", "failed", "refused_data"]
    checkpoint: str = ""
    """The newest one."""
    detail: str = ""
    """One line: the error, where there was one."""
