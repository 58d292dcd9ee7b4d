"""Jobs that nothing happens to, and pods that are lost: what comes out is the same."""

import json

import pytest

from tests.kubernetes.training import LONG, LONG_STEPS, Job, Trainer, assert_billed, assert_same_run, pod_seconds
from tests.small_recipes import QUICK


def test_four_stages_on_two_pods_through_the_users_one_command(user: Trainer):
    job = user.submit("all", QUICK)
    followed = user.mdiff("logs", "-f", "--run", user.run).stdout
    assert "Succeeded" in job.wait_for_end(), job.everything()
    assert 'attempt ends with reason "completed"' in followed
    assert "::mdiff" not in followed
    assert job.reasons == ["completed"]
    assert {path.name for path in job.run_dir.checkpoints.glob("stage-?-step-000009")} == {f"stage-{n}-step-000009" for n in range(1, 5)}
    assert len(job.losses()) == 36
    status = job.status
    assert (status["state"], status["job"], status["attempts"]) == ("COMPLETED", f"{user.run}-stage-1-4", 1)
    assert status["progress"]["step"] == 9


def test_laptop_bills_what_the_pods_held_and_the_supervisor_told(user: Trainer):
    job = user.submit("1", QUICK)
    job.wait_for_end()
    synced = job.synced()
    [told] = synced["attempts"]
    [record] = job.records
    metered = sum(part["device_seconds"] for part in record["slices"])
    assert told["meter_gpu_hours"] == pytest.approx(metered / 3600)
    assert told["scheduler_gpu_hours"] >= sum(pod_seconds(job).values()) / 3600 - 1e-6
    assert told["billed_gpu_hours"] == max(told["meter_gpu_hours"], told["scheduler_gpu_hours"])
    assert not synced["may_lack"]
    assert_billed(job)
    log = user.kubectl("logs", f"{job.name}-master-0").stdout
    assert log.splitlines()[-1].startswith("spent $0.0"), "the totals stand in the last line of the master's log"


@pytest.mark.parametrize("pod", ["worker-0", "master-0"])
def test_lost_pod_costs_only_the_work_since_the_last_checkpoint(user: Trainer, uninterrupted: Job, pod: str):
    job = user.submit("1", LONG)
    job.wait_for_step(50)
    job.synced()
    user.kubelet.kill(f"{job.name}-{pod}")
    assert "Succeeded" in job.wait_for_end(), job.everything()
    assert len(job.reasons) == 2
    assert job.reasons[-1] == "completed"
    assert job.reasons[0] == ("peer_lost" if pod == "worker-0" else None), job.everything()
    assert_same_run(job, uninterrupted)
    assert len(job.synced()["attempts"]) == 2
    assert_billed(job)


def test_evicted_pod_saves_its_work_and_comes_back(user: Trainer, uninterrupted: Job):
    job = user.submit("1", LONG)
    job.wait_for_step(50)
    user.kubelet.evict(f"{job.name}-worker-0")
    assert "Succeeded" in job.wait_for_end(), job.everything()
    assert job.reasons == ["preempted", "completed"]
    saved = json.loads((job.run_dir.attempt_dirs()[0].path / "outcome.json").read_text())["checkpoint"]
    assert int(saved.rpartition("-")[2]) >= 50
    assert_same_run(job, uninterrupted)
    assert_billed(job)


def test_cancelled_job_saves_its_work_and_goes_on_when_it_is_submitted_again(user: Trainer, uninterrupted: Job):
    job = user.submit("1", LONG)
    job.wait_for_step(50)
    said = user.mdiff("cancel", "--run", user.run).stdout
    assert "deleted job" in said
    assert job.status["state"] == "CANCELLED"
    assert job.reasons == ["preempted"]
    before = job.synced()
    assert not before["may_lack"]
    again = user.submit("1", LONG)
    assert "Succeeded" in again.wait_for_end(), again.everything()
    assert_same_run(again, uninterrupted)
    assert again.losses().keys() == {(1, step) for step in range(1, LONG_STEPS + 1)}
    after = job.synced()
    assert after["attempts"][0] == before["attempts"][0], "pods that were deleted are not forgotten"
    assert len(after["attempts"]) == 2
    assert_billed(job)


def test_job_that_is_deleted_while_nobody_looks_is_billed_at_least(user: Trainer):
    job = user.submit("1", LONG)
    job.wait_for_step(20)
    job.synced()
    user.kubectl("delete", "pytorchjob", job.name)
    job.wait(lambda: job.name not in user.kubectl("get", "pods").stdout, 60, "pods do not go")
    assert job.reasons == ["preempted"], "its work is saved all the same"
    synced = job.synced()
    assert synced["may_lack"]
    assert synced["billed_usd"] > 0
    assert "at least $" in user.mdiff("status", "--run", user.run).stdout
    assert "at least" in user.mdiff("budget", "sync", "--run", user.run).stdout
    again = user.submit("1", LONG)
    assert "Succeeded" in again.wait_for_end(), again.everything()
    assert not job.synced()["may_lack"], "the books that the next job told close the gap"
    assert_billed(job)
