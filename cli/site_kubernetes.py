"""From what a Kubernetes cluster offers and what the user answers to a site."""

from typing import TYPE_CHECKING

from mdiff.errors import UsageError

from .site_answers import Flags, ask, ask_price, ask_runs_dir, choose, tell

if TYPE_CHECKING:
    from mdiff.launch.kubernetes.nodes import NodeGroup
    from mdiff.launch.kubernetes.survey import Survey
    from mdiff.launch.site_file import NewSite
    from mdiff.recipe.kubernetes_settings import KubernetesSettings
    from mdiff.recipe.site import Hardware


def kubernetes_site(flags: Flags, today: str) -> "NewSite":
    from mdiff.launch.kubernetes.connection import open_cluster
    from mdiff.launch.kubernetes.survey import survey_cluster
    from mdiff.launch.site_file import NewSite
    from mdiff.recipe.container import Container
    from mdiff.recipe.kubernetes_settings import GPU_RESOURCE, KubernetesSettings
    from mdiff.recipe.site import Site

    cluster = open_cluster(KubernetesSettings(context=_context(flags), namespace=flags.namespace))
    survey = survey_cluster(cluster, GPU_RESOURCE)
    _tell_what_was_seen(survey)
    group = _group(survey, flags)
    site = Site(
        name=survey.context or "kubernetes",
        backend="kubernetes",
        hardware=_hardware(group, flags),
        price=ask_price(flags, "GPU", today),
        runs_dir=ask_runs_dir(flags),
        container=Container(image=_image(flags)),
        kubernetes=_settings(survey, group, flags),
    )
    return NewSite(site=site, written_on=today, cluster=survey, group=group)


def _context(flags: Flags) -> str:
    from mdiff.launch.kubernetes.survey import read_contexts

    names, current = read_contexts()
    return flags.context or choose("Context", names, current, flags)


def _tell_what_was_seen(survey: "Survey") -> None:
    from mdiff.launch.kubernetes.nodes import free_text, nodes_text
    from mdiff.launch.kubernetes.survey import HIDDEN

    tell(f"{survey.server}, namespace {survey.namespace}")
    if survey.groups is None:
        tell(f"nodes {HIDDEN}: --device says which GPUs they have, and the site file how many: devices_per_node")
    elif not survey.groups:
        tell("no node has GPUs now; an autoscaler may add some: --device says which, and the site file how many: devices_per_node")
    for group in survey.groups or ():
        taints = f", taints {', '.join(map(str, group.taints))}" if group.taints else ""
        tell(f"{nodes_text(group)}, {free_text(group)}{taints}")
    for what, names in {"queues": survey.queues, "claims": survey.claims}.items():
        tell(f"{what}: {', '.join(str(name) for name in names) or 'none'}" if names is not None else f"{what} {HIDDEN}")


def _group(survey: "Survey", flags: Flags) -> "NodeGroup | None":
    """The nodes that a job shall have: those of the device that was asked for, else those with the most GPUs."""
    from mdiff.launch.kubernetes.nodes import is_of_device, products_of

    groups = survey.groups or ()
    products = products_of(groups)
    asked = [group for group in groups if is_of_device(group, flags.device)]
    if asked or not groups:
        return asked[0] if asked else None
    if flags.device and products:
        tell(f"No node says that its GPUs are {flags.device}; they are called {', '.join(products)}.")
    product = choose("GPUs", products, groups[0].product, flags) if not flags.device and groups[0].product else groups[0].product
    return next(group for group in groups if group.product == product)


def _hardware(group: "NodeGroup | None", flags: Flags) -> "Hardware":
    from mdiff.launch.site_file import device_of
    from mdiff.recipe.site import Hardware

    device = device_of(group.product if group else "")
    if not (group and group.product) and not flags.device:
        tell(f"The cluster does not say which GPUs these are; without --device they are taken for {device}.")
        device = ask("Device", device, flags)
    usual = Hardware().devices_per_node
    if device_of(flags.device or device) == "cpu":
        usual = 1
    return Hardware(device=device_of(flags.device or device), nodes=flags.nodes, devices_per_node=group.gpus if group else usual)


def _image(flags: Flags) -> str:
    """Empty until the user knows one."""
    from mdiff.launch.kubernetes.pod import DEFAULT_IMAGE

    image = flags.image or ask("Image that the nodes pull", DEFAULT_IMAGE, flags)
    return "" if image == DEFAULT_IMAGE else image


def _settings(survey: "Survey", group: "NodeGroup | None", flags: Flags) -> "KubernetesSettings":
    from mdiff.launch.kubernetes.nodes import products_of, toleration_of, untolerated
    from mdiff.recipe.kubernetes_settings import KubernetesSettings

    usual = KubernetesSettings()
    is_one_of_several = group is not None and len(products_of(survey.groups or ())) > 1 and group.product
    more = [toleration_of(taint) for taint in untolerated(group.taints if group else (), usual)]
    return usual.model_copy(
        update={
            "context": survey.context,
            "namespace": survey.namespace,
            "runs_claim": _claim("Claim of the run directories", usual.runs_claim, survey, flags),
            "data_claim": _claim("Claim of the data sets", usual.data_claim, survey, flags),
            "queue": _queue(survey, flags),
            "node_selector": {group.product_label: group.product} if group and is_one_of_several else {},
            "tolerations": (*usual.tolerations, *more),
        }
    )


def _claim(what: str, usual: str, survey: "Survey", flags: Flags) -> str:
    """The usual one where it is there; another one is the user's choice, who may also make the usual one yet."""
    names = [claim.name for claim in survey.claims or ()]
    return usual if usual in names or not names else choose(what, [*names, usual], usual, flags)


def _queue(survey: "Survey", flags: Flags) -> str:
    """The only one; of several, nobody can choose but the user."""
    names = [queue.name for queue in survey.queues or ()]
    if flags.queue and survey.queues is not None and flags.queue not in names:
        raise UsageError(f"--queue {flags.queue}: namespace {survey.namespace} has {', '.join(names) or 'no queues'}")
    if flags.queue or not names:
        return flags.queue
    return choose("Queue", names, names[0], flags) if len(names) == 1 or flags.may_ask else ""
