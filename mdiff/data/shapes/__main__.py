"""python -m mdiff.data.shapes OUT --images N: draw a shapes data set."""

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError

from mdiff.data.shapes.generate import DEFAULT_SHARDS, ShapesSettings, clear, generate, holds
from mdiff.data.shapes.world import COLOURS, SHAPES, ShapesWorld
from mdiff.errors import DataError, MdiffError, UsageError


def main(argv: list[str] | None = None) -> int:
    """The exit code; errors are one line on stderr."""
    arguments = _parser().parse_args(argv)
    try:
        _make(arguments.out, _settings(arguments), arguments.overwrite)
    except MdiffError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m mdiff.data.shapes", description="Draw a data set of captioned shapes.")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the data set")
    parser.add_argument("--images", type=int, required=True, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resolutions", default="16,32", help="sides of the pictures in pixels (default: %(default)s)")
    parser.add_argument("--shards", type=int, help=f"tar files per folder (default: {DEFAULT_SHARDS}, or fewer for fewer images)")
    parser.add_argument("--shapes", type=int, default=3, choices=range(2, len(SHAPES) + 1), help=f"how many of {', '.join(SHAPES)}")
    parser.add_argument("--colours", type=int, default=3, choices=range(2, len(COLOURS) + 1), help=f"how many of {', '.join(COLOURS)}")
    parser.add_argument("--layout", choices=["fixed", "free"], default="fixed", help="free: objects lie and are as large as they like")
    parser.add_argument("--overwrite", action="store_true", help="replace a data set that is already in OUT")
    return parser


def _settings(arguments: argparse.Namespace) -> ShapesSettings:
    try:
        return ShapesSettings(
            world=ShapesWorld(shapes=SHAPES[: arguments.shapes], colours=tuple(COLOURS)[: arguments.colours], layout=arguments.layout),
            images=arguments.images,
            seed=arguments.seed,
            resolutions=tuple(int(side) for side in arguments.resolutions.split(",")),
            shards=max(1, min(DEFAULT_SHARDS, arguments.images)) if arguments.shards is None else arguments.shards,
        )
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UsageError(f"--{key}: {first['msg']}" if key else first["msg"].removeprefix("Value error, ")) from error
    except ValueError as error:
        raise UsageError(f"--resolutions {arguments.resolutions}: must be whole numbers with commas between them") from error


def _make(root: Path, settings: ShapesSettings, overwrite: bool) -> None:
    if overwrite:
        clear(root)
    if holds(root, settings):
        print(f"{root}: already holds this data set of {settings.images:,} pictures", file=sys.stderr)
        return
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(f"{root}: not empty, and what it holds is not this data set; take another folder, or replace it with --overwrite")
    generate(root, settings, progress=lambda drawn, images: print(f"drawn {drawn:,} of {images:,}", file=sys.stderr))


if __name__ == "__main__":
    sys.exit(main())
