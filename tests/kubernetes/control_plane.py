"""A real Kubernetes control plane on loopback: `python -m tests.kubernetes.control_plane start|stop DIR`.

etcd, kube-apiserver with RBAC, those of Kubernetes' controllers that act without nodes (CONTROLLERS), and the PyTorchJob operator
with its CRD, its own role and its validating webhook. Pods run only with a kubelet (kubelet.py). Nothing outside DIR is written, but
for the empty folder CERTIFICATES; only what was started here is ended.

    DIR/kubeconfig       contexts `admin` (current) and `limited`        DIR/log/      the log of each program
    DIR/run/*.pid        what was started                                DIR/etcd/     all objects
"""

import base64
import os
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from kubernetes import client, config, utils

from tests.kubernetes import build
from tests.waiting import holds

PROGRAMS = ("openssl", "unshare", "mount", "ip", "nsenter", "setpriv", "chroot", "pkill")
NAMESPACE = "default"
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
CERTIFICATES = "/tmp/k8s-webhook-server/serving-certs"
"""Where the operator looks for its certificate; it cannot be told another place, so each gets a mount there of its own."""
CONTROLLERS = (
    "garbage-collector-controller", "namespace-controller", "resourcequota-controller", "job-controller", "ttl-after-finished-controller",
    "serviceaccount-controller",
)  # fmt: skip
"""Without those that judge nodes by a heartbeat or provision volumes: the test kubelet has neither."""
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
"""The answer that controllers read: all kinds in one document."""
WEBHOOK_SECRET = "training-operator-webhook-cert"
OPERATOR_USER = "system:serviceaccount:kubeflow:training-operator"
TOKENS = {
    "admin": "admin,system:masters", "limited": "limited", "member": "member", "operator": OPERATOR_USER, "controllers": "controllers,system:masters",
}  # fmt: skip
"""Name of a token -> the user and the groups that it stands for. `limited` has no right at all, `member` those of deploy/rbac.yaml once
a test has granted them."""


def missing() -> str:
    """Why there can be no control plane here; "" if there can."""
    if os.geteuid():
        return "a control plane with pods needs root (mount and network namespaces)"
    path = f"{os.environ['PATH']}:{SYSTEM_PATH}"
    lacking = [program for program in PROGRAMS if not shutil.which(program, path=path)]
    return f"no {', '.join(lacking)} on this machine" if lacking else build.missing()


