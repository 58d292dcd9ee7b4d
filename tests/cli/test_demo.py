"""The demo, whole, with few steps: as a person starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TASKS = {"single_object", "two_objects", "counting", "colours", "position", "colour_attribution"}
SMALL_DEMO = ["demo", "--minutes", "0.05", "--pictures", "2", "--images", "400"]


class Demo:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run_dir = folder / "runs" / "shapes"

    def mdiff(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder / ".config")}
        environment.pop("MDIFF_RUNS", None)
        command = [sys.executable, "-c", "from mdiff_cli.main import main; main()", *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300)

    @property
    def scores(self) -> dict:
        return json.loads((self.run_dir / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    demo = Demo(tmp_path_factory.mktemp("demo"))
    result = demo.mdiff(*SMALL_DEMO)
    assert result.returncode == 0, result.stdout + result.stderr
    demo.output = result.stdout
    return demo


def test_demo_trains_all_stages_and_names_every_file_that_it_made(demo):
    names = [line.split()[1] for line in demo.output.partition("\nFiles\n")[2].partition("\n\n")[0].splitlines()]
    listed = [line.split()[-1] for line in demo.output.partition("\nFiles\n")[2].partition("\n\n")[0].splitlines()]
    assert len(names) == 8
    assert all((demo.folder / path).exists() for path in listed), listed
    stages = {path.name.rpartition("-step-")[0] for path in (demo.run_dir / "checkpoints").iterdir()}
    assert stages == {"stage-1", "stage-2", "stage-3", "stage-4"}


def test_demo_scores_all_six_tasks_and_held_out_captions(demo):
    assert {row["task"] for row in demo.scores["rows"] if not row["held_out"]} == TASKS
    assert any(row["held_out"] for row in demo.scores["rows"])
    assert "held-out" in demo.output


def test_demo_bills_its_job_and_says_in_three_lines_what_comes_next_on_a_cluster(demo):
    report = json.loads(demo.mdiff("budget", "report", "--run", "shapes", "--json").stdout)
    assert report["total"]["images_done"] == report["total"]["images_planned"] > 0
    assert report["total"]["spent_usd"] > 0
    assert [attempt["ended"] for attempt in report["attempts"]] == ["completed", "completed"]
    cluster = demo.output.partition("The same path on your cluster:\n")[2].splitlines()
    assert [line.strip()[:2] for line in cluster[:3]] == ["1.", "2.", "3."]


def test_sample_works_on_what_the_demo_left(demo):
    result = demo.mdiff("sample", "a red circle left of a blue square", "--run", "shapes")
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).read_bytes().startswith(b"\x89PNG")


def test_demo_again_does_nothing_twice(demo):
    before = (demo.run_dir / "evaluation.json").stat().st_mtime_ns
    result = demo.mdiff(*SMALL_DEMO)
    assert result.returncode == 0, result.stderr
    assert "done before" in result.stdout
    assert (demo.run_dir / "evaluation.json").stat().st_mtime_ns == before


def test_same_seed_gives_the_same_demo(demo, tmp_path):
    other = Demo(tmp_path)
    assert other.mdiff(*SMALL_DEMO).returncode == 0
    weights = [
        {path.parent.name: json.loads(path.read_text())["files"] for path in (run.run_dir / "checkpoints").glob("*/manifest.json")}
        for run in (demo, other)
    ]
    assert weights[0] == weights[1]
    assert demo.scores == other.scores
