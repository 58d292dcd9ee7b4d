"""What befalls jobs on a cluster: lost nodes, single signals, people who cancel, full clusters, jobs that depend on failed ones."""

import json
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from tests.slurm.conftest import LONG, SITE, Job, User, accounts_of, assert_same_run
from tests.small_recipes import QUICK
from tests.waiting import wait_until

ENDLESS = tuple(setting.replace("steps=400", "steps=100000") for setting in LONG)


def supervisor_of(job: Job) -> int:
    return job.records[-1]["supervisor_pid"]


def test_node_that_dies_ends_the_step_and_the_job_comes_back(user, uninterrupted, cluster):
    job = user.submit("1", LONG)
    job.wait_for_step(80)
    cluster.kill_node(2)
    job.wait(lambda: job.shown.get("JobState") != "RUNNING", 150, "the step does not end")
    cluster.revive_node(2)
    assert job.wait_for_end(300)["JobState"] == "COMPLETED", job.everything()
    assert job.reasons == ["peer_lost", "completed"], job.everything()
    assert_same_run(job, uninterrupted)


def test_notice_to_the_supervisor_alone_saves_and_requeues_without_scontrol_in_the_job(user, uninterrupted, cluster):
    """As under proctrack/cgroup, where workers hear nothing, and in a container, where there is no scontrol."""
    wrapper = user.home / "python-as-in-a-container"
    wrapper.write_text(f'#!/bin/sh\nexport PATH={Path(sys.executable).parent}\nexec {sys.executable} "$@"\n')
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    user.site(SITE + f'\n[slurm]\npython = "{wrapper}"\n')
    job = user.submit("1", LONG)
    job.wait_for_step(80)
    os.kill(supervisor_of(job), signal.SIGUSR2)
    job.wait(lambda: job.shown.get("Restarts") == "1", 60, "not requeued")
    assert job.wait_for_end()["JobState"] == "COMPLETED", job.everything()
    assert job.reasons == ["preempted", "completed"]
    assert_same_run(job, uninterrupted)


def test_sigterm_alone_saves_but_never_requeues(user):
    job = user.submit("1", ENDLESS)
    job.wait_for_step(20)
    os.kill(supervisor_of(job), signal.SIGTERM)
    assert job.wait_for_end(60)["JobState"] == "FAILED", job.everything()
    assert job.shown["Restarts"] == "0"
    assert job.reasons == ["preempted"]
    newest = job.losses()
    assert sorted(job.run_dir.checkpoints.glob("stage-*"))[-1].name == f"stage-1-step-{max(newest)[1]:06d}"
    assert job.status["state"] == "STOPPED"


def test_scancel_is_final(user, cluster):
    job = user.submit("1", ENDLESS)
    job.wait_for_step(20)
    cluster.command("scancel", job.number)
    assert job.wait_for_end(60)["JobState"] == "CANCELLED", job.everything()
    assert list(job.run_dir.checkpoints.glob("stage-1-step-*")), "nothing was saved"
    # A new job of the run is not kept out by the one that has gone.
    user.mdiff("submit", "--stage", "1", "--recipe", "shapes", "--backend", "slurm", "--dry-run", *sets(ENDLESS))


def test_cancel_saves_the_work_first(user):
    job = user.submit("1", ENDLESS)
    job.wait_for_step(20)
    assert "asked job" in user.mdiff("cancel", "--run", "shapes").stdout
    job.wait_for_end(60)
    assert job.reasons == ["cancelled"]
    assert job.status["state"] == "CANCELLED"
    steps = max(job.losses())[1]
    assert (job.run_dir.checkpoints / f"stage-1-step-{steps:06d}").is_dir()


