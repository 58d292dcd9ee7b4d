"""A user of the cluster: types commands on a laptop that has a kubeconfig file and nothing else of the cluster."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.kubernetes.build import KUBECTL, program

ROOT = Path(__file__).parent.parent.parent
MDIFF = [sys.executable, "-c", "from mdiff_cli.main import main; main()"]


@dataclass(frozen=True)
class User:
    """Types commands in a home folder of their own."""

    home: Path
    kubeconfig: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "MDIFF", "XDG"))}
        return kept | {"HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig)}

    def site(self, text: str) -> Path:
        path = self.home / ".config/mdiff/site.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def mdiff(self, *words: str, check: bool = True, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return self._run([*MDIFF, *words], self.home, check, stdin)

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        """A command that goes on while the test does something else."""
        return subprocess.Popen(
            [*MDIFF, *words], cwd=self.home, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def kubectl(self, *words: str, check: bool = True, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """In the project's folder."""
        return self._run([str(program(KUBECTL)), *words], ROOT, check, stdin)

    def _run(self, words: list[str], folder: Path, check: bool, stdin: str) -> "subprocess.CompletedProcess[str]":
        result = subprocess.run(
            words, cwd=folder, env=self.environment, input=stdin, capture_output=True, text=True, timeout=180, check=False
        )
        assert not check or result.returncode == 0, f"{' '.join(words)}: {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result
