"""Commands that compute on this machine: a child process in the compute half, whose exit code is ours."""

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from mdiff.errors import MdiffError


def run_compute(module: str, arguments: Sequence[str], needs: Sequence[str]) -> int:
    """Run `python -m module`; its exit code.

    Args:
        needs: packages without which it cannot start.

    Raises:
        MdiffError: one of them is not installed.
    """
    require_packages(needs)
    return subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode


def require_packages(names: Sequence[str]) -> None:
    """
    Raises:
        MdiffError: one of them is not installed.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise MdiffError(f"this command needs {', '.join(missing)}, which is not installed here: pip install 'mdiff[train]'")
