"""A site: the place where jobs run, and what an hour there costs."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from mdiff.errors import RecipeError
from mdiff.recipe.container import Container
from mdiff.recipe.kubernetes_settings import KubernetesSettings
from mdiff.recipe.load import parse_settings
from mdiff.recipe.price import PAPER_PRICE, Price
from mdiff.recipe.settings import BadSettingError, Settings
from mdiff.recipe.slurm_settings import SlurmSettings

BackendName = Literal["local", "slurm", "kubernetes"]


class Hardware(Settings):
    """What one job gets."""

    device: str = "H100"
    """A name that the driver uses, such as H100; "cpu" on a machine without GPUs."""
    nodes: int = Field(default=1, ge=1)
    devices_per_node: int = Field(default=8, ge=1)
    """GPUs of a node; without GPUs, processes."""

    @property
    def num_devices(self) -> int:
        return self.nodes * self.devices_per_node


class Site(Settings):
    """One place. `price` has no default in a file: an unknown price is an error, never 0."""

    name: str = "site"
    backend: BackendName = "slurm"
    hardware: Hardware = Hardware()
    price: Price | None = None
    runs_dir: str = ""
    """Where run directories lie, as the job sees it. --runs-dir and MDIFF_RUNS come first; empty: ./runs. Jobs on Kubernetes write into
    kubernetes.runs_mount, and what their cluster tells of them is kept here."""
    datasets: dict[str, str] = {}
    """Folder of each data set; one that is not named lies in ./data/<name>."""
    environment: dict[str, str] = {}
    """Variables of the job."""
    container: Container = Container()
    slurm: SlurmSettings = SlurmSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    grace_seconds: float = Field(default=120.0, gt=0)
    """How long a job that was asked to stop may take for its checkpoint."""
    max_attempts: int = Field(default=100, ge=1)
    """Starts of one job, requeues included. Two attempts in a row without a newer checkpoint end it before."""
    allowance_seconds: float = Field(default=60.0, ge=0)
    """Billed time of each job that the meter cannot see: allocation, image pull, the scheduler's own end."""

    @model_validator(mode="after")
    def _price_has_a_date(self) -> "Site":
        if self.price is not None and self.price.basis == "site" and not self.price.read_on:
            raise BadSettingError("price.read_on", "", "must be the date on which the price was read, such as 2026-11-20")
        return self

    @model_validator(mode="after")
    def _image_has_a_runtime(self) -> "Site":
        container = self.container
        if self.backend == "kubernetes" and container.runtime != "none":
            raise BadSettingError("container.runtime", f'"{container.runtime}"', "is SLURM's; remove it: Kubernetes needs none")
        if self.backend != "kubernetes" and container.runtime == "none" and container.image:
            raise BadSettingError("container.runtime", '"none"', 'must be "pyxis" or "apptainer" when an image is named')
        return self

    @model_validator(mode="after")
    def _least_nodes_are_not_more_than_all(self) -> "Site":
        least, most = self.kubernetes.least_nodes, self.hardware.nodes
        if self.backend == "kubernetes" and least is not None and least > most:
            raise BadSettingError("kubernetes.least_nodes", least, f"must not be more than hardware.nodes = {most}")
        return self

    def dataset_folder(self, name: str) -> Path:
        mount = self.kubernetes.data_mount if self.backend == "kubernetes" else "data"
        folder = self.datasets.get(name, f"{mount}/{name}")
        return Path(folder).expanduser().absolute()


def built_in_site(backend: BackendName) -> Site:
    """The site that applies when there is no file: one node of 8 H100 at the paper's price."""
    return Site(name="built-in", backend=backend, price=PAPER_PRICE)


def user_site_file(environment: dict[str, str] | None = None) -> Path:
    """Where the user's site file is looked for (XDG base directories)."""
    variables = os.environ if environment is None else environment
    base = variables.get("XDG_CONFIG_HOME") or str(Path(variables.get("HOME", "~")) / ".config")
    return Path(base).expanduser() / "mdiff" / "site.toml"


def load_site(path: Path) -> Site:
    """
    Raises:
        RecipeError: the file cannot be read, or is wrong.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise RecipeError("--site", f"cannot read {path}: {error.strerror}") from error
    return parse_settings(Site, text, str(path))
