"""The whole demo, from nothing to scores, as a person starts it."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from mdiff.recipe.load import fingerprint, load_recipe
from tests.bench.harness import record, seconds_of


def run() -> None:
    mdiff = Path(sys.executable).with_name("mdiff")
    with tempfile.TemporaryDirectory() as folder:
        command = [mdiff, "demo", "--runs-dir", f"{folder}/runs", "--data-dir", f"{folder}/data"]
        values = seconds_of(lambda: subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL), 0, 1)
        scores = json.loads(Path(folder, "runs/shapes/evaluation.json").read_text())
        shares = {f"{row['task']}{' held-out' if row['held_out'] else ''}": round(row["share"], 3) for row in scores["rows"]}
        recipe = fingerprint(load_recipe("shapes"))
        record("demo_time", "mdiff demo", values, "seconds", 0, mean=scores["mean"], shares=shares, recipe=recipe)
