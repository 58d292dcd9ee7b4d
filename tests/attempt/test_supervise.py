"""What becomes of a job: each test is a real supervisor over a real process."""

import json
import os
import signal
import time

import pytest

from mdiff.attempt.stop import request_stop, stop_request

from .conftest import wait_until

ENDLESS = "open(here + '/up', 'w').close()\nwhile True: time.sleep(0.02)"
POLITE = (
    "open(here + '/up', 'w').close()\nwhile not asked_to_stop(): time.sleep(0.02)\noutcome('stopped', checkpoint='stage-1-step-000010')"
)


def test_job_that_ends_well_is_completed(submit):
    job = submit("progress(10); time.sleep(0.2); print('hello'); outcome('completed')")
    assert job.run() == 0
    assert job.record.reason == "completed"
    assert "hello" in job.log
    assert job.record.stage_images == {"1": 10}
    assert job.record.host
    assert job.record.supervisor_pid == job.supervisors[0].pid


def test_recipe_of_the_run_and_of_the_submission_are_written_where_they_are_missing(submit):
    job = submit("outcome('completed')")
    job.run()
    assert job.run_dir.recipe.read_text() == job.submission.recipe_toml
    assert job.run_dir.submission(job.submission.id).with_suffix(".toml").read_text() == job.submission.recipe_toml


def test_job_gets_its_environment_and_the_folders_of_its_data_sets(submit):
    job = submit(
        "print('GOT', os.environ['COLOUR'], os.environ['MDIFF_DATASETS'])", environment={"COLOUR": "blue"}, datasets={"shapes": "/d"}
    )
    job.run()
    assert 'GOT blue {"shapes": "/d"}' in job.log


def test_crash_is_failed_and_tells_the_line_that_names_the_error(submit):
    job = submit("print('step 1', flush=True); raise ValueError('width 7 is odd')")
    assert job.run() == 1
    assert job.record.reason == "failed"
    assert job.record.detail == "ValueError: width 7 is odd"


def test_command_that_does_not_exist_is_failed_and_says_so(submit):
    job = submit("", argv=("/no/such/torchrun",))
    assert job.run() == 1
    assert "cannot start /no/such/torchrun: No such file" in job.record.detail


def test_job_killed_from_outside_tells_the_signal(submit):
    job = submit("os.kill(os.getpid(), signal.SIGKILL)")
    assert job.run() == 1
    assert "SIGKILL" in job.record.detail


@pytest.mark.parametrize(("said", "reason", "code"), [("refused_data", "refused_data", 5), ("failed", "failed", 1)])
def test_what_the_job_says_of_its_end_is_believed(submit, said, reason, code):
    job = submit(f"outcome({said!r}, detail='shard 3 is damaged'); sys.exit(5)")
    assert job.run() == code
    assert (job.record.reason, job.record.detail) == (reason, "shard 3 is damaged")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_asks_the_job_to_save_and_leave(submit, number):
    job = submit(POLITE)
    supervisor = job.start()
    job.wait_for("up")
    supervisor.send_signal(number)
    supervisor.communicate(timeout=10)
    assert supervisor.returncode == 1
    assert job.record.reason == "cancelled"
    assert json.loads(job.attempt.stop.read_text())["reason"] == "cancelled"


def test_under_a_scheduler_the_same_signal_means_that_the_node_is_wanted(submit):
    job = submit(POLITE, backend="kubernetes")
    supervisor = job.start()
    job.wait_for("up")
    supervisor.terminate()
    supervisor.communicate(timeout=10)
    assert (supervisor.returncode, job.record.reason) == (143, "preempted")


def test_stop_request_of_somebody_else_is_noticed_and_its_reason_stands(submit):
    job = submit(POLITE)
    supervisor = job.start()
    job.wait_for("up")
    assert request_stop(job.attempt, stop_request("budget", "cap"))
    assert not request_stop(job.attempt, stop_request("cancelled", "me")), "the first reason wins"
    supervisor.communicate(timeout=10)
    assert (supervisor.returncode, job.record.reason) == (0, "budget")


