"""Which of several witnesses of a job's end is believed, and what the scheduler is told."""

from typing import get_args

import pytest

from mdiff.attempt.exit_codes import EXIT_CODES, JobEnd, end_of
from mdiff.attempt.log import last_words
from mdiff.budget.record import RESTARTED_REASONS, EndReason
from mdiff.recipe.exchange import Outcome, StopRequest


def job_end(exit_code=0, said=None, asked=None, was_killed=False, words=""):
    outcome = Outcome(reason=said) if said else None
    stop = StopRequest(reason=asked, requested_at="", requested_by="someone") if asked else None
    return end_of(JobEnd(exit_code, outcome, stop, was_killed, words))


def test_every_end_reason_has_an_exit_code_and_only_restarted_ones_have_143():
    assert set(EXIT_CODES) == set(get_args(EndReason))
    assert {reason for reason, code in EXIT_CODES.items() if code == 143} == RESTARTED_REASONS


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({}, "completed"),
        ({"said": "completed", "asked": "preempted"}, "completed"),
        ({"said": "stopped", "asked": "budget"}, "budget"),
        ({"asked": "preempted", "exit_code": 1}, "preempted"),
        ({"asked": "preempted", "said": "failed", "exit_code": 1}, "failed"),
        ({"asked": "cancelled", "exit_code": 137, "was_killed": True}, "cancelled"),
        ({"exit_code": 1}, "failed"),
        ({"said": "refused_data", "exit_code": 5}, "refused_data"),
        ({"said": "stopped", "exit_code": 1}, "failed"),
        ({"said": "stopped"}, "failed"),
    ],
    ids=str,
)
def test_reason_of_the_end(facts, reason):
    assert job_end(**facts).reason == reason


def test_log_of_torchrun_yields_the_line_that_names_the_cause(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text(
        "12:00:00 stage 1\n[rank0]: Traceback (most recent call last):\n[rank0]: ValueError: width 7 is odd\n"
        "Traceback (most recent call last):\ntorch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n====\n"
        "mdiff.train FAILED\n  exitcode  : 1 (pid: 12)\n  traceback : To enable traceback see: https://pytorch.org\n"
    )
    assert last_words(log) == "ValueError: width 7 is odd"
    log.write_text("all is well\n")
    assert last_words(log) == ""
