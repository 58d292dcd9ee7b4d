"""What the manual tells people to type is understood, and runs where nothing is spent by it."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)
HARMLESS = re.compile(r"mdiff (recipe|budget report|--help|site show)|mdiff submit .*--dry-run")
MDIFF = shlex.join([sys.executable, "-c", "from mdiff_cli.main import main; main()"])


def commands() -> list[tuple[str, str]]:
    """(page, command line) of each `mdiff ...` in a bash block, without its comment."""
    found = []
    for page in PAGES:
        for block in BLOCK.findall(page.read_text()):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(page.name, re.sub(r"\s+#.*", "", line).strip()) for line in lines if line.strip().startswith("mdiff ")]
    return found


def run(command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / ".config")}
    return subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("page", "command"), commands())
def test_command_in_the_manual_is_understood(page, command, tmp_path):
    # Flags are checked before --help is obeyed.
    words = re.split(r"\s[|>]", command)[0]
    result = run(f"{MDIFF} {words.removeprefix('mdiff ')} --help", tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("page", "command"), [pair for pair in commands() if HARMLESS.match(pair[1])])
def test_command_in_the_manual_that_spends_nothing_runs(page, command, tmp_path):
    subprocess.run(f"{MDIFF} recipe show microdit-xl > my.toml", shell=True, cwd=tmp_path, check=True)
    result = run(f"set -o pipefail; {command.replace('mdiff', MDIFF, 1)}", tmp_path)
    assert result.returncode == 0, result.stderr


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_readme_shows_exactly_two_commands_for_a_fresh_machine():
    first_screen = (ROOT / "README.md").read_text().partition("\n## ")[0]
    assert len(BLOCK.findall(first_screen)) == 2
    assert all(block.startswith("python3 -m venv .venv") and block.count("\n") == 1 for block in BLOCK.findall(first_screen))
