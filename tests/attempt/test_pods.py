"""What pods make of the files that they share: which submission, which attempt, and who has gone."""

import io
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from mdiff.attempt import kubernetes
from mdiff.attempt.admission import settle_alone, wait_until_alone
from mdiff.attempt.exit_codes import End
from mdiff.attempt.kubernetes import close_lost_jobs, register, require_same_settings, wait_for_attempt
from mdiff.attempt.log import AttemptLog
from mdiff.attempt.peers import end_with_peers, watch_followers
from mdiff.attempt.pod import FIELDS, Pod, job_variables, next_attempt, pod_node, read_pod
from mdiff.attempt.stop import read_stop
from mdiff.attempt.tell import tell_totals
from mdiff.budget.ledger import committed_usd, read_ledger
from mdiff.budget.sync import PodUse, Reading, write_readings
from mdiff.errors import LaunchError, UsageError
from mdiff.recipe.load import load_recipe, to_toml
from mdiff.recipe.site import Hardware
from mdiff.run_dir import RunDir
from mdiff.units import utc_now
from tests.budget.books import make_record, make_submission, write_recipe, write_record, write_submission
from tests.waiting import wait_until

TWO = Hardware(nodes=2, devices_per_node=1)
SHAPES = to_toml(load_recipe("shapes"))


def pod(index: int = 0, uid: str = "aaaaaaaa-1111") -> Pod:
    return Pod(name=f"j-{index}", uid=uid, machine="node1", job="j", index=index)


@pytest.fixture
def run_dir(tmp_path) -> RunDir:
    return RunDir(tmp_path / "run")


def told(**changes):
    return make_submission(backend="kubernetes", hardware=TWO, recipe_toml=SHAPES, **changes)


def begin(run_dir: RunDir, name: str, **changes):
    fields = {"reason": None, "heartbeat_at": utc_now().isoformat(), **changes}
    record = make_record(attempt=name, backend="kubernetes", hardware=TWO, scheduler_job="j", boot_id="", **fields)
    write_record(run_dir, record)
    return run_dir.attempt(name)


def test_place_of_a_pod_is_read_from_what_the_operator_labels_it_with():
    values = dict.fromkeys(FIELDS, "x") | {"MDIFF_REPLICA_TYPE": "worker", "MDIFF_REPLICA_INDEX": "2", "MDIFF_JOB_NAME": "j"}
    assert read_pod(values).index == 3
    assert read_pod(values | {"MDIFF_REPLICA_TYPE": "master", "MDIFF_REPLICA_INDEX": "0"}).index == 0
    with pytest.raises(LaunchError, match="no pod of a PyTorchJob"):
        read_pod({})


def test_job_inherits_nothing_that_torchrun_would_take_for_its_options():
    given = {"PET_NNODES": "1", "MASTER_ADDR": "j-master-0", "RANK": "0", "WORLD_SIZE": "8", "MDIFF_RECIPE": "...", "NCCL_DEBUG": "WARN"}
    assert job_variables(given) == {"NCCL_DEBUG": "WARN"}


def test_attempts_are_numbered_and_carry_the_pods_uid(run_dir):
    assert next_attempt(run_dir, pod()) == "j.000.aaaaaaaa"
    begin(run_dir, "j.000.aaaaaaaa")
    begin(run_dir, "j-again-2.007.cccccccc")
    assert next_attempt(run_dir, pod(uid="bbbbbbbb-2")) == "j.001.bbbbbbbb"


def test_job_that_was_applied_by_hand_is_one_submission_until_it_has_ended(run_dir):
    first = register(run_dir, told(id="s1"), pod(), has_id=False)
    begin(run_dir, "j.000.aaaaaaaa", submission="s1", reason="preempted")
    assert register(run_dir, told(id="s2"), pod(), has_id=False) == first
    begin(run_dir, "j.001.bbbbbbbb", submission="s1", reason="completed", started_at=utc_now().isoformat())
    assert register(run_dir, told(id="s3"), pod(), has_id=False).id == "s3"


