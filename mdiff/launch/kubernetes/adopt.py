"""Jobs that this machine did not submit: applied by hand, or by a colleague. They cost the same money, so they enter the books."""

from pathlib import Path

from mdiff.budget.ledger import read_ledger
from mdiff.launch.kubernetes.connection import open_cluster
from mdiff.launch.kubernetes.job_object import submission_of
from mdiff.launch.kubernetes.names import MANAGED, RUN_LABEL, run_label
from mdiff.recipe.job import Submission
from mdiff.recipe.kubernetes_settings import KubernetesSettings
from mdiff.run_dir import RunDir, replace_file


def adopt_jobs(runs_root: Path, settings: KubernetesSettings, run: str = "") -> None:
    """Write down the submissions of all jobs that the cluster has, or of those of one run.

    Raises:
        LaunchError: the cluster does not answer.
    """
    labels = {**MANAGED, RUN_LABEL: run_label(run)} if run else MANAGED
    cluster = open_cluster(settings)
    found = [submission_of(job, cluster.pinned(settings)) for job in cluster.jobs(labels)]
    for submission in found:
        if submission and run in ("", submission.job.run):
            _adopt(RunDir(runs_root / submission.job.run), submission)


def _adopt(run_dir: RunDir, submission: Submission) -> None:
    """One that was withdrawn because the server did not answer may be there after all.

    Where this machine sees the volume itself, the job's own supervisor writes everything down.
    """
    if str(run_dir.path) == submission.job.run_dir:
        return
    if submission.id not in {known.id for known in read_ledger(run_dir).submissions if not known.withdrawn}:
        replace_file(run_dir.submission(submission.id), submission.model_dump_json(indent=2))
