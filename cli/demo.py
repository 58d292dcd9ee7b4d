"""`mdiff demo`: the whole path on this machine, from nothing to pictures, scores and a bill."""

import shutil
import time
from typing import Annotated

import typer

from .options import RunOption, RunsDirOption

MinutesOption = Annotated[float, typer.Option(min=0.05, help="Scales the steps of all stages; 20 draws better.")]
PicturesOption = Annotated[int, typer.Option(min=1, metavar="N", help="New pictures to score, of each task.")]
ImagesOption = Annotated[int, typer.Option(min=100, metavar="N", help="Pictures to train on.")]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Delete the demo's run and data set first.")]
COMPUTE_PACKAGES = ("torch", "numpy", "webdataset", "safetensors", "PIL", "tensorboard")


def demo(
    minutes: MinutesOption = 6,
    pictures: PicturesOption = 60,
    images: ImagesOption = 12_000,
    run: RunOption = "shapes",
    runs_dir: RunsDirOption = None,
    fresh: FreshOption = False,
) -> None:
    """Train, score and bill a small model on this machine: about six minutes on two cores.

    The same job path as on a cluster: data set, recipe, submission, supervisor, four stages, ledger.
    Interrupt it and start it again: it goes on where it was.

    \b
      mdiff demo
      mdiff demo --minutes 20 --run shapes-20
    """
    from .compute import require_packages
    from .demo_steps import make_data, places, plan_order, print_end, score, train

    require_packages(COMPUTE_PACKAGES)
    begin = time.monotonic()
    order = plan_order(minutes, run, runs_dir)
    run_dir, dataset = places(order)
    if fresh:
        shutil.rmtree(run_dir.path, ignore_errors=True)
    make_data(dataset, images, overwrite=fresh)
    train(order, run_dir)
    score(order, run_dir, dataset, pictures)
    print_end(run_dir, dataset, pictures, time.monotonic() - begin)
