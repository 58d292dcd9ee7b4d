"""`python -m mdiff.attempt RUN_DIR SUBMISSION_ID`: what every backend starts."""

import argparse
import sys
from pathlib import Path

from mdiff.attempt.admission import require_alone
from mdiff.attempt.node import this_machine
from mdiff.attempt.supervise import Rhythm, supervise
from mdiff.budget.ledger import read_ledger
from mdiff.errors import MdiffError
from mdiff.recipe.job import Submission, read_submission
from mdiff.recipe.site import BackendName
from mdiff.run_dir import RunDir

HEARTBEAT_SECONDS: dict[BackendName, float] = {"local": 5.0, "slurm": 30.0, "kubernetes": 30.0}
"""A shared file system is not to be bothered more often."""


def main(argv: list[str] | None = None) -> int:
    """The exit code; a user's mistake is one line on stderr."""
    arguments = parser().parse_args(argv)
    try:
        run_dir = RunDir(arguments.run_dir.absolute())
        submission = read_submission(run_dir, arguments.submission)
        require_alone(submission, read_ledger(run_dir))
        return supervise(run_dir, submission, rhythm(submission, arguments), this_machine(submission))
    except MdiffError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def rhythm(submission: Submission, arguments: argparse.Namespace) -> Rhythm:
    return Rhythm(
        heartbeat_seconds=arguments.heartbeat_seconds or HEARTBEAT_SECONDS[submission.job.backend],
        poll_seconds=arguments.poll_seconds,
    )


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m mdiff.attempt", description="Carry out one attempt of a submitted job.")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    parser.add_argument("submission", metavar="SUBMISSION_ID", help="a file in RUN_DIR/submissions, without .json")
    parser.add_argument("--heartbeat-seconds", type=float, help="how often the ledger record is replaced (default: by backend)")
    parser.add_argument("--poll-seconds", type=float, default=0.5, help="how often the job's files are read (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
