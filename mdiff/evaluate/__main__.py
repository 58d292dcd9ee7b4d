"""`python -m mdiff.evaluate RUN_DIR --dataset FOLDER`: the job that scores a run of the shapes recipe."""

import argparse
import sys
from pathlib import Path

from mdiff.errors import MdiffError
from mdiff.evaluate.generate import open_painter
from mdiff.evaluate.shapes import dataset_world, evaluate_shapes
from mdiff.run_dir import RunDir


def main() -> int:
    arguments = parser().parse_args()
    run_dir = RunDir(Path(arguments.run_dir))
    try:
        rows = evaluate_shapes(
            open_painter(run_dir),
            run_dir,
            dataset_world(Path(arguments.dataset)),
            arguments.pictures,
            arguments.seed,
            lambda n: print(f"drawn {n}", flush=True),
        )
    except MdiffError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for row in rows:
        print(f"{row.task:20} {'held-out' if row.held_out else 'seen':8} {row.right:4} of {row.pictures:4}  {row.share:.0%}")
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mdiff.evaluate", description="Score new pictures of a shapes run on the six tasks.")
    parser.add_argument("run_dir", metavar="RUN_DIR")
    parser.add_argument("--dataset", required=True, metavar="FOLDER", help="the shapes data set: it knows its world")
    parser.add_argument("--pictures", type=int, default=60, metavar="N", help="of each task (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    return parser


if __name__ == "__main__":
    sys.exit(main())
