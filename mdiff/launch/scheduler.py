"""A run's jobs, asked after at their scheduler until it says that they have ended; what is new goes into `sync/`."""

from mdiff.budget.ledger import Ledger, read_ledger
from mdiff.budget.sync import Reading, same_facts, write_readings
from mdiff.launch.backend import open_backend
from mdiff.recipe.job import Submission
from mdiff.run_dir import RunDir


def refresh(run_dir: RunDir, ledger: Ledger, *, everything: bool = False) -> Ledger:
    """The ledger with what the schedulers say now.

    Args:
        everything: ask again after jobs, too, whose end the scheduler has told before.

    Raises:
        LaunchError: a scheduler does not answer.
    """
    fresh = [reading for job in _asked(ledger, everything) if (reading := _read(job, ledger))]
    news = [reading for reading in fresh if not same_facts(ledger.readings.get(reading.submission), reading)]
    if not news:
        return ledger
    write_readings(run_dir, news)
    return read_ledger(run_dir)


def has_scheduler(submission: Submission) -> bool:
    return submission.job.backend != "local" and not submission.withdrawn


def _asked(ledger: Ledger, everything: bool) -> list[Submission]:
    return [submission for submission in filter(has_scheduler, ledger.submissions) if everything or not submission.ended]


def _read(submission: Submission, ledger: Ledger) -> Reading | None:
    return open_backend(submission.job.backend).read(submission, ledger)
