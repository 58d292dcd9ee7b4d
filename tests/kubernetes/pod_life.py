"""The life of one pod on a node: made, run, restarted or ended, and told to the API server."""

import math
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kubernetes import client
from urllib3.exceptions import HTTPError

from tests.kubernetes import log_file
from tests.kubernetes.pod_spec import ConfigError, PodReader
from tests.kubernetes.sandbox import Bridge, Sandbox

TRY_AGAIN_SECONDS = 1.0
SERVER_AWAY_SECONDS = 60.0
"""How long a report is tried while the API server is away."""
MESSAGE_CHARACTERS = 2048
"""Of the end of its log, that Kubernetes keeps of a container that failed."""
AFTER_PRE_STOP_SECONDS = 2.0
"""What a real kubelet still grants after the signal when the hook has used up the grace time."""


@dataclass(frozen=True)
class Order:
    """To end before the command has ended by itself."""

    grace_seconds: float
    reason: str = ""
    """Becomes the pod's own: Evicted, DeadlineExceeded; "" for a deletion."""


class PodLife:
    """Runs in a thread of its own from `start` until the container has ended for good."""

    def __init__(self, pod: client.V1Pod, core: client.CoreV1Api, reader: PodReader, bridge: Bridge, slot: int, hosts: Path) -> None:
        self.pod, self.slot, self.address = pod, slot, bridge.address(slot)
        self.log = reader.folder / "logs" / f"{pod.metadata.namespace}_{pod.metadata.name}_{pod.metadata.uid}.log"
        self.silent = False
        """Set when the node is lost: nobody reports any more."""
        self._core, self._reader, self._bridge, self._hosts = core, reader, bridge, hosts
        self._order: Order | None = None
        self._restarts = 0
        self._sandbox: Sandbox | None = None
        self._started_at = self._begun = ""
        self._deadline = math.inf
        self.held_seconds = 0.0
        """From its arrival on the node to the end of its containers, by this machine's own clock."""
        self._thread = threading.Thread(target=self._run, name=f"pod {pod.metadata.name}")

    @property
    def key(self) -> tuple[str, str]:
        return self.pod.metadata.namespace, self.pod.metadata.name

    @property
    def ended(self) -> bool:
        return self._thread.ident is not None and not self._thread.is_alive()

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.touch()
        self._thread.start()

    def end(self, order: Order) -> None:
        """Ask for the end; the first order counts, unless a later one allows no time at all."""
        if self._order is None or not order.grace_seconds:
            self._order = order

    def kill(self, silent: bool = False) -> None:
        """As if the power went: no hook, no grace and, if silent, no report."""
        self.silent = self.silent or silent
        self.end(Order(0))
        if self._sandbox:
            self._sandbox.signal(signal.SIGKILL)

    def join(self) -> None:
        self._thread.join(60)

    def _run(self) -> None:
        self._begun, arrived = now(), time.monotonic()
        self._deadline = time.monotonic() + (self.pod.spec.active_deadline_seconds or math.inf)
        self._bridge.connect(self.slot)
        try:
            sandbox = self._made()
            while sandbox and self._order is None:
                self._run_once(sandbox)
                if not self._is_restarted(sandbox.exit_code):
                    break
                self._restarts += 1
                time.sleep(TRY_AGAIN_SECONDS)
            self.held_seconds = time.monotonic() - arrived
            self._report_end(sandbox)
        finally:
            self._bridge.disconnect(self.slot)
            if self._sandbox:
                self._sandbox.clean()

    def _made(self) -> Sandbox | None:
        """The sandbox, once all that it needs is there; None when an order came first."""
        while self._order is None:
            try:
                self._wait_for_master()
                spec = self._reader.container_spec(self.pod, self.address)
            except ConfigError as error:
                self._report("Pending", {"waiting": {"reason": "CreateContainerConfigError", "message": str(error)}})
                time.sleep(TRY_AGAIN_SECONDS)
                continue
            folder = self._reader.folder / "sandboxes" / self.pod.metadata.uid
            self._sandbox = Sandbox(spec, folder, self._bridge.namespace(self.slot), self._hosts, self.log)
            return self._sandbox
        return None

    def _wait_for_master(self) -> None:
        """In place of the operator's init container, which waits until the master's name has an address."""
        if not any(container.name == "init-pytorch" for container in self.pod.spec.init_containers or []):
            return
        variables = {variable.name: variable.value for variable in self.pod.spec.containers[0].env or []}
        if variables.get("MASTER_ADDR", "") not in self._hosts.read_text().split():
            raise ConfigError("waiting for master")

    def _run_once(self, sandbox: Sandbox) -> None:
        sandbox.start()
        self._started_at = now()
        self._report("Running", {"running": {"startedAt": self._started_at}}, ready=True)
        while not sandbox.wait(0.1):
            if self._order is None and time.monotonic() >= self._deadline:
                self._order = Order(self.pod.spec.termination_grace_period_seconds, "DeadlineExceeded")
            if self._order is not None:
                self._end(sandbox)

    def _end(self, sandbox: Sandbox) -> None:
        """Hook, SIGTERM and SIGKILL share one grace time, as on a real node."""
        deadline = time.monotonic() + self._order.grace_seconds
        if self._order.grace_seconds:
            sandbox.run_pre_stop(self._order.grace_seconds)
            sandbox.signal(signal.SIGTERM)
            deadline = max(deadline, time.monotonic() + AFTER_PRE_STOP_SECONDS) if sandbox.spec.pre_stop else deadline
        while not sandbox.wait(0.05):
            if time.monotonic() >= deadline or not self._order.grace_seconds:
                sandbox.signal(signal.SIGKILL)

    def _is_restarted(self, exit_code: int) -> bool:
        policy = self.pod.spec.restart_policy
        return self._order is None and (policy == "Always" or (policy == "OnFailure" and exit_code != 0))

    def _report_end(self, sandbox: Sandbox | None) -> None:
        code = sandbox.exit_code if sandbox and self._started_at else 137
        phase = "Succeeded" if code == 0 and not (self._order and self._order.reason) else "Failed"
        state = {"exitCode": code, "reason": "Error" if code else "Completed", "startedAt": self._started_at or None, "finishedAt": now()}
        if code and self.pod.spec.containers[0].termination_message_policy == "FallbackToLogsOnError":
            state["message"] = log_file.text(self.log)[-MESSAGE_CHARACTERS:]
        self._report(phase, {"terminated": state}, reason=self._order.reason if self._order else "")

    def _report(self, phase: str, state: dict, ready: bool = False, reason: str = "") -> None:
        container = self.pod.spec.containers[0]
        status = {
            "phase": phase, "podIP": self.address, "podIPs": [{"ip": self.address}], "hostIP": "127.0.0.1", "startTime": self._begun,
            "reason": reason or None,
            "conditions": [_condition("PodScheduled", True, self._begun), _condition("Initialized", True, self._begun), _condition("Ready", ready)],
            "containerStatuses": [{
                "name": container.name, "image": container.image, "imageID": "", "ready": ready,
                "restartCount": self._restarts, "state": {"waiting": None, "running": None, "terminated": None} | state,
            }],
            "initContainerStatuses": [_skipped(each, self._begun) for each in self.pod.spec.init_containers or []],
        }  # fmt: skip
        if not self.silent:
            namespace, name = self.key
            insist(lambda: self._core.patch_namespaced_pod_status(name, namespace, {"status": status}))


def insist(call: Callable[[], object]) -> None:
    """Until the API server has taken it; an object that is gone needs nothing more."""
    deadline = time.monotonic() + SERVER_AWAY_SECONDS
    while True:
        try:
            call()
            return
        except (HTTPError, client.ApiException) as error:
            status = getattr(error, "status", 0)
            if status in (404, 409):
                return
            if (status and status != 429 and status < 500) or time.monotonic() >= deadline:
                raise
            time.sleep(0.3)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _condition(kind: str, holds: bool, since: str = "") -> dict:
    return {"type": kind, "status": str(holds), "lastTransitionTime": since or now()}


def _skipped(container: client.V1Container, when: str) -> dict:
    state = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": when, "finishedAt": when}}
    return {"name": container.name, "image": container.image, "imageID": "", "ready": True, "restartCount": 0, "state": state}
