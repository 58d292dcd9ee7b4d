"""What submitit starts on every node of a SLURM job: this node's supervisor.

submitit pickles a `SlurmAttempt`, and each task calls it. Its own handler for the notice signal requeues through `scontrol`
from inside the job; ours replaces it as soon as the supervisor runs, saves the work, and leaves the requeue to the batch script on
the host. Only a notice that comes while the task is still importing meets submitit's handler, which needs `checkpoint`.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdiff.attempt.admission import require_alone
from mdiff.attempt.follow import follow
from mdiff.attempt.node import slurm_node
from mdiff.attempt.supervise import Rhythm, supervise
from mdiff.budget.ledger import read_ledger
from mdiff.errors import MdiffError
from mdiff.recipe.job import read_submission
from mdiff.run_dir import RunDir


@dataclass(frozen=True)
class SlurmAttempt:
    """One task's work. Texts alone, so that the interpreter of a container can read it whatever its version."""

    run_dir: str
    submission: str

    def __call__(self) -> None:
        """
        Raises:
            SystemExit: always; srun passes the code on.
        """
        from submitit import JobEnvironment

        environment = JobEnvironment()
        raise SystemExit(self._carry_out(list(environment.hostnames)))

    def checkpoint(self) -> Any:
        """Nothing has begun yet: start the same again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _carry_out(self, hostnames: list[str]) -> int:
        run_dir = RunDir(Path(self.run_dir))
        try:
            submission = read_submission(run_dir, self.submission)
            node = slurm_node(os.environ, hostnames, submission.job.attempt_limit_seconds)
            rhythm = Rhythm()
            if node.index:
                return follow(run_dir, submission, rhythm, node)
            require_alone(submission, read_ledger(run_dir))
            return supervise(run_dir, submission, rhythm, node)
        except MdiffError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            return error.exit_code
