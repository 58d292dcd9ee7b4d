"""A test kubelet for a few fake nodes: binds pods, runs each one's container as a local process, reports, and keeps the logs.

Unlike a real one it runs one container a pod, over this machine's own files (sandbox.py), skips the operator's init container, and
also does the scheduler's work: a pod goes to the first node with enough free GPUs. Claims are folders below its own.
"""

import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path

from kubernetes import client
from urllib3.exceptions import HTTPError

from tests.kubernetes import log_file
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.log_server import LogServer
from tests.kubernetes.pod_life import Order, PodLife, insist, now
from tests.kubernetes.pod_spec import PodReader, gpus_of
from tests.kubernetes.sandbox import Bridge

ROUND_SECONDS = 0.2
FIRST_SLOT, SLOTS = 10, 200
FINAL_PHASES = ("Succeeded", "Failed")


@dataclass
class Kubelet:
    """Works from `start` to `stop`, in threads of this process."""

    control_plane: ControlPlane
    root: Path
    image_environment: dict[str, str] = field(default_factory=dict)
    """What every image is pretended to set, such as PATH."""
    node_count: int = 2
    gpus: int = 8
    """Of each node."""
    node_labels: dict[str, str] = field(default_factory=dict)
    absent_images: set[str] = field(default_factory=set)
    """Images that no registry has: their pods wait."""
    _stopping: threading.Event = field(default_factory=threading.Event, init=False)
    _lives: dict[str, PodLife] = field(default_factory=dict, init=False)
    """Of all pods that ever ran here, by uid."""
    _lost: set[str] = field(default_factory=set, init=False)
    _next_slot: int = field(default=0, init=False)

    def start(self) -> None:
        self._connection = self.control_plane.client()
        self._core = client.CoreV1Api(self._connection.__enter__())
        self._reader = PodReader(self._core, self.root, self.image_environment)
        self._bridge = Bridge(self.control_plane.number)
        self._bridge.down()
        self._bridge.up()
        self._logs = LogServer(self.control_plane.port + 9, self.control_plane.certificate, self._newest)
        self._logs.start()
        for name in self.nodes:
            self._register(name)
        self._thread = threading.Thread(target=self._work, name="kubelet")
        self._thread.start()

    def stop(self) -> None:
        """Everything that still runs is killed."""
        self._stopping.set()
        self._thread.join(60)
        for life in self._lives.values():
            life.kill(silent=True)
        for life in self._lives.values():
            life.join()
        self._logs.stop()
        self._bridge.down()
        self._connection.__exit__(None, None, None)

    @property
    def nodes(self) -> list[str]:
        return [f"node{number}" for number in range(1, self.node_count + 1)]

    def claim(self, name: str, namespace: str = "default") -> Path:
        """The folder that pods see as the volume of this claim."""
        return self._reader.claim(namespace, name)

    def logs(self, name: str, namespace: str = "default") -> str:
        """All that pods of this name have written, the oldest first: a pod that is made anew has a log of its own."""
        return "".join(log_file.text(life.log) for life in self._lives_of(namespace, name))

    def held_seconds(self, name: str, namespace: str = "default") -> list[float]:
        """How long each pod of this name was on its node, the oldest first."""
        return [life.held_seconds for life in self._lives_of(namespace, name)]

    def evict(self, name: str, namespace: str = "default") -> None:
        """As a node under pressure does: the pod gets its grace time and stays behind as Failed."""
        life = self._newest(namespace, name)
        life.end(Order(life.pod.spec.termination_grace_period_seconds, "Evicted"))

    def kill(self, name: str, namespace: str = "default") -> None:
        """The pod's processes die at once (exit code 137), as when memory runs out."""
        self._newest(namespace, name).kill()

    def lose_node(self, name: str) -> None:
        """The node's pods are gone and nobody says so: they stay as they were until somebody deletes them by force."""
        self._lost.add(name)
        for life in list(self._lives.values()):
            if life.pod.spec.node_name == name:
                life.kill(silent=True)
        self._report_node(name)

    def revive_node(self, name: str) -> None:
        self._lost.discard(name)
        self._report_node(name)

    def _lives_of(self, namespace: str, name: str) -> list[PodLife]:
        return [life for life in list(self._lives.values()) if life.key == (namespace, name)]

    def _newest(self, namespace: str, name: str) -> PodLife:
        return self._lives_of(namespace, name)[-1]

    def _work(self) -> None:
        while not self._stopping.wait(ROUND_SECONDS):
            try:
                self._round()
            except HTTPError:
                continue  # The API server is away; tests take it away on purpose.
            except client.ApiException as error:
                if error.status < 500 and error.status not in (404, 409, 429):
                    raise

    def _round(self) -> None:
        pods = self._core.list_pod_for_all_namespaces().items
        for pod in pods:
            if pod.spec.node_name is None:
                self._schedule(pod, pods)
            elif pod.spec.node_name in self.nodes and pod.spec.node_name not in self._lost:
                self._tend(pod)
        present = {pod.metadata.uid for pod in pods}
        for uid, life in self._lives.items():
            if uid not in present and not life.ended:
                life.kill()
        for namespace in {life.key[0] for life in self._lives.values()}:
            self._write_hosts(namespace)

    def _schedule(self, pod: client.V1Pod, pods: list[client.V1Pod]) -> None:
        fitting = [name for name in self.nodes if name not in self._lost and not self._obstacle(pod, name, pods)]
        claim = self._missing_claim(pod)
        if claim or not fitting:
            obstacles = sorted({self._obstacle(pod, name, pods) or "node(s) were unreachable" for name in self.nodes})
            reasons = claim or f"0/{self.node_count} nodes are available: {', '.join(obstacles)}."
            self._report_waiting(pod, reasons)
            return
        self._bind_claims(pod)
        target = {"metadata": {"name": pod.metadata.name}, "target": {"kind": "Node", "name": fitting[0]}}
        # The answer is a Status, which this client takes for a Binding and refuses to read.
        self._core.create_namespaced_binding(pod.metadata.namespace, target, _preload_content=False).release_conn()
        pod.spec.node_name = fitting[0]

    def _obstacle(self, pod: client.V1Pod, node: str, pods: list[client.V1Pod]) -> str:
        """Why the pod cannot go to this node, in the scheduler's words; "" if it can."""
        labels = {"kubernetes.io/hostname": node} | self.node_labels
        if any(labels.get(name) != value for name, value in (pod.spec.node_selector or {}).items()):
            return "node(s) didn't match Pod's node affinity/selector"
        held = sum(gpus_of(each) for each in pods if each.spec.node_name == node and each.status.phase not in FINAL_PHASES)
        return "Insufficient nvidia.com/gpu" if held + gpus_of(pod) > self.gpus else ""

    def _claims(self, pod: client.V1Pod) -> list[str]:
        return [volume.persistent_volume_claim.claim_name for volume in pod.spec.volumes or [] if volume.persistent_volume_claim]

    def _missing_claim(self, pod: client.V1Pod) -> str:
        known = {claim.metadata.name for claim in self._core.list_namespaced_persistent_volume_claim(pod.metadata.namespace).items}
        lacking = [name for name in self._claims(pod) if name not in known]
        return f'persistentvolumeclaim "{lacking[0]}" not found' if lacking else ""

    def _bind_claims(self, pod: client.V1Pod) -> None:
        for name in self._claims(pod):
            self.claim(name, pod.metadata.namespace).mkdir(parents=True, exist_ok=True)
            status = {"status": {"phase": "Bound"}}
            self._core.patch_namespaced_persistent_volume_claim_status(name, pod.metadata.namespace, status)

    def _report_waiting(self, pod: client.V1Pod, message: str) -> None:
        if any(condition.message == message for condition in pod.status.conditions or []):
            return
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message, "lastTransitionTime": now()}
        self._core.patch_namespaced_pod_status(pod.metadata.name, pod.metadata.namespace, {"status": {"conditions": [condition]}})

    def _tend(self, pod: client.V1Pod) -> None:
        life = self._lives.get(pod.metadata.uid)
        deleted = pod.metadata.deletion_timestamp is not None
        if deleted and (life is None or life.ended):
            self._forget(pod)
        elif deleted:
            life.end(Order(pod.metadata.deletion_grace_period_seconds))
        elif life is None and pod.spec.containers[0].image in self.absent_images:
            self._report_absent_image(pod)
        elif life is None and pod.status.phase not in FINAL_PHASES:
            self._give_life(pod)

    def _give_life(self, pod: client.V1Pod) -> None:
        slot = FIRST_SLOT + self._next_slot % SLOTS
        self._next_slot += 1
        hosts = self._hosts(pod.metadata.namespace)
        life = self._lives[pod.metadata.uid] = PodLife(pod, self._core, self._reader, self._bridge, slot, hosts)
        self._write_hosts(pod.metadata.namespace)
        life.start()

    def _hosts(self, namespace: str) -> Path:
        return self.root / "hosts" / namespace

    def _write_hosts(self, namespace: str) -> None:
        """In place of the cluster's name service: each living pod has a service of its name."""
        lives = {life.key: life for life in self._lives.values() if life.key[0] == namespace and not life.ended}
        rows = [f"{life.address} {name} {name}.{namespace}.svc.cluster.local" for (_, name), life in lives.items()]
        text, path = "\n".join(["127.0.0.1 localhost", *rows]) + "\n", self._hosts(namespace)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        if path.read_text() != text:
            # In place, as pods have it mounted, and never empty, as they may be reading it.
            with path.open("r+") as hosts:
                hosts.write(text)
                hosts.truncate()

    def _report_absent_image(self, pod: client.V1Pod) -> None:
        if pod.status.container_statuses:
            return
        container = pod.spec.containers[0]
        waiting = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{container.image}"'}
        status = {
            "name": container.name, "image": container.image, "imageID": "", "ready": False, "restartCount": 0, "state": {"waiting": waiting},
        }  # fmt: skip
        self._core.patch_namespaced_pod_status(pod.metadata.name, pod.metadata.namespace, {"status": {"containerStatuses": [status]}})

    def _forget(self, pod: client.V1Pod) -> None:
        """The last step of a deletion is the kubelet's."""
        name, namespace = pod.metadata.name, pod.metadata.namespace
        condition = {"uid": pod.metadata.uid}
        insist(lambda: self._core.delete_namespaced_pod(name, namespace, body={"gracePeriodSeconds": 0, "preconditions": condition}))
        shutil.rmtree(self.root / "volumes" / pod.metadata.uid, ignore_errors=True)

    def _register(self, name: str) -> None:
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"} | self.node_labels
        insist(lambda: self._core.create_node({"metadata": {"name": name, "labels": labels}}))
        # Admission taints every new node until it is ready.
        insist(lambda: self._core.patch_node(name, {"spec": {"taints": []}}))
        self._report_node(name)

    def _report_node(self, name: str) -> None:
        amounts = {"cpu": "64", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": str(self.gpus)}
        word, time = "Unknown" if name in self._lost else "True", now()
        ready = {"type": "Ready", "status": word, "lastHeartbeatTime": time, "lastTransitionTime": time}
        status = {
            "capacity": amounts, "allocatable": amounts, "conditions": [ready],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.control_plane.port + 9}},
        }  # fmt: skip
        insist(lambda: self._core.patch_node_status(name, {"status": status}))
