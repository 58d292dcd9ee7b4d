"""From what a place offers and what the user answers to a site, for SLURM and for this machine."""

from typing import TYPE_CHECKING

from .site_answers import Flags, ask, ask_price, ask_runs_dir, choose, tell
from .site_kubernetes import kubernetes_site

if TYPE_CHECKING:
    from mdiff.launch.site_file import NewSite
    from mdiff.launch.slurm.survey import Survey
    from mdiff.recipe.site import BackendName


def make_site(backend: "BackendName", flags: Flags, today: str) -> "NewSite":
    """
    Raises:
        LaunchError: the cluster does not answer.
        UsageError: a flag does not fit, or there is no price.
    """
    flags.refuse_those_of_others(backend)
    return {"local": _local, "slurm": _slurm, "kubernetes": kubernetes_site}[backend](flags, today)


def _slurm(flags: Flags, today: str) -> "NewSite":
    from mdiff.launch.site_file import NewSite, device_of, gres_of, partition_text
    from mdiff.launch.slurm.survey import gpu_types, main_kind, survey_cluster
    from mdiff.recipe.site import Hardware, Site
    from mdiff.recipe.slurm_settings import SlurmSettings

    survey = survey_cluster()
    for each in survey.partitions:
        tell(partition_text(each))
    partition = survey.partition(flags.partition or choose("Partition", survey.partition_names, survey.partition_names[0], flags))
    kind = main_kind(partition)
    device = device_of(kind.gpu_type)
    if not gpu_types(partition) and not flags.device:
        tell(f"The cluster does not say which GPUs these are; without --device they are taken for {device}.")
        device = ask("Device", device, flags)
    site = Site(
        name=survey.cluster or "slurm",
        backend="slurm",
        hardware=Hardware(device=device_of(flags.device or device), nodes=flags.nodes, devices_per_node=kind.gpus),
        price=ask_price(flags, "GPU", today),
        runs_dir=ask_runs_dir(flags),
        slurm=SlurmSettings(partition=partition.name, account=flags.account or _account(survey, flags), gres=gres_of(partition)),
    )
    return NewSite(site=site, written_on=today, partition=partition, accounts=survey.accounts, runtimes=survey.runtimes)


def _local(flags: Flags, today: str) -> "NewSite":
    from mdiff.launch.place import this_machine, visible_gpus
    from mdiff.launch.site_file import NewSite

    here = this_machine(visible_gpus())
    hardware = here.hardware.model_copy(update={"device": flags.device or here.hardware.device})
    # Without GPUs no bill will come, and the example price serves.
    price = (
        here.price
        if here.price and flags.usd_per_gpu_hour is None
        else ask_price(flags, "GPU" if hardware.device != "cpu" else "process", today)
    )
    site = here.model_copy(update={"hardware": hardware, "price": price, "runs_dir": ask_runs_dir(flags)})
    return NewSite(site=site, written_on=today)


def _account(survey: "Survey", flags: Flags) -> str:
    """The only one needs no name; of several, nobody can choose but the user."""
    if len(survey.accounts) < 2:
        return ""
    return choose("Account", survey.accounts, survey.accounts[0], flags) if flags.may_ask else ""
