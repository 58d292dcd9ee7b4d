"""What an API server's no means, and what to do about it; always with its own words."""

import json
from typing import Any

from mdiff.errors import LaunchError
from mdiff.launch.kubernetes.names import GROUP

OPERATOR = "github.com/kubeflow/trainer/manifests/overlays/standalone?ref=v1.9.4"


class RefusedError(LaunchError):
    """The server has understood, and says no."""

    def __init__(self, message: str, status: int, is_absent: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.is_absent = is_absent
        """The object is not there, but its kind is."""


def refusal(status: int, body: str | bytes | None, reason: str, cluster: str, namespace: str) -> RefusedError:
    """The error that a user sees."""
    told = _status(body)
    words = " ".join(str(told.get("message") or _text(body) or reason).split())
    if status == 404 and not told.get("details", {}).get("name"):
        problem = f"the cluster has no PyTorchJob ({GROUP}): the training operator is not installed ({words})"
        return RefusedError(f"{problem}\n  An administrator installs it with: kubectl apply --server-side -k '{OPERATOR}'", status)
    if status == 404:
        return RefusedError(words, status, is_absent=_is_own(told))
    if status == 401:
        return RefusedError(f"{cluster} does not know who you are ({words}); log in again, and check with: kubectl auth whoami", status)
    if status == 403:
        return RefusedError(f"{words}\n  {_advice(words, namespace)}", status)
    return RefusedError(words, status)


def _advice(words: str, namespace: str) -> str:
    if "exceeded quota" in words:
        return f"Wait for other jobs, or ask for more: kubectl describe quota --namespace {namespace}"
    if "namespace" in words and "not found" in words:
        return "Set kubernetes.namespace in the site file"
    return f"An administrator grants what is needed with: kubectl apply --namespace {namespace} -f deploy/rbac.yaml"


def _is_own(told: dict[str, Any]) -> bool:
    """A namespace that is not there is another matter."""
    return told["details"].get("kind") != "namespaces"


def _status(body: str | bytes | None) -> dict[str, Any]:
    try:
        told = json.loads(body or "")
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _text(body: str | bytes | None) -> str:
    return body.decode(errors="replace") if isinstance(body, bytes) else body or ""
