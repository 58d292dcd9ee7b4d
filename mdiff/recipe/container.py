"""The container that a job runs in, and what of the host it sees."""

from typing import Literal

from pydantic import model_validator

from mdiff.recipe.settings import BadSettingError, Settings


class Container(Settings):
    """`[container]` of a site."""

    runtime: Literal["none", "pyxis", "apptainer"] = "none"
    """How SLURM starts it: pyxis (srun --container-image) or apptainer (apptainer exec --nv)."""
    image: str = ""
    """pyxis: a .sqsh file or REGISTRY#NAME:TAG; apptainer: a .sif file."""
    mounts: tuple[str, ...] = ()
    """HOST or HOST:CONTAINER. The runs root and the data sets must be among them, under the same path."""
    workdir: str = ""
    python: str = "python3"
    """Interpreter in the image, with mdiff[train]."""

    @model_validator(mode="after")
    def _runtime_and_image_go_together(self) -> "Container":
        if self.runtime != "none" and not self.image:
            raise BadSettingError("image", '""', f'must name the image that runtime = "{self.runtime}" starts')
        if self.runtime == "none" and self.image:
            raise BadSettingError("runtime", '"none"', 'must be "pyxis" or "apptainer" when an image is named')
        return self