@dataclass(frozen=True)
class ControlPlane:
    """Started by `start`, ended by `stop`; both may be called from different processes."""

    root: Path
    number: int = 31
    """Of its ports; two control planes on one machine have different ones."""
    _children: dict[str, subprocess.Popen] = field(default_factory=dict)

    @property
    def port(self) -> int:
        """The first of ten; the last is free for a kubelet."""
        return 17000 + 10 * self.number

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.port + 2}"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def certificate(self) -> Path:
        """The server's, followed by that of the authority which signed it; its key lies beside it."""
        return self.root / "certs/apiserver.crt"

    def start(self) -> None:
        for folder in ("log", "run", "certs", "webhook"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        self._write_tokens()
        self.start_etcd()
        self.start_apiserver()
        self._write_kubeconfig()
        self._install_operator()
        # The controllers look for new kinds only twice a minute; until then a deleted job would leave its pods behind.
        self._wait_until("apiserver", self._serves_jobs, 30)
        self.start_controllers()
        self.start_operator()

    def start_etcd(self) -> None:
        clients, peers = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.port + 1}"
        self._spawn("etcd", [
            str(build.program(build.ETCD)), f"--data-dir={self.root}/etcd", "--unsafe-no-fsync", f"--initial-cluster=default={peers}",
            f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}",
        ])  # fmt: skip

    def start_apiserver(self) -> None:
        # There is no controller that would make a token for every pod; hence no ServiceAccount admission.
        self._spawn("apiserver", [
            str(build.program(build.APISERVER)), f"--etcd-servers=http://127.0.0.1:{self.port}", f"--cert-dir={self.root}/certs",
            "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={self.port + 2}",
            "--service-cluster-ip-range=10.0.0.0/24", "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.root}/sa.key", f"--service-account-signing-key-file={self.root}/sa.key",
            f"--token-auth-file={self.root}/tokens.csv", "--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount",
            "--allow-privileged=true", "--kubelet-preferred-address-types=InternalIP",
        ])  # fmt: skip
        self._wait_until("apiserver", self._ready, 120)

    def start_controllers(self) -> None:
        self._spawn("controllers", [
            str(build.program(build.CONTROLLERS)), f"--kubeconfig={self.root}/kubeconfig-controllers", "--leader-elect=false",
            f"--controllers={','.join(CONTROLLERS)}", "--secure-port=0",
        ])  # fmt: skip

    def start_operator(self) -> None:
        words = [
            str(build.program(build.OPERATOR)), "--enable-scheme=pytorchjob", f"--kubeconfig={self.root}/kubeconfig-operator",
            f"--metrics-bind-address=127.0.0.1:{self.port + 3}", f"--health-probe-bind-address=127.0.0.1:{self.port + 4}",
            f"--webhook-server-port={self.port + 5}",
        ]  # fmt: skip
        mounts = f"mkdir -p {CERTIFICATES}; mount --bind {self.root}/webhook {CERTIFICATES}"
        self._spawn("operator", ["unshare", "--mount", "bash", "-ec", f"{mounts}; exec {shlex.join(words)}"])
        self._wait_until("operator", self._copy_certificate, 60)
        self._wait_until("operator", self._operator_ready, 120)

    def stop(self) -> None:
        for name in ("operator", "controllers", "apiserver", "etcd"):
            self.stop_program(name)

    def stop_program(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End `etcd`, `apiserver`, `controllers` or `operator`; SIGKILL for a crash. `start_...` brings it back, with all objects."""
        pid_file = self.root / f"run/{name}.pid"
        if not pid_file.exists():
            return
        pid = int(pid_file.read_text())
        if self._is_ours(pid):
            os.kill(pid, number)
            if not holds(lambda: not self._is_ours(pid), 15):
                os.kill(pid, signal.SIGKILL)
        if name in self._children:
            self._children.pop(name).wait()
        pid_file.unlink()

    def restart_apiserver(self) -> None:
        """It crashes and comes back, with all objects."""
        self.stop_program("apiserver", signal.SIGKILL)
        self.start_apiserver()

    @contextmanager
    def client(self, user: str = "admin") -> Iterator[client.ApiClient]:
        """A connection as `admin` or `limited`, closed at the end."""
        with config.new_client_from_config(str(self.kubeconfig), context=user) as api:
            try:
                yield api
            finally:
                api.rest_client.pool_manager.clear()

    def log(self, name: str) -> str:
        return (self.root / f"log/{name}.log").read_text(errors="replace")

    def _spawn(self, name: str, words: list[str]) -> None:
        environment = os.environ | {"PATH": f"{os.environ['PATH']}:{SYSTEM_PATH}"}
        with (self.root / f"log/{name}.log").open("a") as log:
            # A session of its own: Ctrl-C at the tests must not reach it before `stop` does.
            self._children[name] = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        (self.root / f"run/{name}.pid").write_text(str(self._children[name].pid))

    def _is_ours(self, pid: int) -> bool:
        """Whether the process lives and is one of these: numbers are given again."""
        for child in self._children.values():
            child.poll()
        try:
            return str(self.root) in Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            return False

    def _wait_until(self, name: str, condition: Callable[[], object], seconds: float) -> None:
        child = self._children[name]
        done = holds(lambda: child.poll() is not None or condition(), seconds)
        assert child.poll() is None, f"{name} has ended with exit code {child.returncode}: {self.log(name)[-3000:]}"
        assert done, f"{name} is not ready after {seconds} s: {self.log(name)[-3000:]}"

    def _write_tokens(self) -> None:
        if not (self.root / "sa.key").exists():
            subprocess.run(["openssl", "genrsa", "-out", self.root / "sa.key", "2048"], check=True, capture_output=True)
        rows = []
        for name, identity in TOKENS.items():
            user, _, group = identity.partition(",")
            rows.append(f"{self._token(name)},{user},{name},{group}")
        (self.root / "tokens.csv").write_text("\n".join(rows) + "\n")

    def _token(self, name: str) -> str:
        return f"token-of-{name}-{self.number}"

    def _write_kubeconfig(self) -> None:
        for name, users in {"": ("admin", "limited", "member"), "-operator": ("operator",), "-controllers": ("controllers",)}.items():
            path = self.root / f"kubeconfig{name}"
            path.write_text(yaml.safe_dump(self._kubeconfig(users)))
            path.chmod(0o600)

    def _kubeconfig(self, users: tuple[str, ...]) -> dict:
        """The first user's context is the current one."""
        authority = base64.b64encode(self.certificate.read_bytes()).decode()
        context = {"cluster": "test", "namespace": NAMESPACE}
        return {
            "apiVersion": "v1", "kind": "Config", "current-context": users[0],
            "clusters": [{"name": "test", "cluster": {"server": self.server, "certificate-authority-data": authority}}],
            "users": [{"name": user, "user": {"token": self._token(user)}} for user in users],
            "contexts": [{"name": user, "context": context | {"user": user}} for user in users],
        }  # fmt: skip

    def _install_operator(self) -> None:
        """What `kubectl apply -k manifests/overlays/standalone` installs, but for the Deployment: CRD, role, webhook."""
        base = build.module_folder(build.OPERATOR) / "manifests/base"
        documents = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubeflow"}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": WEBHOOK_SECRET, "namespace": "kubeflow"}},
            _webhook_service(),
            *_documents(base / "crds/kubeflow.org_pytorchjobs.yaml"),
            *_documents(base / "rbac/role.yaml"),
            *(_bound_to_operator(each) for each in _documents(base / "rbac/cluster-role-binding.yaml")),
            *(_webhook(each, self.port + 5) for each in _documents(base / "webhook/manifests.yaml")),
        ]
        with self.client() as api:
            for document in documents:
                utils.create_from_dict(api, document)

    def _ready(self) -> bool:
        return self.certificate.exists() and bool(self._get("/readyz"))

    def _serves_jobs(self) -> bool:
        return b'"pytorchjobs"' in self._get("/apis", accept=DISCOVERY)

    def _get(self, path: str, accept: str = "*/*") -> bytes:
        """Of an administrator; b"" when there is no answer."""
        headers = {"Authorization": f"Bearer {self._token('admin')}", "Accept": accept}
        context = ssl.create_default_context(cafile=str(self.certificate))
        try:
            with urllib.request.urlopen(urllib.request.Request(self.server + path, headers=headers), context=context, timeout=5) as answer:
                return answer.read()
        except OSError:
            return b""

    def _copy_certificate(self) -> bool:
        """The operator writes its certificate into a Secret and waits until it appears as files: a kubelet's work."""
        with self.client() as api:
            data = client.CoreV1Api(api).read_namespaced_secret(WEBHOOK_SECRET, "kubeflow").data or {}
        for name, value in data.items():
            (self.root / "webhook" / name).write_bytes(base64.b64decode(value))
        return bool(data)

    def _operator_ready(self) -> bool:
        """Its own probe waits for the webhook's port; that the server trusts it shows in a job that it lets pass."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port + 4}/readyz", timeout=5), self.client() as api:
                _create_nothing(api)
        except (OSError, client.ApiException):
            return False
        return True


def _documents(path: Path) -> list[dict]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def _webhook_service() -> dict:
    """Leads the API server to the operator's port on loopback; addresses there are not allowed as endpoints, a name is."""
    metadata = {"name": "training-operator", "namespace": "kubeflow"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"type": "ExternalName", "externalName": "localhost"}}


