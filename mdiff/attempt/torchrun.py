"""The environment in which a node's supervisor starts the job's command."""

import json
from collections.abc import Mapping

from mdiff.attempt.node import Node
from mdiff.recipe.exchange import ATTEMPT_VARIABLE, DATASETS_VARIABLE
from mdiff.recipe.job import JobSpec
from mdiff.run_dir import AttemptDir

SHUTDOWN_SECONDS = "5"
"""How long torchrun waits for the other workers when one has crashed. They sit in a collective and deserve no checkpoint; stop
requests do not go through torchrun."""


def job_environment(job: JobSpec, attempt: AttemptDir, inherited: Mapping[str, str], node: Node) -> dict[str, str]:
    """Variables of the job's command."""
    return {
        **inherited,
        # Somebody follows the log.
        "PYTHONUNBUFFERED": "1",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": SHUTDOWN_SECONDS,
        **node.variables,
        **job.environment,
        DATASETS_VARIABLE: json.dumps(job.datasets),
        ATTEMPT_VARIABLE: str(attempt.path.absolute()),
    }
