"""A Kubernetes API server that knows a few answers, and a kubeconfig file that leads to it; a real one: tests/kubernetes."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.launch.kubernetes_objects import GPU_TAINT, node, pod

NAMESPACE = "/api/v1/namespaces/vision"
CLAIM = {"spec": {"accessModes": ["ReadWriteMany"]}, "status": {"phase": "Bound", "capacity": {"storage": "1Ti"}}}


def healthy() -> dict[str, Any]:
    """Path -> answer. A list is answered as a list of the API."""
    claims = [{"metadata": {"name": name}} | CLAIM for name in ("mdiff-runs", "mdiff-data")]
    return {
        "/version": {"gitVersion": "v1.34.4"},
        "/api/v1/nodes": [node("a", taints=[GPU_TAINT]), node("b", taints=[GPU_TAINT]), node("c", gpus=4, product="NVIDIA-A100-SXM4-80GB")],
        "/api/v1/pods": [pod("a", 8)],
        NAMESPACE: {"metadata": {"name": "vision"}},
        f"{NAMESPACE}/persistentvolumeclaims": claims,
        **{f"{NAMESPACE}/persistentvolumeclaims/{claim['metadata']['name']}": claim for claim in claims},
        f"{NAMESPACE}/serviceaccounts/mdiff": {"metadata": {"name": "mdiff"}},
        f"{NAMESPACE}/resourcequotas": [],
        "/apis/apps/v1/deployments": [],
        "/apis/kubeflow.org/v1": {"resources": [{"name": "pytorchjobs"}]},
        "/apis/authentication.k8s.io/v1/selfsubjectreviews": {"status": {"userInfo": {"username": "you"}}},
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews": {"status": {"allowed": True}},
        "/apis/kubeflow.org/v1/namespaces/vision/pytorchjobs": {"kind": "PyTorchJob"},
    }


@dataclass
class Api:
    answers: dict[str, Any] = field(default_factory=healthy)
    forbidden: set[str] = field(default_factory=set)
    """Beginnings of paths."""
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        if any(path.startswith(each) for each in self.forbidden):
            return 403, {"kind": "Status", "message": f"{path} is forbidden"}
        if path not in self.answers:
            return 404, {"kind": "Status", "message": f"{path} not found", "details": {"name": path.rpartition("/")[2], "kind": "things"}}
        found = self.answers[path]
        return 200, {"items": found} if isinstance(found, list) else found


def write_kubeconfig(home: Path, server: str, contexts: tuple[str, ...] = ("prod",)) -> None:
    path = home / ".kube/config"
    path.parent.mkdir(exist_ok=True)
    target = {"cluster": "test", "user": "you", "namespace": "vision"}
    text = {
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "users": [{"name": "you", "user": {"token": "t"}}],
        "contexts": [{"name": name, "context": target} for name in contexts],
        "current-context": contexts[0],
    }
    path.write_text(yaml.safe_dump(text))


@contextmanager
def serving(api: Api) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(*api.answer(self.path.partition("?")[0].rstrip("/")))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            api.asked.append(self.path)
            if '"not-pytorch"' in body:
                self._answer(422, {"kind": "Status", "message": "admission webhook denied the request"})
            else:
                self._answer(*api.answer(self.path.partition("?")[0].rstrip("/")))

        def _answer(self, code: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
