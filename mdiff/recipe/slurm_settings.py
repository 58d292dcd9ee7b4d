"""`[slurm]` of a site: what sbatch and srun are told. Names are sbatch's own (https://slurm.schedmd.com/sbatch.html)."""

from pydantic import Field, model_validator

from mdiff.recipe.settings import BadSettingError, Settings

OURS = frozenset({
    "chdir", "cpus-per-task", "dependency", "error", "exclusive", "gpus-per-node", "job-name", "kill-on-invalid-dep", "mem", "nodes",
    "ntasks-per-node", "open-mode", "output", "requeue", "signal", "time", "wckey",
    "account", "partition", "qos", "constraint", "reservation", "gres",
})  # fmt: skip
"""Options that have a setting of their own, or that a job could not live without."""


class SlurmSettings(Settings):
    """Empty texts leave the choice to the cluster."""

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    reservation: str = ""
    gres: str = ""
    """Instead of --gpus-per-node, where GPUs have types: "gpu:h100:8"."""
    time_limit_hours: float | None = Field(default=None, gt=0)
    """Of one attempt. Without it: as long as the job may take, at most the partition's MaxTime."""
    cpus_per_task: int | None = Field(default=None, ge=1)
    """Of the one task of each node. Without it: all that the partition's nodes have."""
    whole_nodes: bool = True
    """--exclusive --mem=0."""
    python: str = ""
    """Interpreter on the compute nodes, with mdiff[train]; without it, the one that runs the command line. Not used in a container."""
    setup: tuple[str, ...] = ()
    """Shell lines before srun: modules, conda."""
    sbatch: dict[str, str | int | bool] = {}
    """Any other option of sbatch, without its dashes; true for a flag."""
    srun: tuple[str, ...] = ()
    """Further arguments of srun."""

    @model_validator(mode="after")
    def _options_are_not_ours(self) -> "SlurmSettings":
        for name in self.sbatch:
            if name in OURS:
                raise BadSettingError(f"sbatch.{name}", self.sbatch[name], "has a setting of its own, or is set by mdiff; remove it here")
        return self
