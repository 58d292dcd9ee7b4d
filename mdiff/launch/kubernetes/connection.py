"""One namespace of one cluster, through the kubernetes client: every failure is one line, in the server's own words."""

import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mdiff.errors import LaunchError
from mdiff.launch.kubernetes.names import GROUP, PLURAL, VERSION
from mdiff.launch.kubernetes.refusals import RefusedError, refusal
from mdiff.recipe.kubernetes_settings import KubernetesSettings

Answer = TypeVar("Answer")
Object = dict[str, Any]
"""As the API writes it."""

TIMEOUT = (5.0, 30.0)
"""Seconds to connect, and to wait for an answer."""
FOLLOW_TIMEOUT = (5.0, 3600.0)
"""Of a log that is followed: a job that saves its work may say nothing for long."""
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""A server that is restarted is back after some seconds."""
_AWAY: set[str] = set()
"""Servers that patience did not help with: one command asks several times, and is patient once."""
BUSY = (408, 429, 500, 502, 503, 504)


class Cluster:
    """Asks patiently; what it creates it may create twice, for names are unique."""

    def __init__(self, api: Any, context: str, namespace: str, sleep: Callable[[float], None] = time.sleep) -> None:
        """
        Args:
            api: a `kubernetes.client.ApiClient`.
        """
        from kubernetes import client

        self.api, self.context, self.namespace = api, context, namespace
        self.core = client.CoreV1Api(api)
        self._custom = client.CustomObjectsApi(api)
        self._sleep = sleep

    def __str__(self) -> str:
        server = self.api.configuration.host
        return f"{server} (context {self.context})" if self.context else server

    def pinned(self, settings: KubernetesSettings) -> KubernetesSettings:
        """So that a job is looked for where it is, whatever context is the current one by then."""
        return settings.model_copy(update={"context": self.context, "namespace": self.namespace})

    def job(self, name: str) -> Object | None:
        """None if there is no such job."""
        return self._found(lambda: self._custom.get_namespaced_custom_object(*self._jobs, name, _request_timeout=TIMEOUT))

    def jobs(self, labels: Mapping[str, str]) -> list[Object]:
        how = {"label_selector": selector(labels), "_request_timeout": TIMEOUT}
        return self.ask(lambda: list(self._custom.list_namespaced_custom_object(*self._jobs, **how)["items"]))

    def create_job(self, manifest: Object, dry_run: bool = False) -> Object:
        """
        Raises:
            RefusedError: with status 409, there is one of this name.
            LaunchError: the server does not answer, so that nobody knows whether the job is there.
        """
        how = {"field_validation": "Strict", "_request_timeout": TIMEOUT, **({"dry_run": "All"} if dry_run else {})}
        return self.ask(lambda: self._custom.create_namespaced_custom_object(*self._jobs, manifest, **how))

    def delete_job(self, name: str, uid: str) -> None:
        """The job stays visible until its pods have gone, which get their grace time."""
        body = {"propagationPolicy": "Foreground", **({"preconditions": {"uid": uid}} if uid else {})}
        self._found(lambda: self._custom.delete_namespaced_custom_object(*self._jobs, name, body=body, _request_timeout=TIMEOUT))

    def pods(self, labels: Mapping[str, str]) -> list[Object]:
        return self.listed(self.core.list_namespaced_pod, self.namespace, label_selector=selector(labels))

    def delete_pod_at_once(self, name: str) -> None:
        self._found(lambda: self.core.delete_namespaced_pod(name, self.namespace, grace_period_seconds=0, _request_timeout=TIMEOUT))

    def log(self, pod: str, since_seconds: int | None = None) -> str:
        """A pod's log with the time before each line; "" while its container has not begun, and when the pod has gone."""
        how = {"timestamps": True, **({"since_seconds": since_seconds} if since_seconds else {})}
        try:
            data = self.raw(self.core.read_namespaced_pod_log, pod, self.namespace, **how)
        except RefusedError as error:
            if error.status in (400, 404):
                return ""
            raise
        return data.decode(errors="replace")

    def log_to_its_end(self, pod: str, since_seconds: int | None = None) -> str:
        """As `log`, but waits until the container has ended: what it says last is gone together with its pod."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        how = {"timestamps": True, "follow": True, **({"since_seconds": since_seconds} if since_seconds else {})}
        try:
            answer = self.core.read_namespaced_pod_log(pod, self.namespace, _preload_content=False, _request_timeout=FOLLOW_TIMEOUT, **how)
            return answer.read().decode(errors="replace")
        except (ApiException, HTTPError, OSError):
            # A server that was restarted meanwhile: what can be had is had in the usual way.
            return self.log(pod, since_seconds)

    def events_of(self, name: str) -> list[Object]:
        """Of a job; none where this user may not read them."""
        try:
            return self.listed(self.core.list_namespaced_event, self.namespace, field_selector=f"involvedObject.name={name}")
        except RefusedError:
            return []

    def listed(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> list[Object]:
        """Answer of one of the client's `list_...` methods."""
        return self.read(method, *arguments, **options).get("items", [])

    def read(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Object:
        """Answer of one of the client's other methods."""
        return self.ask(lambda: dict(json.loads(self._fetch(method, *arguments, **options))))

    def raw(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> bytes:
        """Without the client's models, which refuse what a newer server sends."""
        return self.ask(lambda: self._fetch(method, *arguments, **options))

    def _fetch(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> bytes:
        return method(*arguments, _preload_content=False, _request_timeout=TIMEOUT, **options).data

    def ask(self, call: Callable[[], Answer]) -> Answer:
        """The answer, after some patience with a server that is away or busy. Only for calls that may be repeated.

        Raises:
            LaunchError: it stays away.
            RefusedError: it says no.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        server = self.api.configuration.host
        pauses = [] if server in _AWAY else list(PAUSES)
        while True:
            try:
                answer = call()
            except ApiException as error:
                if error.status not in BUSY or not pauses:
                    raise refusal(error.status or 0, error.body, error.reason or "", str(self), self.namespace) from error
            except (HTTPError, OSError) as error:
                if not pauses:
                    _AWAY.add(server)
                    raise LaunchError(self._unreachable(error)) from error
            except (ValueError, TypeError, KeyError) as error:
                raise LaunchError(f"{self} does not answer as a Kubernetes API does; a proxy or a login page, perhaps") from error
            else:
                _AWAY.discard(server)
                return answer
            self._sleep(pauses.pop(0))

    @property
    def _jobs(self) -> tuple[str, str, str, str]:
        return GROUP, VERSION, self.namespace, PLURAL

    def _found(self, call: Callable[[], Answer]) -> Answer | None:
        try:
            return self.ask(call)
        except RefusedError as error:
            if error.is_absent:
                return None
            raise

    def _unreachable(self, error: Exception) -> str:
        reason = str(getattr(error, "reason", None) or error)
        words = reason.rpartition("] ")[2].rpartition(": ")[2].strip("'\" )") or type(error).__name__
        advice = "Check with: kubectl cluster-info      or print the manifest only: --dry-run"
        return f"cannot reach the cluster at {self}: {words}\n  {advice}"


def selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())


def open_cluster(settings: KubernetesSettings) -> Cluster:
    """By the kubeconfig file and, where there is none, by the account of the pod that this runs in.

    Raises:
        LaunchError: there is neither, or no such context.
    """
    from kubernetes import client, config
    from kubernetes.config.config_exception import ConfigException
    from yaml import YAMLError

    configuration = client.Configuration()
    # Patience is ours: the client's own would fill the terminal with warnings.
    configuration.retries = False
    try:
        contexts, current = config.list_kube_config_contexts(config_file=kubeconfig())
    except ConfigException as error:
        return _in_pod(configuration, settings, error)
    except (YAMLError, TypeError, AttributeError, OSError) as error:
        raise LaunchError(f"the kubeconfig cannot be read: {' '.join(str(error).split())}; check it with: kubectl config view") from error
    names = [context["name"] for context in contexts]
    name = settings.context or current["name"]
    if name not in names:
        raise LaunchError(f'kubernetes.context = "{name}": no such context in the kubeconfig; it has: {", ".join(names)}')
    try:
        config.load_kube_config(config_file=kubeconfig(), context=name, client_configuration=configuration)
    except ConfigException as error:
        raise LaunchError(f"context {name} of the kubeconfig cannot be used: {error}") from error
    namespace = next(context["context"].get("namespace") for context in contexts if context["name"] == name)
    return Cluster(client.ApiClient(configuration), name, settings.namespace or namespace or "default")


def kubeconfig() -> str | None:
    """Where the client shall look; None: at its usual place. It would read the variable only once, when it is loaded."""
    return os.environ.get("KUBECONFIG") or None


def _in_pod(configuration: Any, settings: KubernetesSettings, missing: Exception) -> Cluster:
    from pathlib import Path

    from kubernetes import client, config
    from kubernetes.config.config_exception import ConfigException

    try:
        config.load_incluster_config(client_configuration=configuration)
    except ConfigException as error:
        advice = "point KUBECONFIG at the cluster's, or print the manifest only: --dry-run"
        raise LaunchError(f"no kubeconfig ({missing}), and this is no pod; {advice}") from error
    own = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    return Cluster(client.ApiClient(configuration), "", settings.namespace or own.read_text().strip())
