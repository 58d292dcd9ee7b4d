"""How long pods held their GPUs: each counted once, with its attempt, and nothing forgotten."""

import pytest

from mdiff.budget.ledger import billed_usd, read_ledger, spent_usd
from mdiff.budget.sync import PodUse, Reading, write_readings
from mdiff.launch.kubernetes.account import attempts_told, may_lack, merge_uses, pod_seconds
from mdiff.launch.kubernetes.pods import PodFacts
from mdiff.run_dir import RunDir
from mdiff.units import utc_now
from tests.budget.books import make_record, make_submission, write_record, write_submission

JOB = make_submission(backend="kubernetes").job
FACTS = PodFacts(
    name="j-master-0", uid="aaaaaaaa-1", index=0, phase="Running", is_leaving=False, machine="node1", gpus=8,
    held_from="2026-11-24T10:00:00Z", held_to="", exit_code=None, reason="", last_words="", waiting="",
)  # fmt: skip


def at(clock: str) -> str:
    return f"2026-11-24T{clock}Z"


def use(uid: str, node: int, begin: str, end: str = "", seen: str = "10:59:00", **more: object) -> PodUse:
    return PodUse(
        name=f"pod-{uid}", uid=uid, node=node, devices=8, state="Running", held_from=at(begin), held_to=at(end) if end else "",
        seen_at=at(seen), **more,
    )  # fmt: skip


def record(name: str, reason: str | None = "completed", **more: object):
    return make_record((1, "training", 100.0), attempt=name, reason=reason, backend="kubernetes", scheduler_job="j", **more)


def facts(**changes: object) -> PodFacts:
    return PodFacts(**{**FACTS.__dict__, **changes})


def test_running_pod_is_counted_up_to_now_and_an_ended_one_up_to_its_end():
    [running] = merge_uses([], [FACTS], JOB, at("10:01:00"))
    assert pod_seconds(running) == 8 * 60
    [ended] = merge_uses([running], [facts(phase="Succeeded", held_to=at("10:00:30"))], JOB, at("10:05:00"))
    assert pod_seconds(ended) == 8 * 30


def test_pod_that_was_deleted_is_not_forgotten():
    first = merge_uses([], [FACTS], JOB, at("10:01:00"))
    second = merge_uses(first, [facts(name="j-master-0", uid="bbbbbbbb-2", held_from=at("10:02:00"))], JOB, at("10:03:00"))
    assert [(each.uid, each.is_gone, pod_seconds(each)) for each in second] == [("aaaaaaaa-1", True, 480), ("bbbbbbbb-2", False, 480)]


def test_pod_that_waits_for_a_machine_costs_nothing():
    assert merge_uses([], [facts(held_from="", phase="Pending")], JOB, at("10:01:00")) == ()


def test_worker_belongs_to_the_attempt_with_which_it_ran_longest():
    uses = [
        use("aaaaaaaa-1", 0, "10:00:00", "10:10:00"), use("bbbbbbbb-2", 0, "10:11:00", "10:20:00"),
        use("cccccccc-3", 1, "10:00:00", "10:10:00"),
        # Made anew before the master was.
        use("dddddddd-4", 1, "10:10:01", "10:20:00"),
    ]  # fmt: skip
    told = attempts_told("j", uses, [record("j.000.aaaaaaaa"), record("j.001.bbbbbbbb")])
    assert {each.attempt: each.device_seconds for each in told} == {
        "j.000.aaaaaaaa": 8 * (600 + 600), "j.001.bbbbbbbb": 8 * (540 + 599),
    }  # fmt: skip


def test_sum_over_attempts_is_the_sum_over_pods():
    uses = [use(f"{letter * 8}-1", node, "10:00:00", f"10:0{node + 1}:00") for node, letter in enumerate("abcd")]
    told = attempts_told("j", uses, [])
    assert sum(each.device_seconds for each in told) == sum(map(pod_seconds, uses))


def test_pod_from_which_no_supervisor_was_heard_has_a_name_of_its_own():
    [told] = attempts_told("j", [use("aaaaaaaa-1", 0, "10:00:00", "10:01:00")], [])
    assert told.attempt == "j.pod-aaaaaaaa"
    [known] = attempts_told("j", [use("aaaaaaaa-1", 0, "10:00:00", "10:01:00")], [record("j.000.aaaaaaaa")])
    assert known.attempt == "j.000.aaaaaaaa"


@pytest.mark.parametrize(
    ("uses", "records", "ended", "lacks"),
    [
        ([use("aaaaaaaa-1", 0, "10:00:00", "10:01:00")], [record("j.000.aaaaaaaa")], True, False),
        ([use("aaaaaaaa-1", 0, "10:00:00", is_gone=True)], [record("j.000.aaaaaaaa")], True, False),
        ([use("aaaaaaaa-1", 0, "10:00:00", is_gone=True)], [record("j.000.aaaaaaaa", None)], True, True),
        ([], [record("j.000.aaaaaaaa")], True, False),
        ([], [record("j.000.aaaaaaaa", None)], True, True),
        ([], [record("j.001.bbbbbbbb")], True, True),
        ([], [], True, True),
        ([], [], False, False),
    ],
    ids=[
        "all seen",
        "end told by the meter",
        "end unknown",
        "meter alone",
        "killed unseen",
        "an attempt is missing",
        "nothing",
        "not begun",
    ],
)
def test_sum_that_may_lack_something_is_called_a_lower_bound(uses, records, ended, lacks):
    assert may_lack(uses, records, ended) is lacks


def test_attempts_of_jobs_of_one_name_are_numbered_together():
    earlier, later = record("j.000.aaaaaaaa", "preempted"), record("j.001.bbbbbbbb")
    assert may_lack([], [later], True)
    assert not may_lack([], [later], True, namesakes=[earlier, later])


def test_larger_of_pods_and_meter_is_billed_and_nothing_twice(tmp_path):
    run_dir = RunDir(tmp_path / "run")
    write_submission(run_dir, make_submission(backend="kubernetes", scheduler_job="j"))
    write_record(run_dir, record("j.000.aaaaaaaa"))
    uses = (use("aaaaaaaa-1", 0, "10:00:00", "10:01:00"), use("bbbbbbbb-2", 0, "10:02:00", "10:02:30"))
    told = attempts_told("j", uses, [record("j.000.aaaaaaaa")])
    reading = Reading(
        submission="s1", scheduler_job="j", read_at=utc_now().isoformat(), ended=True, has_accounting=True, attempts=told, pods=uses
    )
    write_readings(run_dir, [reading])
    ledger = read_ledger(run_dir)
    assert [round(float(billed_usd(each, utc_now())) * 3600) for each in ledger.records] == [480, 240]
    assert round(float(spent_usd(ledger, utc_now())) * 3600) == 720


def test_pod_that_was_heard_since_is_not_billed_under_two_names(tmp_path):
    run_dir = RunDir(tmp_path / "run")
    write_submission(run_dir, make_submission(backend="kubernetes", scheduler_job="j"))
    told = attempts_told("j", [use("aaaaaaaa-1", 0, "10:00:00", "10:01:00")], [])
    write_readings(
        run_dir,
        [Reading(submission="s1", scheduler_job="j", read_at="2026-11-24T10:02:00Z", ended=True, has_accounting=True, attempts=told)],
    )
    assert [each.attempt for each in read_ledger(run_dir).records] == ["j.pod-aaaaaaaa"]
    write_record(run_dir, record("j.000.aaaaaaaa"))
    assert [each.attempt for each in read_ledger(run_dir).records] == ["j.000.aaaaaaaa"]