def test_job_that_was_applied_with_another_limit_is_another_submission(run_dir):
    register(run_dir, told(id="s1"), pod(), has_id=False)
    assert register(run_dir, told(id="s2", limit="200"), pod(), has_id=False).id == "s2"


def test_reservation_of_a_job_that_was_deleted_is_free_again(run_dir):
    write_submission(run_dir, told(id="s0", reservation="50"))
    begin(run_dir, "old.000.eeeeeeee", submission="s0", reason="preempted")
    own = register(run_dir, told(id="s1"), pod(), has_id=True)
    assert committed_usd(read_ledger(run_dir), utc_now(), excluding="s1") > 40
    close_lost_jobs(run_dir, own, read_ledger(run_dir))
    assert committed_usd(read_ledger(run_dir), utc_now(), excluding="s1") == 0


def test_recipe_that_differs_from_the_runs_is_refused(run_dir):
    write_recipe(run_dir)
    require_same_settings(run_dir, told())
    other = to_toml(load_recipe("shapes", ["model.depth=2"]))
    with pytest.raises(UsageError, match=r"has begun with other settings.*model.depth"):
        require_same_settings(run_dir, told().model_copy(update={"recipe_toml": other}))


def test_worker_joins_the_living_attempt_of_its_own_job_alone(run_dir, monkeypatch):
    monkeypatch.setattr(kubernetes, "JOIN_SECONDS", 0.2)
    begin(run_dir, "other.000.dddddddd")
    begin(run_dir, "j.000.aaaaaaaa", heartbeat_at=datetime(2020, 1, 1, tzinfo=UTC).isoformat())
    assert wait_for_attempt(run_dir, pod(1)) is None, "its heartbeat is long ago"
    begin(run_dir, "j.001.bbbbbbbb")
    found = wait_for_attempt(run_dir, pod(1))
    assert found is not None
    assert found[0].name == "j.001.bbbbbbbb"


def test_pod_in_place_of_a_lost_one_ends_the_attempt_instead_of_joining_it(run_dir, monkeypatch):
    monkeypatch.setattr(kubernetes, "JOIN_SECONDS", 0.2)
    attempt = begin(run_dir, "j.000.aaaaaaaa")
    node = pod_node(pod(), attempt.name, run_dir, told())
    assert wait_for_attempt(run_dir, pod(1, uid="11111111-1")) is not None
    leader = watch_followers(attempt, node)
    assert wait_for_attempt(run_dir, pod(1, uid="22222222-2")) is None
    assert leader.why_kill() == "", "the job may still say itself what it saw"
    end = end_with_peers(End("failed", "killed"), 137, attempt, node, AttemptLog(attempt.log))
    assert end.reason == "peer_lost"


def test_node_0_that_was_replaced_supersedes_its_attempt(run_dir):
    begin(run_dir, "j.000.aaaaaaaa")
    node = pod_node(pod(1), "j.000.aaaaaaaa", run_dir, told())
    assert not node.is_superseded()
    begin(run_dir, "j.001.bbbbbbbb")
    assert node.is_superseded()


def test_hook_asks_for_a_stop_and_waits_until_the_attempt_has_ended(run_dir, tmp_path):
    attempt = begin(run_dir, "j.000.aaaaaaaa")
    (tmp_path / ".mdiff-attempt").write_text(str(attempt.path))
    environment = os.environ | {"HOME": str(tmp_path), "MDIFF_POD_NAME": "j-master-0"}
    with subprocess.Popen([sys.executable, "-m", "mdiff.attempt.pre_stop"], env=environment) as hook:
        wait_until(attempt.stop.exists, 10, "no stop request")
        with pytest.raises(subprocess.TimeoutExpired):
            hook.wait(1)
        begin(run_dir, "j.000.aaaaaaaa", reason="preempted")
        assert hook.wait(10) == 0
    stop = read_stop(attempt)
    assert stop is not None
    assert (stop.reason, stop.requested_by) == ("preempted", "preStop of j-master-0")