def _bound_to_operator(binding: dict) -> dict:
    return binding | {"subjects": [{"kind": "ServiceAccount", "name": "training-operator", "namespace": "kubeflow"}]}


def _webhook(configuration: dict, port: int) -> dict:
    """With the names that kustomize would give it, and only for the kind whose CRD is installed."""
    hooks = [hook for hook in configuration["webhooks"] if "pytorch" in hook["name"]]
    for hook in hooks:
        hook["clientConfig"]["service"] |= {"name": "training-operator", "namespace": "kubeflow", "port": port}
    return configuration | {"metadata": {"name": "validator.training-operator.kubeflow.org"}, "webhooks": hooks}


def _create_nothing(api: client.ApiClient) -> None:
    """Send a valid job through the whole of admission, without creating it."""
    master = {"replicas": 1, "template": {"spec": {"containers": [{"name": "pytorch", "image": "none"}]}}}
    job = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "probe"},
        "spec": {"pytorchReplicaSpecs": {"Master": master}},
    }
    client.CustomObjectsApi(api).create_namespaced_custom_object("kubeflow.org", "v1", NAMESPACE, "pytorchjobs", job, dry_run="All")


if __name__ == "__main__":
    control_plane = ControlPlane(Path(sys.argv[2]).absolute())
    {"start": control_plane.start, "stop": control_plane.stop}[sys.argv[1]]()
    if sys.argv[1] == "start":
        print(f"export KUBECONFIG={control_plane.kubeconfig}")
