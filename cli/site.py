"""`mdiff site`: where jobs run, and what an hour there costs."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from mdiff.errors import UsageError

from .options import BACKENDS, JsonOption, SiteOption, complete_backend, named_backend, parse_usd

app = typer.Typer(no_args_is_help=True, help="Where jobs run, and what an hour there costs.")

NewBackendOption = Annotated[
    str, typer.Option("--backend", metavar="|".join(BACKENDS), help="Where jobs shall run.", autocompletion=complete_backend)
]
PartitionOption = Annotated[str, typer.Option(metavar="NAME", help="SLURM: [default: the partition with the most GPUs]")]
AccountOption = Annotated[str, typer.Option(metavar="NAME", help="SLURM: account that jobs are charged to [default: the cluster's].")]
NamespaceOption = Annotated[str, typer.Option(metavar="NAME", help="Kubernetes: [default: the context's].")]
ContextOption = Annotated[str, typer.Option(metavar="NAME", help="Kubernetes: of the kubeconfig file [default: the current one].")]
ImageOption = Annotated[str, typer.Option(metavar="NAME", help="Kubernetes: image that its nodes pull, best with its digest.")]
QueueOption = Annotated[str, typer.Option(metavar="NAME", help="Kubernetes: Kueue's LocalQueue [default: the only one].")]
DeviceOption = Annotated[str, typer.Option(metavar="NAME", help="The GPUs, such as H100 [default: as the cluster says].")]
UsdOption = Annotated[Decimal | None, typer.Option("--usd-per-gpu-hour", metavar="USD", parser=parse_usd, help="What a GPU-hour costs.")]
SourceOption = Annotated[str, typer.Option("--price-source", metavar="TEXT", help="Where the price comes from: a contract, a price page.")]
NewRunsDirOption = Annotated[
    Path | None, typer.Option("--runs-dir", metavar="DIR", help="Folder of all runs [default: $MDIFF_RUNS, ~/runs].")
]
NodesOption = Annotated[int, typer.Option(min=1, metavar="N", help="Nodes of one job.")]
OutOption = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="[default: ~/.config/mdiff/site.toml]")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a site file that is already there.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take the flags and the defaults.")]


@app.command()
def show(site: SiteOption = None, as_json: JsonOption = False) -> None:
    """Print the site in force as TOML, every default written out.

    \b
      mdiff site show
      mdiff site show --site other.toml --json | jq .hardware
    """
    from mdiff.launch.place import read_site
    from mdiff.recipe.load import to_toml
    from mdiff.recipe.site import built_in_site, user_site_file

    found, path = read_site(site), site or user_site_file()
    origin = str(path) if found else f"built in, for there is no {path}; to make one: mdiff site init --backend slurm"
    typer.echo(f"site: {origin}", err=True)
    the_site = found or built_in_site("slurm")
    typer.echo(the_site.model_dump_json(indent=2) if as_json else to_toml(the_site), nl=as_json)


@app.command()
def init(
    backend: NewBackendOption,
    partition: PartitionOption = "",
    account: AccountOption = "",
    device: DeviceOption = "",
    usd_per_gpu_hour: UsdOption = None,
    price_source: SourceOption = "",
    runs_dir: NewRunsDirOption = None,
    nodes: NodesOption = 1,
    namespace: NamespaceOption = "",
    context: ContextOption = "",
    image: ImageOption = "",
    queue: QueueOption = "",
    out: OutOption = None,
    force: ForceOption = False,
    yes: YesOption = False,
) -> None:
    """Write a site file: ask the cluster what it has, and you for the rest.

    Without a terminal it asks nothing, and the price must be given. Prints the path of the file.

    \b
      mdiff site init --backend slurm
      mdiff site init --backend slurm --partition h100 --usd-per-gpu-hour 2.99 --price-source contract --yes
      mdiff site init --backend kubernetes --namespace vision --image registry.example.org/mdiff:0.1.0
    """
    from mdiff.launch.site_file import site_text
    from mdiff.recipe.site import user_site_file
    from mdiff.run_dir import replace_file

    from .site_answers import Flags
    from .site_questions import make_site

    path = (out or user_site_file()).expanduser().absolute()
    _refuse_to_overwrite(path, force)
    flags = Flags(
        partition=partition, account=account, device=device, usd_per_gpu_hour=usd_per_gpu_hour, price_source=price_source,
        runs_dir=runs_dir, nodes=nodes, namespace=namespace, context=context, image=image, queue=queue, yes=yes,
    )  # fmt: skip
    new = make_site(named_backend(backend), flags, date.today().isoformat())
    replace_file(path, site_text(new))
    typer.echo(path)
    typer.echo(f"Next: mdiff doctor --backend {new.site.backend}{f' --site {out}' if out else ''}", err=True)


def _refuse_to_overwrite(path: Path, force: bool) -> None:
    """
    Raises:
        UsageError: the file is there, and is not to be replaced.
    """
    if path.exists() and not force:
        raise UsageError(f"{path} is there already; replace it with --force, or write another file: --out FILE")