def test_job_that_does_not_leave_in_time_is_killed_and_billed_all_the_while(submit):
    job = submit("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + ENDLESS, grace_seconds=1.0)
    supervisor = job.start()
    job.wait_for("up")
    supervisor.terminate()
    supervisor.communicate(timeout=10)
    assert job.record.reason == "cancelled"
    assert "killed" in job.record.detail
    assert job.record.device_seconds >= 2 * 1.0
    assert not job.processes()


def test_second_signal_kills_at_once(submit):
    job = submit(ENDLESS, grace_seconds=60)
    supervisor = job.start()
    job.wait_for("up")
    supervisor.terminate()
    while not job.attempt.stop.exists():
        assert supervisor.poll() is None
    supervisor.terminate()
    supervisor.communicate(timeout=10)
    assert job.record.reason == "cancelled"
    assert job.record.device_seconds < 2 * 20


def test_job_on_kubernetes_whose_time_is_over_is_not_started_again(submit):
    job = submit(ENDLESS, time_limit_seconds=1.5, grace_seconds=1.0, backend="kubernetes")
    assert job.run() == 1
    assert job.record.reason == "time_limit"


def test_time_limit_asks_first_and_kills_when_it_is_over(submit):
    job = submit(ENDLESS, time_limit_seconds=1.5, grace_seconds=1.0)
    assert job.run() == 143
    assert job.record.reason == "time_limit"
    assert json.loads(job.attempt.stop.read_text())["reason"] == "time_limit"
    assert 2 * 1.4 < job.record.device_seconds < 2 * 3


def test_time_limit_is_for_all_attempts_together(submit):
    job = submit(ENDLESS, time_limit_seconds=1.0, grace_seconds=0.5)
    job.run()
    assert job.run() == 1
    assert job.record.reason == "attempts_used"
    assert "1 s" in job.record.detail


def test_attempts_are_limited(submit):
    job = submit("outcome('completed')", max_attempts=1)
    job.run()
    assert job.run() == 1
    assert job.record.reason == "attempts_used"


def test_second_crash_without_a_newer_checkpoint_is_no_progress_and_a_third_start_is_refused(submit):
    job = submit("progress(10); raise ValueError('again')")
    job.run()
    assert job.record.reason == "failed"
    assert job.run() == 1
    assert job.record.reason == "no_progress"
    assert "again" in job.record.detail
    job.run()
    assert job.record.reason == "no_progress"
    assert not job.attempt.progress.exists(), "the job was not even started"


def test_crash_after_a_new_checkpoint_is_progress(submit, tmp_path):
    job = submit("""
count = len(list(attempt.parent.iterdir()))
name = f"stage-1-step-{count:06d}"
os.makedirs(f"{here}/run/checkpoints/{name}")
progress(10, newest_checkpoint=name)
raise ValueError("again")
""")
    for _ in range(3):
        job.run()
        assert job.record.reason == "failed"


def test_job_that_does_not_fit_the_budget_is_refused_where_it_runs(submit):
    job = submit("progress(1)", reservation="1.01")
    assert job.run() == 3
    assert job.record.reason == "refused_budget"
    assert "does not fit the budget" in job.record.detail
    assert not job.attempt.progress.exists()


def test_only_one_training_job_of_a_run_runs_at_a_time(submit):
    first = submit(POLITE)
    supervisor = first.start()
    first.wait_for("up")
    second = submit("progress(1)")
    assert second.run() == 4
    first.attempt.stop.write_text("now")
    supervisor.communicate(timeout=10)
    assert supervisor.returncode == 1


def test_stop_file_that_cannot_be_read_cancels(submit):
    job = submit(POLITE)
    supervisor = job.start()
    job.wait_for("up")
    job.attempt.stop.write_text("stop!")
    supervisor.communicate(timeout=10)
    assert job.record.reason == "cancelled"


def test_time_is_charged_to_what_the_job_said_it_was_doing(submit):
    job = submit("""
progress(0, "startup"); time.sleep(0.3)
progress(10); time.sleep(0.5)
progress(20, "checkpoint"); time.sleep(0.3)
outcome("completed"); time.sleep(0.3)
""")
    job.run()
    seconds = {(part.stage, part.activity): part.device_seconds for part in job.record.slices}
    assert {(1, "startup"), (1, "training"), (1, "checkpoint"), (1, "shutdown")} <= set(seconds)
    assert 0.6 < seconds[1, "training"] < 2.0


def test_images_that_an_earlier_attempt_had_done_are_charged_as_repeated(submit):
    job = submit("""
first = len(list(attempt.parent.iterdir())) == 1
progress(40); time.sleep(0.3)
progress(50); time.sleep(0.3)
sys.exit(1 if first else 0)
""")
    job.run()
    assert {part.activity for part in job.record.slices if part.device_seconds} == {"startup", "training"}
    job.run()
    assert {part.activity for part in job.record.slices if part.device_seconds} == {"startup", "repeated", "training"}


def test_jobs_other_than_training_are_working(submit):
    job = submit("time.sleep(0.2)", kind="evaluate", counts=False)
    assert job.run() == 0
    assert [part.activity for part in job.record.slices] == ["working"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR2", "SIGINT", "SIGHUP"])
def test_signals_that_a_scheduler_sends_to_every_process_do_not_touch_the_job(submit, name):
    """SLURM's linuxproc tracking sends them to each process of a step; torchrun would end its workers in mid-checkpoint."""
    job = submit(
        "(pathlib.Path(here) / 'begun').write_text(str(os.getpid()))\nwhile not asked_to_stop(): time.sleep(0.02)\noutcome('stopped')"
    )
    supervisor = job.start()
    begun = job.wait_for("begun")
    wait_until(begun.read_text)
    worker = int(begun.read_text())
    os.kill(worker, getattr(signal, name))
    time.sleep(0.3)
    assert supervisor.poll() is None
    request_stop(job.attempt, stop_request("cancelled", "a test"))
    supervisor.communicate(timeout=20)
    assert job.record.reason == "cancelled"
    assert job.record.detail == "asked by a test"
