"""A submission on its way into a pod: on Kubernetes it travels in the job's environment, for its run directory is not seen from here."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from mdiff.errors import LaunchError
from mdiff.recipe.job import Submission

SUBMISSION, RECIPE, SUBMISSION_ID = "MDIFF_SUBMISSION", "MDIFF_RECIPE", "MDIFF_SUBMISSION_ID"
"""Variables: job, price and limit as JSON; the resolved recipe as TOML; the name that the submission has where it was made."""

NOT_CARRIED: Any = {
    "id": True, "submitted_at": True, "recipe_toml": True, "scheduler_job": True, "withdrawn": True, "ended": True,
    "job": {"environment", "container", "slurm", "kubernetes", "after"},
}  # fmt: skip
"""What the pod has anyway, or what only the place of the submission knows."""

ADVICE = "render the manifest anew: mdiff submit --backend kubernetes --dry-run"


def carry(submission: Submission) -> dict[str, str]:
    """The submission as variables; without its name, so that the same job is always the same text."""
    left_out = NOT_CARRIED if submission.job.elastic else NOT_CARRIED | {"job": NOT_CARRIED["job"] | {"elastic"}}
    return {SUBMISSION: submission.model_dump_json(indent=1, exclude=left_out), RECIPE: submission.recipe_toml}


def unpack(variables: Mapping[str, str], submission_id: str, submitted_at: str) -> Submission:
    """
    Raises:
        LaunchError: the variables are not there, or somebody has edited them wrongly.
    """
    try:
        told = json.loads(variables[SUBMISSION])
        known = {"id": submission_id, "submitted_at": submitted_at, "recipe_toml": variables[RECIPE]}
        return Submission.model_validate_json(json.dumps(told | known))
    except KeyError as error:
        raise LaunchError(f"the job's environment lacks {error.args[0]}; {ADVICE}") from error
    except ValidationError as error:
        finding = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in finding["loc"])
        raise LaunchError(f"{SUBMISSION} in the job's environment: {key}: {finding['msg']}; {ADVICE}") from error
    except (ValueError, TypeError) as error:
        raise LaunchError(f"{SUBMISSION} in the job's environment: no JSON ({error}); {ADVICE}") from error
