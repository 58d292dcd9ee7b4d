"""`python -m mdiff.evaluate.sample RUN_DIR PROMPT ...`: the child process of `mdiff sample`."""

import argparse
import sys
from pathlib import Path

from mdiff.data.picture_grid import write_picture_grid
from mdiff.errors import MdiffError
from mdiff.evaluate.generate import open_painter
from mdiff.run_dir import RunDir


def main() -> int:
    arguments = parser().parse_args()
    try:
        painter = open_painter(RunDir(Path(arguments.run_dir)), guidance=arguments.guidance, sampler_steps=arguments.steps)
        captions = [prompt for prompt in arguments.prompts for _ in range(arguments.count)]
        write_picture_grid(arguments.out, painter.draw(captions, arguments.seed), captions, columns=min(4, len(captions)))
    except MdiffError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(arguments.out)
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mdiff.evaluate.sample", description="Draw pictures from a run's newest checkpoint.")
    parser.add_argument("run_dir", metavar="RUN_DIR")
    parser.add_argument("prompts", metavar="PROMPT", nargs="+")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG")
    parser.add_argument("--count", type=int, default=4, metavar="N", help="pictures of each prompt (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guidance", type=float, help="default: the recipe's")
    parser.add_argument("--steps", type=int, help="of the sampler; default: the recipe's")
    return parser


if __name__ == "__main__":
    sys.exit(main())