def test_job_on_a_full_cluster_waits_and_says_why_and_can_be_cancelled(user, cluster):
    cluster.command("sbatch", "--partition=main", "--nodes=2", "--exclusive", "--time=10", "--output=/dev/null", "--wrap", "srun sleep 300")
    wait_until(lambda: cluster.idle_nodes() == 0, 20, "cluster is not full")
    job = user.submit("1", QUICK)
    job.wait(lambda: job.shown.get("Reason") not in ("None", ""), 20, "no reason")
    status = job.status
    assert status["state"] == "PENDING"
    assert "Resources" in status["detail"] or "Priority" in status["detail"], status
    assert "waiting: " in user.mdiff("status", "--run", "shapes").stdout
    assert "which was not running" in user.mdiff("cancel", "--run", "shapes").stdout
    assert job.wait_for_end(30)["JobState"] == "CANCELLED"
    assert job.status["state"] == "CANCELLED"


def test_second_job_of_a_run_is_refused_and_may_queue_behind(user):
    first = user.submit("1", ENDLESS)
    settings = sets(ENDLESS)
    refused = user.mdiff("submit", "--stage", "2", "--recipe", "shapes", "--backend", "slurm", *settings, expect=2)
    assert f"is being trained by job {first.number}" in refused.stderr
    assert f"--after {first.number}" in refused.stderr
    second = user.submit("2", ENDLESS, "--after", first.number)
    assert second.shown["Dependency"].startswith(f"afterok:{first.number}")
    user.mdiff("cancel", "--run", "shapes", "--now")
    first.user.cluster.command("scancel", first.number)


def test_job_behind_a_failed_one_is_cancelled_by_the_cluster(user):
    wild = (*QUICK, "stages[0].learning_rate.peak=1e30", "stages[0].learning_rate.warmup_steps=0")
    first = user.submit("1", wild)
    second = user.submit("2", wild, "--after", first.number)
    assert first.wait_for_end(90)["JobState"] == "FAILED", first.everything()
    assert first.reasons == ["failed"]
    assert "lower learning_rate.peak" in first.records[0]["detail"]
    assert second.wait_for_end(60)["JobState"] == "CANCELLED"
    assert second.status["state"] == "CANCELLED"
    assert second.records == []


def test_job_behind_a_requeued_one_waits_for_its_completion(user, cluster):
    settings = (*LONG, "stages[0].steps=150", "stages[1].steps=4")
    first = user.submit("1", settings)
    other = user.mdiff("submit", "--stage", "2", "--recipe", "shapes", "--backend", "slurm", "--after", first.number, *sets(LONG), expect=2)
    assert "has begun with other settings" in other.stderr
    second = user.submit("2", settings, "--after", first.number)
    first.wait_for_step(20)
    os.kill(supervisor_of(first), signal.SIGUSR2)
    first.wait(lambda: first.shown.get("Restarts") == "1", 60, "not requeued")
    assert first.wait_for_end()["JobState"] == "COMPLETED", first.everything()
    assert second.wait_for_end(120)["JobState"] == "COMPLETED", second.everything()
    assert (second.run_dir.checkpoints / "stage-2-step-000004").is_dir()


def test_watch_brings_back_what_the_host_could_not_requeue(user):
    user.site(SITE + '\n[slurm]\nsetup = ["scontrol() { return 127; }"]\n')
    job = user.submit("1", (*LONG, "stages[0].steps=120"))
    job.wait_for_step(30)
    assert "nothing to do" in user.mdiff("watch", "--once").stdout
    os.kill(supervisor_of(job), signal.SIGUSR2)
    assert job.wait_for_end(60)["JobState"] == "FAILED"
    assert "did not come back: requeued" in user.mdiff("watch", "--once").stdout
    job.wait(lambda: job.shown["Restarts"] == "1", 30, "not requeued")
    assert job.wait_for_end()["JobState"] == "COMPLETED", job.everything()
    assert "nothing to do" in user.mdiff("watch", "--once").stdout


