"""The container that a job runs in, and what of the host it sees."""

from typing import Literal

from pydantic import model_validator

from mdiff.recipe.settings import BadSettingError, Settings


class Container(Settings):
    """`[container]` of a site."""

    runtime: Literal["none", "pyxis", "apptainer"] = "none"
    """How SLURM starts it: pyxis (srun --container-image) or apptainer (apptainer exec --nv). Kubernetes needs none."""
    image: str = ""
    """Kubernetes: what its nodes pull, best with its digest (NAME@sha256:...); pyxis: a .sqsh file or REGISTRY#NAME:TAG; apptainer: a
    .sif file."""
    mounts: tuple[str, ...] = ()
    """SLURM: HOST or HOST:CONTAINER. The runs root and the data sets must be among them, under the same path."""
    workdir: str = ""
    python: str = "python3"
    """Interpreter in the image, with mdiff[train]."""

    @model_validator(mode="after")
    def _runtime_and_image_go_together(self) -> "Container":
        if self.runtime != "none" and not self.image:
            raise BadSettingError("image", '""', f'must name the image that runtime = "{self.runtime}" starts')
        return self
