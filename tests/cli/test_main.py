"""The frame of all commands: help, errors, exit codes, start-up."""

import os
import subprocess
import sys
import time

import pytest

from mdiff.errors import BudgetExceededError, CheckpointError, DataError, LaunchError, MdiffError, RecipeError

START = [sys.executable, "-c", "from mdiff_cli.main import main; main()"]
COMMANDS = [
    "",
    "submit",
    "status",
    "logs",
    "cancel",
    "watch",
    "doctor",
    "site init",
    "site show",
    "budget report",
    "budget sync",
    "recipe list",
    "recipe show",
    "recipe check",
    "recipe schema",
    "data shapes",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(mdiff, command):
    long, short = mdiff(f"{command} --help"), mdiff(f"{command} -h")
    assert long == short
    assert long.code == 0
    assert long.err == ""
    if command != "budget report":
        assert "    mdiff " in long.out.split("Options:")[0]


def test_help_loads_nothing_heavy_and_is_fast():
    code = (
        "import sys; sys.argv = ['mdiff', '--help']\n"
        "from mdiff_cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'rich', 'kubernetes', 'submitit', 'asyncio'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    times = []
    for _ in range(3):
        begin = time.monotonic()
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        times.append(time.monotonic() - begin)
        assert result.returncode == 0, result.stderr
    assert min(times) < 0.4


def test_version(mdiff):
    result = mdiff("--version")
    assert result.code == 0
    assert result.out.startswith("mdiff")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MdiffError("x"), 1),
        (RecipeError("k", "x"), 2),
        (BudgetExceededError("x"), 3),
        (LaunchError("x"), 4),
        (DataError("x"), 5),
        (CheckpointError("x"), 6),
    ],
    ids=lambda value: type(value).__name__,
)
def test_error_of_a_user_is_a_line_and_an_exit_code(mdiff, monkeypatch, error, code):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("mdiff.recipe.load.preset_names", fail)
    result = mdiff("recipe list")
    assert (result.code, result.out, result.err) == (code, "", f"error: {error}\n")


def test_error_of_ours_stays_a_traceback(mdiff, monkeypatch):
    monkeypatch.setattr("mdiff.recipe.load.preset_names", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mdiff("recipe list")


def test_interrupt_is_130(mdiff, monkeypatch):
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mdiff.recipe.load.preset_names", interrupt)
    assert mdiff("recipe list").code == 130


def test_reader_that_has_had_enough_is_no_error():
    result = subprocess.run(
        ["bash", "-c", f"{START[0]} -c '{START[2]}' recipe schema | head -c 1"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert (result.stdout, result.stderr) == ("{", "")


@pytest.mark.parametrize(
    "line", ["submit", "submit --stage 1 --nodes 0", "submit --stage 1 --usd-per-gpu-hour 0", "nonsense", "submit --stage"]
)
def test_wrong_usage_is_2(mdiff, line):
    result = mdiff(line)
    assert result.code == 2
    assert "Traceback" not in result.err


def test_shell_completes_recipes_and_backends():
    def complete(words: str) -> list[str]:
        env = {**os.environ, "_MDIFF_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()))}
        return subprocess.run(START, capture_output=True, text=True, env=env).stdout.split()

    assert {"microdit-xl", "shapes"} <= set(complete("mdiff recipe show "))
    assert complete("mdiff submit --backend ") == ["local", "slurm", "kubernetes"]
