"""The structure that DESIGN promises: arrows, sizes, two halves."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PRODUCT = sorted(path for top in ("mdiff", "cli") for path in (ROOT / top).rglob("*.py"))
MOST_LINES = 400
FORBIDDEN = {
    # The network knows no ranks and no environment; the mathematics knows no network; data is handed its rank.
    "mdiff/model": {"torch.distributed", "os"},
    "mdiff/diffusion": {"torch.distributed", "os"},
    "mdiff/data": {"torch.distributed"},
}


def imported_names(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_import_contracts_are_kept():
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([linter, "--config", "pyproject.toml"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("room", FORBIDDEN)
def test_rooms_do_not_import_what_they_must_not_know(room):
    found = {f"{path.relative_to(ROOT)}: {name}" for path in (ROOT / room).rglob("*.py") for name in imported_names(path) & FORBIDDEN[room]}
    assert not found


def test_no_file_is_too_long_to_be_read_in_one_sitting():
    long = {str(path.relative_to(ROOT)): lines for path in PRODUCT if (lines := path.read_text().count("\n")) > MOST_LINES}
    assert not long


def test_nothing_is_global_and_nothing_is_caught_blindly():
    found = []
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Global) or (isinstance(node, ast.ExceptHandler) and node.type is None):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found


@pytest.mark.parametrize(
    "command", [["--help"], ["submit", "--help"], ["recipe", "show", "microdit-xl"], ["budget", "report"]], ids=" ".join
)
def test_control_half_commands_do_not_load_torch(command, tmp_path):
    code = f"""
import sys
sys.argv = ["mdiff", *{command!r}]
from mdiff_cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
loaded = {{"torch", "numpy", "diffusers", "transformers", "kubernetes", "submitit"}} & set(sys.modules)
assert not loaded, loaded
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
