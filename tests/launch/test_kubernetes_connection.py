"""A server that is busy, away, or whose answer was lost: asked again where that is safe, and one line where it does not help."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from mdiff.errors import LaunchError
from mdiff.launch.kubernetes.backend import KubernetesBackend
from mdiff.launch.kubernetes.connection import PAUSES, open_cluster
from mdiff.launch.kubernetes.refusals import RefusedError, refusal
from mdiff.launch.submit import plan_submission
from mdiff.recipe.kubernetes_settings import KubernetesSettings
from mdiff.run_dir import RunDir
from tests.launch.conftest import order


class Server:
    """Keeps jobs; `troubles` are the statuses of the next answers, whatever was asked. What was asked is done all the same."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict] = {}
        self.troubles: list[int] = []
        self.num_posts = 0

    def post(self, job: dict) -> tuple[int, dict]:
        self.num_posts += 1
        name = job["metadata"]["name"]
        if name in self.jobs:
            return 409, {"kind": "Status", "message": f'pytorchjobs.kubeflow.org "{name}" already exists', "details": {"name": name}}
        meta = {"uid": "0c4a8f6e", "creationTimestamp": "2026-11-24T10:00:00Z"}
        self.jobs[name] = job | {"metadata": job["metadata"] | meta}
        return 201, self.jobs[name]

    def get(self, path: str) -> tuple[int, dict]:
        name = path.rpartition("/")[2]
        if name == "pytorchjobs":
            return 200, {"items": list(self.jobs.values())}
        missing = {"kind": "Status", "message": f"{name} not found", "details": {"name": name, "kind": "pytorchjobs"}}
        return (200, self.jobs[name]) if name in self.jobs else (404, missing)


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(*state.get(self.path.partition("?")[0]))

        def do_POST(self) -> None:
            self._answer(*state.post(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def _answer(self, status: int, body: dict) -> None:
            if state.troubles:
                status, body = state.troubles.pop(0), {"kind": "Status", "message": "later"}
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    write_kubeconfig(home / "kubeconfig", f"http://127.0.0.1:{http.server_port}")
    monkeypatch.setenv("KUBECONFIG", str(home / "kubeconfig"))
    monkeypatch.setattr("mdiff.launch.kubernetes.connection.PAUSES", (0.01,) * len(PAUSES))
    yield state
    http.shutdown()
    http.server_close()


def write_kubeconfig(path: Path, server: str) -> None:
    names = {"clusters": [{"name": "c", "cluster": {"server": server}}], "users": [{"name": "u", "user": {"token": "t"}}]}
    context = {"name": "prod", "context": {"cluster": "c", "user": "u", "namespace": "vision"}}
    path.write_text(yaml.safe_dump({**names, "contexts": [context], "current-context": "prod"}))


def submission():
    return plan_submission(order("1", backend="kubernetes", dry_run=True)).submission


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_server_is_asked_again(server, status):
    server.troubles = [status] * len(PAUSES)
    assert open_cluster(KubernetesSettings()).jobs({}) == []


def test_server_that_stays_busy_is_told_in_its_own_words(server):
    server.troubles = [503] * (len(PAUSES) + 1)
    with pytest.raises(LaunchError, match="later"):
        open_cluster(KubernetesSettings()).jobs({})


def test_refusal_is_not_asked_again(server):
    server.troubles = [403, 200]
    with pytest.raises(RefusedError, match=r"later\n.*deploy/rbac.yaml"):
        open_cluster(KubernetesSettings()).jobs({})
    assert server.troubles == [200]


def test_job_whose_creation_was_not_answered_is_not_created_twice(server):
    server.troubles = [500]
    job = submission()
    assert KubernetesBackend().start(RunDir(Path("runs/shapes")), job) == "shapes-stage-1"
    assert server.num_posts == 2
    assert len(server.jobs) == 1


def test_name_that_somebody_else_took_meanwhile_is_refused(server):
    server.post(
        {"metadata": {"name": "shapes-stage-1"}, "spec": {"pytorchReplicaSpecs": {"Master": {"template": {"spec": {"containers": []}}}}}}
    )
    with pytest.raises(RefusedError, match="already exists"):
        KubernetesBackend().start(RunDir(Path("runs/shapes")), submission())


def test_creation_that_nobody_knows_of_says_so(server):
    server.troubles = [500] * (len(PAUSES) + 1)
    with pytest.raises(LaunchError, match="Whether shapes-stage-1 was created is not known"):
        KubernetesBackend().start(RunDir(Path("runs/shapes")), submission())


@pytest.mark.parametrize(("text", "words"), [("garbage: [", "cannot be read"), ("plain text", "cannot be read"), ("", "no kubeconfig")])
def test_kubeconfig_that_is_none_is_one_line(home, monkeypatch, text, words):
    (home / "kubeconfig").write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(home / "kubeconfig"))
    with pytest.raises(LaunchError, match=words):
        open_cluster(KubernetesSettings())


def test_context_that_is_not_there_names_those_that_are(server):
    with pytest.raises(LaunchError, match=r'kubernetes.context = "moon": no such context in the kubeconfig; it has: prod'):
        open_cluster(KubernetesSettings(context="moon"))


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, "404 page not found\n", "training operator is not installed"),
        (401, '{"message": "Unauthorized"}', "does not know who you are"),
        (403, '{"message": "pods is forbidden: exceeded quota: few"}', "kubectl describe quota --namespace vision"),
        (422, '{"message": "spec.x:\\n  is wrong"}', "spec.x: is wrong"),
        (500, b"", "Internal Server Error"),
    ],
)
def test_every_no_has_the_servers_words_and_what_to_do(status, body, words):
    assert words in str(refusal(status, body, "Internal Server Error", "https://c", "vision"))
