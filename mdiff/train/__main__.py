"""`torchrun ... -m mdiff.train RECIPE RUN_DIR --stage 1|2-4|all`: started by the supervisor, never by hand in daily life."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from mdiff.errors import DataError, MdiffError
from mdiff.recipe.exchange import ATTEMPT_VARIABLE, DATASETS_VARIABLE, Outcome
from mdiff.recipe.load import load_recipe
from mdiff.recipe.stages import parse_stages
from mdiff.run_dir import AttemptDir, RunDir
from mdiff.train.metrics import log
from mdiff.train.run import train, write_outcome
from mdiff.train.world import World, process_group

OUTCOME_SECONDS = 30.0


def main() -> int:
    arguments = parser().parse_args()
    attempt = AttemptDir(Path(os.environ[ATTEMPT_VARIABLE])) if ATTEMPT_VARIABLE in os.environ else None
    folders = {name: Path(folder) for name, folder in json.loads(os.environ.get(DATASETS_VARIABLE, "{}")).items()}
    with process_group() as world:
        try:
            recipe = load_recipe(arguments.recipe)
            stages = parse_stages(arguments.stage, len(recipe.stages))
            outcome = train(recipe, RunDir(Path(arguments.run_dir)), stages, folders, attempt, world)
        except MdiffError as error:
            outcome = Outcome(reason="refused_data" if isinstance(error, DataError) else "failed", detail=str(error))
            finish(attempt, outcome, world, f"error: {error}")
            wait_for_outcome(attempt, world)
            return error.exit_code
        finish(attempt, outcome, world, f"{outcome.reason}; newest checkpoint {outcome.checkpoint}")
    return 0


def finish(attempt: AttemptDir | None, outcome: Outcome, world: World, message: str) -> None:
    if world.is_main:
        write_outcome(attempt, outcome)
        log(message)


def wait_for_outcome(attempt: AttemptDir | None, world: World) -> None:
    """All processes meet the same mistake, and the first one that leaves takes the others with it: let rank 0 say what it was."""
    deadline = time.monotonic() + OUTCOME_SECONDS
    while attempt and not world.is_main and not attempt.outcome.exists() and time.monotonic() < deadline:
        time.sleep(0.1)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="torchrun -m mdiff.train", description="Train stages of a run, from its newest checkpoint on.")
    parser.add_argument("recipe", metavar="RECIPE", help="name of a preset, or a TOML file")
    parser.add_argument("run_dir", metavar="RUN_DIR", help="where checkpoints, metrics and samples lie")
    parser.add_argument("--stage", required=True, help="1, 2-4 or all")
    return parser


def leave(code: int) -> None:
    """End without Python's tear-down, which may catch a thread inside C++ and abort a job that has completed."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
