"""Jobs that nothing happens to, and the first things that may happen to one."""

import json

import pytest

from tests.slurm.conftest import LONG, LONG_STEPS, SITE, accounts_of, assert_same_run
from tests.small_recipes import QUICK


def test_four_stages_on_two_nodes_through_the_users_one_command(user):
    job = user.submit("all", QUICK)
    assert job.wait_for_end()["JobState"] == "COMPLETED", job.everything()
    assert job.reasons == ["completed"]
    assert {path.name for path in job.run_dir.checkpoints.glob("stage-?-step-000009")} == {f"stage-{n}-step-000009" for n in range(1, 5)}
    assert len(job.losses()) == 36
    status = job.status
    assert (status["state"], status["job"], status["attempts"]) == ("COMPLETED", job.number, 1)
    assert "completed; newest checkpoint stage-4-step-000009" in user.mdiff("logs", "--run", "shapes").stdout
    followed = user.mdiff("logs", "-f", "--run", "shapes").stdout
    assert 'attempt ends with reason "completed"' in followed


def test_bill_is_the_schedulers_where_it_says_more_than_the_meter(user, cluster):
    job = user.submit("1", QUICK)
    job.wait_for_end()
    synced = json.loads(user.mdiff("budget", "sync", "--run", "shapes", "--json").stdout)
    [(seconds, gpus)] = accounts_of(cluster, job.number)
    assert gpus == 16, "whole nodes of 8 GPUs, though the job uses one of each"
    assert synced["attempts"][0]["scheduler_gpu_hours"] == pytest.approx(gpus * seconds / 3600)
    metered = sum(part["device_seconds"] for part in job.records[0]["slices"]) / 3600
    assert synced["attempts"][0]["meter_gpu_hours"] == pytest.approx(metered)
    report = json.loads(user.mdiff("budget", "report", "--run", "shapes", "--json").stdout)
    assert report["attempts"][0]["gpu_hours"] == pytest.approx(max(metered, gpus * seconds / 3600))


def test_time_limit_of_the_partition_only_makes_more_attempts(user, uninterrupted, cluster):
    user.site(user_site_with(grace=30, slurm='partition = "short"'))
    job = user.submit("1", LONG)
    assert job.wait_for_end(400)["JobState"] == "COMPLETED", job.everything()
    assert len(job.reasons) >= 2, job.everything()
    assert job.reasons == ["time_limit"] * (len(job.reasons) - 1) + ["completed"]
    assert job.records[0]["stage_images"]["1"] < LONG_STEPS * 64
    assert_same_run(job, uninterrupted)


def test_requeue_by_an_administrator_goes_on_where_it_was(user, uninterrupted, cluster):
    job = user.submit("1", LONG)
    job.wait_for_step(80)
    cluster.command("scontrol", "requeue", job.number)
    assert job.wait_for_end()["JobState"] == "COMPLETED", job.everything()
    assert job.reasons == ["preempted", "completed"]
    assert_same_run(job, uninterrupted)


def test_preemption_by_a_higher_partition_saves_and_comes_back(user, uninterrupted, cluster):
    job = user.submit("1", LONG)
    job.wait_for_step(80)
    cluster.command("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "srun sleep 3")
    job.wait(lambda: job.shown.get("Restarts") == "1", 120, "not requeued")
    assert job.wait_for_end()["JobState"] == "COMPLETED", job.everything()
    assert job.reasons == ["preempted", "completed"]
    assert_same_run(job, uninterrupted)


def user_site_with(grace: int, slurm: str) -> str:
    return SITE.replace("grace_seconds = 20.0", f"grace_seconds = {grace}.0") + f"\n[slurm]\n{slurm}\n"
