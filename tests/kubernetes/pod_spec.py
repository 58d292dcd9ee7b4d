"""From a pod's spec to what is to run: environment, command and mounts, with references to other objects looked up."""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kubernetes import client

from tests.kubernetes.sandbox import ContainerSpec, Mount


class ConfigError(Exception):
    """The container cannot be made yet; a real node says so as CreateContainerConfigError, and tries again."""


@dataclass(frozen=True)
class PodReader:
    """Reads pods for one machine; `folder` holds its claims and volumes."""

    core: client.CoreV1Api
    folder: Path
    image_environment: dict[str, str]
    """What an image would set: every container starts from it."""

    def container_spec(self, pod: client.V1Pod, address: str) -> ContainerSpec:
        """Of the pod's only container.

        Raises:
            ConfigError: it refers to something that does not exist.
            NotImplementedError: it uses what this kubelet does not know.
        """
        (container,) = pod.spec.containers
        values = self.environment(pod, container, address)
        hook = container.lifecycle and container.lifecycle.pre_stop
        return ContainerSpec(
            command=tuple(expand(word, values) for word in [*(container.command or []), *(container.args or [])]),
            environment=values,
            hostname=pod.spec.hostname or pod.metadata.name,
            mounts=tuple(self.mount(pod, each) for each in container.volume_mounts or []),
            working_dir=container.working_dir or "/",
            pre_stop=tuple(hook._exec.command) if hook and hook._exec else (),
        )

    def environment(self, pod: client.V1Pod, container: client.V1Container, address: str) -> dict[str, str]:
        values = dict(self.image_environment)
        for source in container.env_from or []:
            values |= self._all_of(pod, source)
        for variable in container.env or []:
            value = self._value(pod, variable, address)
            if value is not None:
                values[variable.name] = expand(value, values)
        return values

    def mount(self, pod: client.V1Pod, wanted: client.V1VolumeMount) -> Mount:
        (volume,) = (each for each in pod.spec.volumes or [] if each.name == wanted.name)
        empty = volume.empty_dir
        if empty and empty.medium == "Memory":
            return Mount(wanted.mount_path, None, re.sub(r"([KMG])i$", r"\1", empty.size_limit or ""))
        source = self._source(pod, volume) / (wanted.sub_path or "")
        if not volume.host_path and not source.exists():
            source.mkdir(parents=True)
        return Mount(wanted.mount_path, source, read_only=bool(wanted.read_only))

    def claim(self, namespace: str, name: str) -> Path:
        """The folder that is a claim's volume."""
        return self.folder / "claims" / namespace / name

    def _source(self, pod: client.V1Pod, volume: client.V1Volume) -> Path:
        if volume.host_path:
            return Path(volume.host_path.path)
        if volume.persistent_volume_claim:
            return self.claim(pod.metadata.namespace, volume.persistent_volume_claim.claim_name)
        private = self.folder / "volumes" / pod.metadata.uid / volume.name
        private.mkdir(parents=True, exist_ok=True)
        if volume.empty_dir:
            return private
        for name, text in self._files(pod, volume).items():
            (private / name).write_text(text)
        return private

    def _files(self, pod: client.V1Pod, volume: client.V1Volume) -> dict[str, str]:
        if volume.secret:
            return self._secret(pod, volume.secret.secret_name, volume.secret.optional) or {}
        if volume.config_map:
            return self._config_map(pod, volume.config_map.name, volume.config_map.optional) or {}
        raise NotImplementedError(f"the test kubelet does not know the kind of volume {volume.name}")

    def _all_of(self, pod: client.V1Pod, source: client.V1EnvFromSource) -> dict[str, str]:
        if source.secret_ref:
            found = self._secret(pod, source.secret_ref.name, source.secret_ref.optional)
        else:
            found = self._config_map(pod, source.config_map_ref.name, source.config_map_ref.optional)
        return {f"{source.prefix or ''}{name}": value for name, value in (found or {}).items()}

    def _value(self, pod: client.V1Pod, variable: client.V1EnvVar, address: str) -> str | None:
        source = variable.value_from
        if not source:
            return variable.value or ""
        if source.field_ref:
            return field_of(pod, source.field_ref.field_path, address)
        if source.secret_key_ref:
            return self._key(self._secret, pod, source.secret_key_ref)
        if source.config_map_key_ref:
            return self._key(self._config_map, pod, source.config_map_key_ref)
        raise NotImplementedError(f"the test kubelet does not know where to take {variable.name} from")

    def _key(self, read: Callable[..., dict[str, str] | None], pod: client.V1Pod, reference: client.V1SecretKeySelector) -> str | None:
        found = read(pod, reference.name, reference.optional)
        if found is None or (reference.key not in found and reference.optional):
            return None
        if reference.key not in found:
            raise ConfigError(f"couldn't find key {reference.key} in {pod.metadata.namespace}/{reference.name}")
        return found[reference.key]

    def _secret(self, pod: client.V1Pod, name: str, optional: bool | None) -> dict[str, str] | None:
        found = _read(self.core.read_namespaced_secret, "secret", name, pod.metadata.namespace, optional)
        return found and {key: base64.b64decode(value).decode() for key, value in (found.data or {}).items()}

    def _config_map(self, pod: client.V1Pod, name: str, optional: bool | None) -> dict[str, str] | None:
        found = _read(self.core.read_namespaced_config_map, "configmap", name, pod.metadata.namespace, optional)
        return found and (found.data or {})


def field_of(pod: client.V1Pod, path: str, address: str) -> str:
    """The downward API: `metadata.name`, `metadata.labels['key']`, `status.podIP` and the like."""
    entry = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if entry:
        return (getattr(pod.metadata, entry[1]) or {}).get(entry[2], "")
    known = {
        "metadata.name": pod.metadata.name, "metadata.namespace": pod.metadata.namespace, "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.node_name, "spec.serviceAccountName": pod.spec.service_account_name or "", "status.podIP": address,
    }  # fmt: skip
    return known[path]


def expand(text: str, values: dict[str, str]) -> str:
    """Kubernetes' own references; one that is not defined stays as it is, and a doubled dollar is one.

    >>> expand("$(A)-$(B)-$$(A)", {"A": "1"})
    '1-$(B)-$(A)'
    """
    return re.sub(r"\$\$|\$\((\w+)\)", lambda found: values.get(found[1], found[0]) if found[1] else "$", text)


def gpus_of(pod: client.V1Pod) -> int:
    """Asked for by all of the pod's containers."""
    limits = [(container.resources and container.resources.limits) or {} for container in pod.spec.containers]
    return sum(int(each.get("nvidia.com/gpu", 0)) for each in limits)


def _read(read: Callable[..., object], kind: str, name: str, namespace: str, optional: bool | None) -> object | None:
    try:
        return read(name, namespace)
    except client.ApiException as error:
        if error.status != 404:
            raise
        if optional:
            return None
        raise ConfigError(f'{kind} "{name}" not found') from error
