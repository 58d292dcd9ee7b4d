"""When a job is asked back, and when that is for others to decide."""

import signal

import pytest

from mdiff.attempt.exit_codes import End
from mdiff.attempt.log import AttemptLog
from mdiff.attempt.requeue import ask_for_requeue
from mdiff.attempt.stop import SignalWatch, stop_request
from mdiff.run_dir import AttemptDir


def notice(name: str):
    return stop_request("preempted", f"signal {name}")


@pytest.fixture
def ask(submit, tmp_path):
    def asked(reason, attempts=1, seconds_left=1e6, stop=None, **fields) -> bool:
        attempt = AttemptDir(tmp_path / "attempt")
        attempt.path.mkdir(exist_ok=True)
        attempt.requeue.unlink(missing_ok=True)
        answer = ask_for_requeue(
            attempt, End(reason), attempts, submit("", **fields).submission.job, seconds_left, stop, AttemptLog(tmp_path / "log")
        )
        assert answer == attempt.requeue.exists()
        return answer

    return asked


@pytest.mark.parametrize("reason", ["time_limit", "preempted", "peer_lost"])
def test_job_that_was_interrupted_is_asked_back(ask, reason):
    assert ask(reason, stop=notice("SIGUSR2"))


@pytest.mark.parametrize(
    "reason", ["completed", "budget", "failed", "cancelled", "no_progress", "attempts_used", "refused_budget", "refused_data"]
)
def test_job_that_has_come_to_an_end_is_not(ask, reason):
    assert not ask(reason)


def test_sigterm_leaves_the_decision_to_whoever_sent_it(ask):
    assert not ask("preempted", stop=notice("SIGTERM"))


def test_time_limit_that_the_supervisor_saw_itself_asks_back(ask):
    assert ask("time_limit", stop=stop_request("time_limit", "time limit of 4 h 0 min"))


def test_attempts_and_the_time_of_the_whole_job_are_limits(ask):
    assert not ask("time_limit", attempts=3, max_attempts=3)
    assert ask("time_limit", attempts=2, max_attempts=3)
    assert not ask("time_limit", seconds_left=60.0)


@pytest.mark.parametrize(("left", "reason"), [(100.0, "time_limit"), (3600.0, "preempted")])
def test_notice_means_time_limit_near_the_end_and_preemption_before(left, reason):
    with SignalWatch("slurm", grace_seconds=60.0) as signals:
        signal.raise_signal(signal.SIGUSR2)
        assert signals.request(left).reason == reason


def test_second_signal_is_impatience_only_where_a_person_sends_it():
    for backend, impatient in (("local", True), ("slurm", False)):
        with SignalWatch(backend, grace_seconds=60.0) as signals:
            for _ in range(2):
                signal.raise_signal(signal.SIGTERM)
            assert signals.is_impatient is impatient
