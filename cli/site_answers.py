"""What `mdiff site init` was told: by flags, by the user at a terminal, and where nobody can be asked by defaults."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mdiff.errors import UsageError

from .options import parse_usd

if TYPE_CHECKING:
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
    namespace: str
    context: str
    image: str
    queue: str
    yes: bool

    @property
    def may_ask(self) -> bool:
        return not self.yes and sys.stdin.isatty() and sys.stderr.isatty()

    def refuse_those_of_others(self, backend: "BackendName") -> None:
        """
        Raises:
            UsageError: a flag has no meaning for this backend.
        """
        for flag, (value, backends) in self._by_backend.items():
            if value and backend not in backends:
                raise UsageError(f"--{flag}: only with --backend {' or '.join(backends)}")

    @property
    def _by_backend(self) -> dict[str, tuple[object, tuple["BackendName", ...]]]:
        return {
            "partition": (self.partition, ("slurm",)),
            "account": (self.account, ("slurm",)),
            "nodes": (self.nodes > 1, ("slurm", "kubernetes")),
            "namespace": (self.namespace, ("kubernetes",)),
            "context": (self.context, ("kubernetes",)),
            "image": (self.image, ("kubernetes",)),
            "queue": (self.queue, ("kubernetes",)),
        }


def ask_price(flags: Flags, unit: str, today: str) -> "Price":
    from mdiff.recipe.price import Price

    usd = flags.usd_per_gpu_hour
    if usd is None:
        if not flags.may_ask:
            raise UsageError("--usd-per-gpu-hour: say what an hour costs, for an unknown price is never $0")
        usd = typer.prompt(f"Dollars per {unit}-hour", value_proc=parse_usd, err=True)
    source = flags.price_source or ask("Source of this price", UNNAMED_SOURCE, flags)
    return Price(usd_per_gpu_hour=usd, source=source, read_on=today)


def ask_runs_dir(flags: Flags) -> str:
    from mdiff.launch.place import RUNS_VARIABLE

    usual = os.environ.get(RUNS_VARIABLE) or "~/runs"
    folder = str(flags.runs_dir or ask("Folder of all runs", str(Path(usual).expanduser()), flags))
    return str(Path(folder).expanduser().absolute())


def choose(what: str, options: Sequence[str], default: str, flags: Flags) -> str:
    """One of several; a single one is not asked for."""
    if len(options) < 2:
        return default

    def one_of(text: str) -> str:
        if text not in options:
            raise typer.BadParameter(f"{text} must be one of {', '.join(options)}")
        return text

    return typer.prompt(what, default=default, value_proc=one_of, err=True) if flags.may_ask else default


def ask(what: str, default: str, flags: Flags) -> str:
    return typer.prompt(what, default=default, err=True) if flags.may_ask else default


def tell(line: str) -> None:
    typer.echo(line, err=True)
