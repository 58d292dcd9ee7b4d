"""Jobs on this machine: state, status, logs, cancel."""

import json
import os
import signal
import threading
import time

import pytest

from mdiff.budget.ledger import read_ledger
from mdiff.errors import LaunchError
from mdiff.launch.cancel import cancel_job
from mdiff.launch.local import LocalBackend
from mdiff.launch.logs import exit_code_of, follow, newest_logs, tail
from mdiff.launch.state import STATE_AFTER, JobState
from mdiff.launch.status import find_run, read_status
from tests.attempt.conftest import wait_until
from tests.launch.conftest import wait_for_end

POLITE = """
progress(640, newest_checkpoint="stage-1-step-000010", newest_checkpoint_at="2026-11-24T00:00:00+00:00", newest_samples="samples/a.png",
         loss=0.5, images_per_second=100.0)
while not asked_to_stop(): time.sleep(0.02)
outcome('stopped')
"""


def state_of(plan, submission) -> JobState:
    return LocalBackend().look(submission, read_ledger(plan.run_dir)).state


def test_only_ends_are_final():
    assert not JobState.UNKNOWN.is_final
    assert all(state.is_final for state in STATE_AFTER.values())


def test_supervisor_is_in_a_session_of_its_own_and_does_not_hear_the_terminal(start):
    plan, submission = start("1", POLITE)
    pid = int(submission.scheduler_job)
    assert os.getsid(pid) == pid
    os.kill(pid, signal.SIGHUP)
    wait_until(lambda: read_status(plan.run_dir).progress)
    assert state_of(plan, submission) is JobState.RUNNING


def test_cancel_lets_the_job_save_its_work(start):
    plan, submission = start("1", POLITE)
    wait_until(lambda: read_status(plan.run_dir).progress)
    assert f"asked job {submission.scheduler_job} to stop" in cancel_job(plan.run_dir)
    wait_for_end(plan, submission)
    assert state_of(plan, submission) is JobState.CANCELLED
    with pytest.raises(LaunchError, match="no job to cancel"):
        cancel_job(plan.run_dir)


def test_job_that_was_asked_to_stop_is_stopping_and_a_second_cancel_says_so(start):
    plan, submission = start("1", "while not os.path.exists(here + '/go'): time.sleep(0.02)")
    cancel_job(plan.run_dir)
    assert state_of(plan, submission) is JobState.STOPPING
    assert "was asked to stop before (cancelled)" in cancel_job(plan.run_dir)


def test_killed_supervisor_is_a_failed_job_and_frees_its_reservation(start):
    plan, submission = start("1", POLITE)
    wait_until(lambda: read_status(plan.run_dir).progress)
    os.kill(int(submission.scheduler_job), signal.SIGKILL)
    wait_until(lambda: state_of(plan, submission) is JobState.FAILED)
    assert read_status(plan.run_dir).detail == "its supervisor was killed"
    assert exit_code_of(plan.run_dir) == 1


def test_status_tells_where_training_stands_and_what_it_costs(start):
    plan, submission = start("1-2", POLITE)
    wait_until(lambda: read_status(plan.run_dir).progress)
    status = read_status(plan.run_dir)
    assert (status.run, status.job, status.backend, status.state, status.attempts) == (
        "shapes",
        submission.scheduler_job,
        "local",
        "RUNNING",
        1,
    )
    assert (status.progress.stage, status.progress.step, status.progress.images_seen, status.progress.loss) == (1, 64, 640, 0.5)
    assert status.progress.images_per_second == 100.0 / plan.job.hardware.num_devices
    stage = plan.recipe.stages[0]
    assert status.progress.stage_seconds_left == pytest.approx((stage.images - 640) / 100)
    assert status.progress.job_seconds_left > status.progress.stage_seconds_left
    assert status.newest_checkpoint == "stage-1-step-000010"
    assert status.newest_samples == str(plan.run_dir.path / "samples/a.png")
    assert 0 <= status.spent_usd < status.limit_usd
    fields = json.loads(status.model_dump_json())
    assert isinstance(fields["spent_usd"], float)
    assert fields["state"] == "RUNNING"


def test_run_is_the_named_one_else_the_one_with_the_newest_job(start, home):
    with pytest.raises(LaunchError, match="no run in"):
        find_run(home / "runs")
    first, submission = start("1", "outcome('completed')", run="zebra")
    wait_for_end(first, submission)
    second, submission = start("1", "outcome('completed')", run="ant")
    wait_for_end(second, submission)
    assert find_run(home / "runs") == second.run_dir
    assert find_run(home / "runs", "zebra") == first.run_dir
    with pytest.raises(LaunchError, match="run bee in .* has no job yet"):
        read_status(find_run(home / "runs", "bee"))


def test_tail_gives_the_last_lines_of_long_and_short_files(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("".join(f"line {n} {'x' * 100}\n" for n in range(5000)))
    text, end = tail(log, 3)
    assert [line.split()[1] for line in text.splitlines()] == ["4997", "4998", "4999"]
    assert end == log.stat().st_size
    log.write_text("only\n")
    assert tail(log, 100)[0] == "only\n"
    assert tail(log, 0) == ("", 5)


def test_following_a_log_gives_all_of_it_and_ends_with_the_job(start):
    plan, _ = start("1", "for n in range(20): print(f'line {n} ä', flush=True); time.sleep(0.02)\noutcome('completed')")
    text = "".join(follow(plan.run_dir, 1000))
    assert [line for line in text.splitlines() if line.startswith("line")] == [f"line {n} ä" for n in range(20)]
    assert 'attempt ends with reason "completed"' in text
    assert exit_code_of(plan.run_dir) == 0
    assert newest_logs(plan.run_dir, 100).count("line") == 20


def test_following_reads_every_attempt_of_a_job_that_is_started_again(start, monkeypatch):
    plan, submission = start("1", "print('HERE', attempt.name, flush=True); outcome('completed')")
    wait_for_end(plan, submission)
    first = plan.run_dir.attempt_dirs()[0]
    second = plan.run_dir.attempt(first.name + "-again")
    looks = iter([(JobState.RUNNING, first), (JobState.RUNNING, first), (JobState.RUNNING, second), (JobState.COMPLETED, second)])
    second.path.mkdir()
    second.log.write_text("more\n")
    monkeypatch.setattr("mdiff.launch.logs._look", lambda *_: next(looks))
    text = "".join(follow(plan.run_dir, 100, sleep=lambda _: None))
    assert text.index("HERE") < text.index(f"--- attempt {second.name}\nmore\n")
    assert text.count("HERE") == text.count("more") == 1


def test_two_who_cancel_at_once_leave_one_reason(start):
    plan, submission = start("1", POLITE)
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(cancel_job(plan.run_dir))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("asked job" in answer for answer in answers) == 1
    wait_for_end(plan, submission)


def test_logs_of_other_nodes_are_shown_under_their_names(start):
    plan, submission = start("1", "print('from node 0', flush=True); outcome('completed')")
    wait_for_end(plan, submission)
    attempt = plan.run_dir.attempt_dirs()[0]
    assert "---" not in newest_logs(plan.run_dir, 5)
    attempt.log_of(1).write_text("from node 1\n")
    assert newest_logs(plan.run_dir, 5).endswith("--- log-1.txt\nfrom node 1\n")


def test_cancel_now_kills_without_waiting_for_a_checkpoint(start):
    plan, submission = start("1", "while True: time.sleep(0.02)")
    begin = time.monotonic()
    assert "killed job" in cancel_job(plan.run_dir, now=True)
    wait_for_end(plan, submission)
    assert time.monotonic() - begin < submission.job.grace_seconds