@pytest.mark.parametrize(
    ("slurm", "words"),
    [
        ('partition = "nowhere"', 'slurm.partition = "nowhere": no such partition; this cluster has: main, short, high'),
        ('constraint = "unobtainium"', "sbatch refuses the job: "),
        ('partition = "short"\ntime_limit_hours = 4', "slurm.time_limit_hours = 4: partition short allows at most 2 min"),
        ('sbatch = { nodelist = "node9" }', "sbatch refuses the job: "),
    ],
    ids=["partition", "constraint", "time", "nodelist"],
)
def test_what_the_cluster_refuses_is_one_clear_error_and_nothing_is_left_reserved(user, slurm, words):
    user.site(SITE + f"\n[slurm]\n{slurm}\n")
    result = user.mdiff("submit", "--stage", "1", "--recipe", "shapes", "--backend", "slurm", *sets(QUICK), expect=4)
    assert words in result.stderr, result.stderr
    assert "Traceback" not in result.stderr
    report = json.loads(user.mdiff("budget", "report", "--recipe", "shapes", "--json").stdout)
    assert report["committed_usd"] == 0


def test_three_attempts_are_billed_as_the_scheduler_counts_them(user, cluster):
    job = user.submit("1", LONG)
    for restarts in ("1", "2"):
        job.wait(lambda restarts=restarts: len(job.records) == int(restarts), 60, "no attempt")
        job.wait_for_step(60 * int(restarts))
        os.kill(supervisor_of(job), signal.SIGUSR2)
        job.wait(lambda restarts=restarts: job.shown.get("Restarts") == restarts, 60, "not requeued")
    assert job.wait_for_end()["JobState"] == "COMPLETED", job.everything()
    assert job.reasons == ["preempted", "preempted", "completed"]
    accounts = accounts_of(cluster, job.number)
    assert len(accounts) == 3
    synced = json.loads(user.mdiff("budget", "sync", "--run", "shapes", "--json").stdout)
    assert [row["attempt"] for row in synced["attempts"]] == [f"{job.number}-{number:03d}" for number in range(3)]
    for row, (seconds, gpus) in zip(synced["attempts"], accounts, strict=True):
        assert row["scheduler_gpu_hours"] == pytest.approx(gpus * seconds / 3600)
        assert row["billed_gpu_hours"] == pytest.approx(max(row["meter_gpu_hours"], row["scheduler_gpu_hours"]))
    report = json.loads(user.mdiff("budget", "report", "--run", "shapes", "--json").stdout)
    billed_usd = sum(row["billed_gpu_hours"] for row in synced["attempts"]) * 2.99
    assert report["total"]["spent_usd"] == pytest.approx(billed_usd, rel=1e-6)


def test_without_accounting_states_still_come_and_the_meter_stands(user_without_accounting):
    user: User = user_without_accounting
    job = user.submit("1", QUICK)
    assert job.wait_for_end(90)["JobState"] == "COMPLETED", job.everything()
    assert job.status["state"] == "COMPLETED"
    synced = json.loads(user.mdiff("budget", "sync", "--run", "shapes", "--json").stdout)
    assert synced["has_accounting"] is False
    assert synced["attempts"][0]["scheduler_gpu_hours"] is None
    assert synced["attempts"][0]["billed_gpu_hours"] == synced["attempts"][0]["meter_gpu_hours"]
    assert "by the meter alone" in user.mdiff("budget", "report", "--run", "shapes").stdout


def test_preemption_by_sigterm_alone_is_left_to_the_controller_which_brings_the_job_back(user_without_accounting):
    user: User = user_without_accounting
    job = user.submit("1", (*LONG, "stages[0].steps=150"))
    job.wait_for_step(40)
    user.cluster.command("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "srun sleep 1")
    job.wait(lambda: job.shown.get("Restarts") == "1", 90, "not requeued")
    assert job.wait_for_end()["JobState"] == "COMPLETED", job.everything()
    assert job.reasons == ["preempted", "completed"]
    assert job.records[1]["slices"][0]["activity"] == "startup"


def sets(settings: tuple[str, ...]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]
