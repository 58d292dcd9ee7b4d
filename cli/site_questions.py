"""What `mdiff site init` asks the user, and what it takes where nobody can be asked."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mdiff.errors import LaunchError, UsageError

from .options import parse_usd

if TYPE_CHECKING:
    from mdiff.launch.site_file import NewSite
    from mdiff.launch.slurm.survey import Survey
    from mdiff.recipe.price import Price
    from mdiff.recipe.site import BackendName

UNNAMED_SOURCE = "given to mdiff site init"


@dataclass(frozen=True, kw_only=True)
class Flags:
    """The command line of `mdiff site init`; empty where nothing was said."""

    partition: str
    account: str
    device: str
    usd_per_gpu_hour: Decimal | None
    price_source: str
    runs_dir: Path | None
    nodes: int
    yes: bool

    @property
    def may_ask(self) -> bool:
        return not self.yes and sys.stdin.isatty() and sys.stderr.isatty()


def make_site(backend: "BackendName | None", flags: Flags, today: str) -> "NewSite":
    """
    Raises:
        LaunchError: the cluster does not answer, or jobs cannot be sent to this backend.
        UsageError: a flag does not fit, or there is no price.
    """
    if backend == "slurm":
        return _slurm(flags, today)
    if backend == "local":
        return _local(flags, today)
    raise LaunchError(f"not built yet: jobs on {backend}; this version runs them on SLURM and on this machine (--backend slurm, local)")


def _slurm(flags: Flags, today: str) -> "NewSite":
    from mdiff.launch.site_file import NewSite, device_of, gres_of, partition_text
    from mdiff.launch.slurm.survey import gpu_types, main_kind, survey_cluster
    from mdiff.recipe.site import Hardware, Site
    from mdiff.recipe.slurm_settings import SlurmSettings

    survey = survey_cluster()
    for each in survey.partitions:
        _tell(partition_text(each))
    partition = survey.partition(flags.partition or _choose("Partition", survey.partition_names, survey.partition_names[0], flags))
    kind = main_kind(partition)
    device = device_of(kind.gpu_type)
    if not gpu_types(partition) and not flags.device:
        _tell(f"The cluster does not say which GPUs these are; without --device they are taken for {device}.")
        device = _ask("Device", device, flags)
    site = Site(
        name=survey.cluster or "slurm",
        backend="slurm",
        hardware=Hardware(device=device_of(flags.device or device), nodes=flags.nodes, devices_per_node=kind.gpus),
        price=_price(flags, "GPU", today),
        runs_dir=_runs_dir(flags),
        slurm=SlurmSettings(partition=partition.name, account=flags.account or _account(survey, flags), gres=gres_of(partition)),
    )
    return NewSite(site=site, written_on=today, partition=partition, accounts=survey.accounts, runtimes=survey.runtimes)


def _local(flags: Flags, today: str) -> "NewSite":
    from mdiff.launch.place import this_machine, visible_gpus
    from mdiff.launch.site_file import NewSite

    for flag, value in (
        ("--partition", flags.partition),
        ("--account", flags.account),
        ("--nodes", flags.nodes if flags.nodes > 1 else ""),
    ):
        if value:
            raise UsageError(f"{flag}: only with --backend slurm")
    here = this_machine(visible_gpus())
    hardware = here.hardware.model_copy(update={"device": flags.device or here.hardware.device})
    # Without GPUs no bill will come, and the example price serves.
    price = (
        here.price
        if here.price and flags.usd_per_gpu_hour is None
        else _price(flags, "GPU" if hardware.device != "cpu" else "process", today)
    )
    site = here.model_copy(update={"hardware": hardware, "price": price, "runs_dir": _runs_dir(flags)})
    return NewSite(site=site, written_on=today)


def _account(survey: "Survey", flags: Flags) -> str:
    """The only one needs no name; of several, nobody can choose but the user."""
    if len(survey.accounts) < 2:
        return ""
    return _choose("Account", survey.accounts, survey.accounts[0], flags) if flags.may_ask else ""


def _price(flags: Flags, unit: str, today: str) -> "Price":
    from mdiff.recipe.price import Price

    usd = flags.usd_per_gpu_hour
    if usd is None:
        if not flags.may_ask:
            raise UsageError("--usd-per-gpu-hour: say what an hour costs, for an unknown price is never $0")
        usd = typer.prompt(f"Dollars per {unit}-hour", value_proc=parse_usd, err=True)
    source = flags.price_source or _ask("Source of this price", UNNAMED_SOURCE, flags)
    return Price(usd_per_gpu_hour=usd, source=source, read_on=today)


def _runs_dir(flags: Flags) -> str:
    from mdiff.launch.place import RUNS_VARIABLE

    usual = os.environ.get(RUNS_VARIABLE) or "~/runs"
    folder = str(flags.runs_dir or _ask("Folder of all runs", str(Path(usual).expanduser()), flags))
    return str(Path(folder).expanduser().absolute())


def _choose(what: str, options: Sequence[str], default: str, flags: Flags) -> str:
    """One of several; a single one is not asked for."""
    if len(options) < 2:
        return default

    def one_of(text: str) -> str:
        if text not in options:
            raise typer.BadParameter(f"{text} must be one of {', '.join(options)}")
        return text

    return typer.prompt(what, default=default, value_proc=one_of, err=True) if flags.may_ask else default


def _ask(what: str, default: str, flags: Flags) -> str:
    return typer.prompt(what, default=default, err=True) if flags.may_ask else default


def _tell(line: str) -> None:
    typer.echo(line, err=True)
