"""What node 0 makes of what the other nodes say, or do not say."""

import os
from pathlib import Path

import pytest

from mdiff.attempt import peers
from mdiff.attempt.exit_codes import End
from mdiff.attempt.log import AttemptLog
from mdiff.attempt.node import Node
from mdiff.attempt.peers import PeerWatch, end_with_peers, report_end, watch_followers, watch_leader
from mdiff.run_dir import AttemptDir

TWO = Node(attempt="1-000", scheduler_job="1", count=2)
LOG = AttemptLog(Path(os.devnull))
FAILED = End("failed", "RuntimeError: Connection closed by peer")


@pytest.fixture
def attempt(tmp_path, monkeypatch) -> AttemptDir:
    monkeypatch.setattr(peers, "ANSWER_SECONDS", 0.3)
    return AttemptDir(tmp_path)


def test_node_that_does_not_answer_the_roll_call_is_lost(attempt):
    end = end_with_peers(FAILED, 1, attempt, TWO, LOG)
    assert end.reason == "peer_lost"
    assert "node 1 of 2" in end.detail
    assert attempt.roll_call.exists()


def test_node_that_failed_first_names_the_cause(attempt):
    report_end(attempt, 1, "gpu-17", 1, "torch.OutOfMemoryError: CUDA out of memory")
    assert end_with_peers(FAILED, 1, attempt, TWO, LOG) == End("failed", "gpu-17: torch.OutOfMemoryError: CUDA out of memory")


def test_node_that_only_answers_the_roll_call_does_not_hide_our_own_error(attempt):
    end = end_with_peers(FAILED, 1, attempt, TWO, LOG, sleep=lambda _: report_end(attempt, 1, "gpu-17", 137, "killed"))
    assert end == FAILED


@pytest.mark.parametrize("end", [End("completed"), End("preempted"), End("cancelled")])
def test_other_ends_need_nobody_else(attempt, end):
    assert end_with_peers(end, 0, attempt, TWO, LOG) == end
    assert not attempt.roll_call.exists()


def test_job_that_fails_while_it_is_asked_to_stop_may_have_lost_a_peer(attempt, monkeypatch):
    monkeypatch.setattr(peers, "HURRY_SECONDS", 0.1)
    asked = End("preempted", "asked by signal SIGTERM; left with exit code 1")
    assert end_with_peers(asked, 1, attempt, TWO, LOG).reason == "peer_lost"
    report_end(attempt, 1, "gpu-17", 1, "")
    assert end_with_peers(asked, 1, attempt, TWO, LOG) == asked


def test_lonely_node_has_no_peers(attempt):
    assert end_with_peers(FAILED, 1, attempt, Node(attempt="1-000", scheduler_job="1"), LOG) == FAILED


def test_job_is_given_time_to_notice_a_failed_peer_itself():
    now, failed = [0.0], [False]
    watch = PeerWatch(lambda: failed[0], clock=lambda: now[0])
    assert watch.why_kill() == ""
    failed[0], now[0] = True, 10.0
    assert watch.why_kill() == ""
    now[0] += peers.LEAVE_SECONDS
    assert "failed on another node" in watch.why_kill()


def test_each_side_learns_of_the_others_failure(attempt):
    leader, follower = watch_followers(attempt, TWO), watch_leader(attempt, TWO)
    assert not leader._has_failed()
    assert not follower._has_failed()
    report_end(attempt, 1, "gpu-17", 1, "boom")
    attempt.roll_call.touch()
    assert leader._has_failed()
    assert follower._has_failed()


def test_peer_that_completed_has_not_failed(attempt):
    report_end(attempt, 1, "gpu-17", 0, "")
    assert not watch_followers(attempt, TWO)._has_failed()