def test_hook_of_a_pod_that_has_not_begun_holds_nothing_up(tmp_path):
    environment = os.environ | {"HOME": str(tmp_path)}
    assert subprocess.run([sys.executable, "-m", "mdiff.attempt.pre_stop"], env=environment, timeout=10).returncode == 0


def test_last_line_of_the_log_is_the_sum_over_all_attempts_of_the_run(run_dir):
    write_submission(run_dir, told(id="s1"))
    for number in range(3):
        write_record(run_dir, make_record((1, "training", 3600.0), attempt=f"j.00{number}.aaaaaaaa", scheduler_job="j"))
    output = io.StringIO()
    tell_totals(run_dir, told(id="s1"), output)
    assert output.getvalue().splitlines()[-1] == "spent $3.00 of $100.00 in 3 attempts of run run"


def rival(run_dir: RunDir, submission: str, **changes):
    write_submission(run_dir, told(id=submission, reservation="50", scheduler_job=f"job-{submission}"))
    return begin(run_dir, f"job-{submission}.000.ffffffff", submission=submission, **changes)


def test_reservation_of_a_job_that_has_not_begun_yet_counts(run_dir):
    write_submission(run_dir, told(id="s0", reservation="50"))
    own = register(run_dir, told(id="s1"), pod(), has_id=True)
    close_lost_jobs(run_dir, own, read_ledger(run_dir))
    assert committed_usd(read_ledger(run_dir), utc_now(), excluding="s1") == 50


def test_account_of_a_job_that_is_closed_stays(run_dir):
    rival(run_dir, "s0", reason="preempted")
    uses = (PodUse(name="p", uid="u", node=0, devices=8, state="Running", held_from=utc_now().isoformat(), seen_at=utc_now().isoformat()),)
    write_readings(run_dir, [Reading(submission="s0", scheduler_job="j", read_at="2026", ended=False, has_accounting=True, pods=uses)])
    close_lost_jobs(run_dir, register(run_dir, told(id="s1"), pod(), has_id=True), read_ledger(run_dir))
    [reading] = [reading for reading in read_ledger(run_dir).readings.values() if reading.submission == "s0"]
    assert (reading.ended, reading.pods) == (True, uses)


def test_of_two_jobs_that_began_at_the_same_moment_the_later_one_gives_way(run_dir):
    rival(run_dir, "s0")
    attempt = begin(run_dir, "j.000.aaaaaaaa", submission="s1")
    end = settle_alone(run_dir, told(id="s1"), attempt.name, sleep=lambda _: None)
    assert end is not None
    assert "is being trained already, by job j" in end.detail
    assert (
        settle_alone(run_dir, told(id="s0"), "job-s0.000.ffffffff", sleep=lambda _: begin(run_dir, "j.000.aaaaaaaa", reason="failed"))
        is None
    )


def test_job_that_beats_is_not_waited_for(run_dir):
    rival(run_dir, "s0")
    with pytest.raises(LaunchError, match="is being trained already"):
        wait_until_alone(run_dir, told(id="s1"), sleep=lambda _: rival(run_dir, "s0"))


def test_job_whose_supervisor_was_killed_is_waited_for_until_nobody_believes_its_heartbeat(run_dir):
    attempt, looks = rival(run_dir, "s0"), []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            attempt.record.unlink()

    wait_until_alone(run_dir, told(id="s1"), sleep=sleep)
    assert len(looks) == 3


def test_job_by_hand_whose_time_is_over_is_applied_anew(run_dir):
    first = register(run_dir, told(id="s1", time_limit_seconds=100.0), pod(), has_id=False)
    record = make_record(
        (1, "training", 190.0), attempt="j.000.aaaaaaaa", submission="s1", reason="time_limit", hardware=TWO, backend="kubernetes"
    )
    write_record(run_dir, record)
    assert register(run_dir, told(id="s2", time_limit_seconds=100.0), pod(), has_id=False).id == "s2"
    assert first.id == "s1"
