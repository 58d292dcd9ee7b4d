"""The whole demo, from nothing to scores, as a person starts it."""

import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from mdiff.recipe.load import fingerprint, load_recipe
from tests.bench.harness import record, seconds_of


def run() -> None:
    mdiff = Path(sys.executable).with_name("mdiff")
    with tempfile.TemporaryDirectory() as folder:
        # A home of its own: a site file of whoever runs this must not move runs or data.
        environment = {**os.environ, "HOME": folder, "XDG_CONFIG_HOME": f"{folder}/.config"}
        environment.pop("MDIFF_RUNS", None)
        work = partial(subprocess.run, [mdiff, "demo"], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        values = seconds_of(work, 0, 1)
        scores = json.loads(Path(folder, "runs/shapes/evaluation.json").read_text())
        shares = {f"{row['task']}{' held-out' if row['held_out'] else ''}": round(row["share"], 3) for row in scores["rows"]}
        recipe = fingerprint(load_recipe("shapes"))
        record("demo_time", "mdiff demo", values, "seconds", 0, mean=scores["mean"], shares=shares, recipe=recipe)
