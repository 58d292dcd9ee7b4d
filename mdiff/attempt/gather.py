"""With which nodes an attempt of an elastic job begins: node 0 waits a while for all of them, and then goes on with those that came.

The meter starts when the job does. Until then the pods' own times tell what they held, as they do while an image is pulled.
"""

import json
import time
from collections.abc import Callable

from mdiff.attempt.exit_codes import START_AGAIN
from mdiff.attempt.node import JOIN_SECONDS
from mdiff.errors import LaunchError
from mdiff.recipe.job import JobSpec
from mdiff.run_dir import AttemptDir, create_file

GATHER_SECONDS = 60.0
"""How long node 0 waits for all nodes once there are enough: pods that are made anew together come within seconds of each other."""
LOOK_SECONDS = 0.5
MOST_IN_VAIN = 3


class GatheringError(LaunchError):
    """No attempt came about; the operator makes the pod anew."""

    exit_code = START_AGAIN


def gather(
    attempt: AttemptDir,
    job: JobSpec,
    is_superseded: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[int, ...]:
    """Numbers of the nodes that take part; empty if the job is not elastic: all of them.

    Raises:
        GatheringError: too few nodes have come, or another pod is node 0 by now.
    """
    if job.elastic is None:
        return ()
    _refuse_to_loop(attempt)
    attempt.path.mkdir(parents=True, exist_ok=True)
    begin, least, most = clock(), job.elastic.least_nodes, job.hardware.nodes
    while not _is_enough(len(nodes := _present(attempt, most)), least, most, clock() - begin):
        if is_superseded():
            raise GatheringError(f"another pod has begun an attempt after {attempt.name}")
        if clock() - begin >= JOIN_SECONDS:
            raise GatheringError(f"{len(nodes)} of at least {least} nodes came within {JOIN_SECONDS} s (kubernetes.least_nodes)")
        sleep(LOOK_SECONDS)
    create_file(attempt.members, json.dumps(nodes))
    print(f"attempt {attempt.name} begins with {len(nodes)} of {most} nodes: {', '.join(map(str, nodes))}", flush=True)
    return read_members(attempt) or ()


def _refuse_to_loop(attempt: AttemptDir) -> None:
    """Attempts that never gathered have no record, so nothing else would count them, and each has held a node for long.

    Raises:
        LaunchError: the last ones were such.
    """
    job = attempt.name.partition(".")[0]
    earlier = sorted(path for path in attempt.path.parent.glob(f"{job}.*") if path.name < attempt.name)[-MOST_IN_VAIN:]
    if len(earlier) == MOST_IN_VAIN and not any(AttemptDir(path).record.exists() for path in earlier):
        raise LaunchError(f"{MOST_IN_VAIN} times in a row too few nodes came (kubernetes.least_nodes); submit again when there is room")


def read_members(attempt: AttemptDir) -> tuple[int, ...] | None:
    """None while the attempt is gathering, and where it takes all nodes."""
    try:
        return tuple(json.loads(attempt.members.read_text()))
    except OSError:
        return None


def _is_enough(count: int, least: int, most: int, waited_seconds: float) -> bool:
    return count == most or (count >= least and waited_seconds >= GATHER_SECONDS)


def _present(attempt: AttemptDir, most: int) -> list[int]:
    return [0, *(index for index in range(1, most) if attempt.node_joined(index).exists())]
