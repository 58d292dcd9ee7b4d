"""How jobs on Kubernetes are called, and by which labels they are found again."""

import hashlib
import re

GROUP, VERSION, PLURAL, KIND = "kubeflow.org", "v1", "pytorchjobs", "PyTorchJob"
API_VERSION = f"{GROUP}/{VERSION}"
JOB_LABEL = "training.kubeflow.org/job-name"
"""Given to pods by the operator."""
MANAGED = {"app.kubernetes.io/name": "mdiff", "app.kubernetes.io/managed-by": "mdiff"}
RUN_LABEL = "app.kubernetes.io/instance"
QUEUE_LABEL, QUEUE_PRIORITY_LABEL = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"
MOST_CHARACTERS = 44
"""Of a job's name: with "-worker-123" and a number behind it, it is the name of a service, which has at most 63."""


def first_name(run: str, stages: tuple[int, int]) -> str:
    """The name of a job, unless it is taken by one that has ended.

    >>> first_name("microdit-xl", (1, 1)), first_name("shapes", (2, 4))
    ('microdit-xl-stage-1', 'shapes-stage-2-4')
    """
    first, last = stages
    stage = f"-stage-{first}" if first == last else f"-stage-{first}-{last}"
    return dns_label(run, MOST_CHARACTERS - len(stage)) + stage


def numbered_name(name: str, number: int) -> str:
    """
    >>> numbered_name("shapes-stage-1", 1), numbered_name("shapes-stage-1", 2)
    ('shapes-stage-1', 'shapes-stage-1-again-2')
    """
    return name if number == 1 else f"{name}-again-{number}"


def dns_label(text: str, most_characters: int) -> str:
    """A name that Kubernetes takes (RFC 1035). Where letters had to be changed, some of a hash keep it from meeting another one.

    >>> dns_label("shapes", 20), dns_label("My_Run", 20), dns_label("7b", 20)
    ('shapes', 'my-run-309f', 'r-7b-925a')
    """
    label = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    label = label if label[:1].isalpha() else f"r-{label}".rstrip("-")
    if label == text and len(label) <= most_characters:
        return label
    return f"{label[: most_characters - 5].rstrip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:4]}"


def run_label(run: str) -> str:
    """The value of RUN_LABEL: label values are short and plain."""
    return dns_label(run, 63)
