"""SLURM's words and tables, as real clusters print them."""

import math
import os

import pytest

from mdiff.errors import LaunchError
from mdiff.launch.slurm.cluster import choose_partition, parse_duration, parse_gres, parse_partitions
from mdiff.launch.slurm.state import STATES, Account, job_state, parse_sacct, parse_show_job, read_job
from mdiff.launch.state import JobState

REQUEUED = """\
7|REQUEUED|13|billing=8,cpu=8,gres/gpu=16,node=2|2|2026-11-24T22:00:00
7|COMPLETED|15|billing=8,cpu=8,gres/gpu=16,node=2|2|2026-11-24T22:00:20
71|COMPLETED|15|billing=8,cpu=8,gres/gpu=16,node=2|2|2026-11-24T22:00:20
"""
SINFO = """\
cpu*|infinite|128+|40|(null)|512000
h100|4:00:00|96|12|gpu:h100:8(S:0-1)|1000000
h100|4:00:00|64|2|gpu:h100:4|500000
mixed|1-00:00:00|32|3|gpu:a100:4,gpu:v100:2|200000
"""


def test_every_start_of_a_requeued_job_is_seen_once_and_other_jobs_are_not():
    starts = parse_sacct(REQUEUED, "7").starts
    assert [(start.word, start.seconds, start.gpus) for start in starts] == [("REQUEUED", 13.0, 16), ("COMPLETED", 15.0, 16)]
    assert starts[0].begun_at == "2026-11-24T22:00:00+00:00"


@pytest.mark.parametrize("never", ["Unknown", "None", ""])
def test_start_that_never_came_counts_for_its_word_alone(never):
    account = parse_sacct(f"7|REQUEUED|13|node=2|2|2026-11-24T22:00:00\n7|CANCELLED by 0|0||2|{never}\n", "7")
    assert [start.word for start in account.starts] == ["REQUEUED"]
    assert account.word == "CANCELLED by 0"


def test_cluster_that_does_not_account_for_gpus_leaves_their_number_open():
    assert parse_sacct("7|RUNNING|5|billing=8,cpu=8,node=2|2|2026-11-24T22:00:00\n", "7").starts[0].gpus is None


def test_job_that_nobody_has_heard_of_has_an_empty_account():
    assert parse_sacct("", "7") == Account(starts=(), word="")


@pytest.fixture
def answers(tmp_path, monkeypatch):
    """A cluster whose scontrol and sacct say this."""

    def cluster(scontrol: str, sacct: str) -> None:
        for name, script in {"scontrol": scontrol, "sacct": sacct}.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    return cluster


FORGOTTEN = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"
OFF = "echo 'Slurm accounting storage is disabled' >&2; exit 1"
SILENT = "echo 'Unable to contact slurm controller (connect failure)' >&2; exit 1"
PREEMPTED = "echo '7|PREEMPTED|13|node=2|2|2026-11-24T22:00:00'"


def test_hiccup_of_the_controller_is_never_taken_for_an_end(answers):
    answers(SILENT, PREEMPTED)
    with pytest.raises(LaunchError, match="Unable to contact"):
        read_job("7")


def test_hiccup_of_accounting_is_never_taken_for_no_accounting(answers):
    answers("echo JobState=RUNNING", "echo 'Connection refused' >&2; exit 1")
    with pytest.raises(LaunchError, match="Connection refused"):
        read_job("7")


def test_job_is_settled_only_when_accounting_has_heard_of_its_end(answers):
    answers("echo JobState=COMPLETED", "echo '7|RUNNING|13|node=2|2|2026-11-24T22:00:00'")
    assert not read_job("7").is_settled
    answers("echo JobState=COMPLETED", "echo '7|COMPLETED|13|node=2|2|2026-11-24T22:00:00'")
    assert read_job("7").is_settled
    answers("echo JobState=COMPLETED", OFF)
    assert read_job("7").is_settled


def test_job_cancelled_in_the_queue_is_cancelled_also_when_the_controller_has_forgotten_it(answers):
    answers(FORGOTTEN, "echo '7|CANCELLED by 0|0||2|None'")
    job = read_job("7")
    assert job.state is JobState.CANCELLED
    assert job.is_settled


def test_requeued_job_is_pending_whatever_its_last_start_was(answers):
    answers("echo JobState=PENDING Reason=BeginTime Restarts=1", PREEMPTED)
    job = read_job("7")
    assert job.state is JobState.PENDING
    assert not job.is_settled


def test_job_that_nobody_knows_any_more_has_ended_and_its_state_is_unknown(answers):
    answers(FORGOTTEN, OFF)
    job = read_job("7")
    assert (job.state, job.is_settled, job.account) == (JobState.UNKNOWN, True, None)


@pytest.mark.parametrize("word", ["DREAMING", "", "COMPLETED_SOMEHOW"])
def test_word_that_nobody_knows_is_never_an_end(word):
    assert job_state(word) is JobState.UNKNOWN
    assert not job_state(word).is_final


@pytest.mark.parametrize("word", ["PENDING", "CONFIGURING", "SUSPENDED", "COMPLETING", "REQUEUED", "RESIZING", "STOPPED"])
def test_job_that_may_still_bill_is_not_final(word):
    assert not STATES[word].is_final


def test_fields_of_scontrol():
    shown = parse_show_job("JobId=7 JobName=x JobState=PENDING Reason=Resources Dependency=(null) Restarts=2 StartTime=2026-11-24T23:00:00")
    assert (shown["JobState"], shown["Reason"], shown["Restarts"]) == ("PENDING", "Resources", "2")


def test_partitions_with_their_limits_and_gpus():
    partitions = {partition.name: partition for partition in parse_partitions(SINFO)}
    assert list(partitions) == ["cpu", "h100", "mixed"]
    assert partitions["cpu"].is_default
    assert partitions["cpu"].max_seconds == math.inf
    assert partitions["h100"].max_seconds == 4 * 3600
    assert partitions["h100"].cpus_per_node(8) == 96
    assert partitions["h100"].cpus_per_node(4) == 64
    assert partitions["mixed"].kinds[0].gpus == 6


def test_partition_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(LaunchError, match=r'slurm.partition = "h200": no such partition; this cluster has: cpu, h100, mixed'):
        choose_partition(parse_partitions(SINFO), "h200")
    assert choose_partition(parse_partitions(SINFO), "").name == "cpu"


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 1800), ("90:00", 5400), ("2-00:00:00", 172800), ("1-12", 129600), ("UNLIMITED", math.inf)]
)
def test_durations_as_slurm_writes_them(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["(null)", "lustre:1", ""])
def test_nodes_without_gpus(text):
    assert parse_gres(text) == (0, "")
