"""With which nodes an elastic job begins, and what becomes of a node that comes late."""

import json
import sys
from collections.abc import Callable
from datetime import timedelta

import pytest

from mdiff.attempt import peers
from mdiff.attempt.exit_codes import START_AGAIN, End
from mdiff.attempt.gather import GATHER_SECONDS, GatheringError, gather, read_members
from mdiff.attempt.join import Applicant
from mdiff.attempt.log import AttemptLog
from mdiff.attempt.node import JOIN_SECONDS
from mdiff.attempt.peers import end_with_peers, watch_followers
from mdiff.attempt.pod import Pod, pod_node
from mdiff.attempt.stop import read_stop
from mdiff.attempt.supervise import Rhythm, supervise
from mdiff.budget.record import AttemptRecord
from mdiff.recipe.carried import SUBMISSION, carry, unpack
from mdiff.recipe.exchange import Progress
from mdiff.recipe.job import Elastic, Submission
from mdiff.recipe.load import load_recipe, to_toml
from mdiff.recipe.site import Hardware
from mdiff.run_dir import AttemptDir, RunDir, replace_file
from mdiff.units import utc_now
from tests.budget.books import make_record, make_submission, write_record

THREE = Hardware(nodes=3, devices_per_node=4)
FIRST, SECOND = "j.000.aaaaaaaa", "j.001.bbbbbbbb"


class FakeTime:
    """Passes while somebody sleeps; `then` happens at a moment."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._then: list[tuple[float, Callable[[], object]]] = []

    def clock(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        for moment, happen in [each for each in self._then if each[0] <= self.seconds]:
            self._then.remove((moment, happen))
            happen()

    def then(self, moment: float, happen: Callable[[], object]) -> None:
        self._then.append((moment, happen))


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def run_dir(tmp_path) -> RunDir:
    return RunDir(tmp_path / "run")


def submission(least: int = 2, **changes) -> Submission:
    elastic = Elastic(least_nodes=least, rejoin_after_seconds=600.0)
    settings = {"backend": "kubernetes", "hardware": THREE, "elastic": elastic, "recipe_toml": to_toml(load_recipe("shapes"))}
    return make_submission(**settings | changes)


def pod(index: int, uid: str = "aaaaaaaa-1") -> Pod:
    return Pod(name=f"j-{index}", uid=uid, machine="node1", job="j", index=index)


def gathered(attempt: AttemptDir, time: FakeTime, least: int = 2, is_superseded: Callable[[], bool] = lambda: False) -> tuple[int, ...]:
    return gather(attempt, submission(least).job, is_superseded, time.clock, time.sleep)


def come(attempt: AttemptDir, index: int) -> None:
    replace_file(attempt.node_joined(index), f"uid-{index}")


def begin(run_dir: RunDir, name: str, members: list[int] | None, **changes) -> AttemptDir:
    """An attempt that runs with these nodes."""
    now = utc_now().isoformat()
    settings = {"attempt": name, "reason": None, "backend": "kubernetes", "scheduler_job": "j", "boot_id": "", "hardware": THREE}
    write_record(run_dir, make_record(**settings | {"heartbeat_at": now, "started_at": now} | changes))
    if members is not None:
        replace_file(run_dir.attempt(name).members, json.dumps(members))
    return run_dir.attempt(name)


def work(attempt: AttemptDir, images: int) -> None:
    progress = Progress(stage=1, step=1, steps=9, stage_images=images, images_seen=images, activity="training", updated_at="")
    replace_file(attempt.progress, progress.model_dump_json())


def test_attempt_begins_at_once_when_all_are_there(run_dir, time):
    attempt = run_dir.attempt(FIRST)
    come(attempt, 1)
    time.then(5.0, lambda: come(attempt, 2))
    assert gathered(attempt, time) == (0, 1, 2)
    assert time.seconds == 5.0


def test_attempt_begins_after_a_while_with_those_that_came(run_dir, time):
    attempt = run_dir.attempt(FIRST)
    time.then(5.0, lambda: come(attempt, 2))
    assert gathered(attempt, time) == (0, 2)
    assert time.seconds == GATHER_SECONDS
    assert json.loads(attempt.members.read_text()) == [0, 2]


def test_attempt_begins_as_soon_as_there_are_enough_once_the_while_is_over(run_dir, time):
    attempt = run_dir.attempt(FIRST)
    time.then(200.0, lambda: come(attempt, 1))
    assert gathered(attempt, time) == (0, 1)
    assert time.seconds == 200.0


def test_too_few_nodes_end_in_a_new_start_and_nothing_is_published(run_dir, time):
    attempt = run_dir.attempt(FIRST)
    with pytest.raises(GatheringError, match="1 of at least 2 nodes came within 600 s") as caught:
        gathered(attempt, time)
    assert caught.value.exit_code == START_AGAIN
    assert time.seconds == JOIN_SECONDS
    assert read_members(attempt) is None


def test_leader_that_was_replaced_gives_up(run_dir, time):
    attempt, node = run_dir.attempt(FIRST), pod_node(pod(0), FIRST, run_dir, submission())
    time.then(3.0, lambda: run_dir.attempt(SECOND).path.mkdir())
    with pytest.raises(GatheringError, match="another pod"):
        gathered(attempt, time, is_superseded=node.is_superseded)
    assert time.seconds == 3.0


def test_job_that_is_not_elastic_gathers_nobody(run_dir, time):
    attempt = run_dir.attempt(FIRST)
    assert gather(attempt, submission(elastic=None).job, lambda: False, time.clock, time.sleep) == ()
    assert not attempt.path.exists()


def apply(run_dir: RunDir, time: FakeTime, index: int = 1, uid: str = "uid-1") -> tuple[AttemptDir, AttemptRecord] | None:
    """Ten minutes and more of waiting, in no time."""
    begun = utc_now()
    applicant = Applicant(run_dir, pod(index, uid), submission().job.elastic, time.clock, lambda: begun + timedelta(seconds=time.seconds))
    return applicant.wait(time.sleep)


def test_node_that_is_counted_on_follows(run_dir, time):
    attempt = run_dir.attempt(FIRST)
    attempt.path.mkdir(parents=True)
    time.then(2.0, lambda: replace_file(attempt.members, "[0, 1]"))
    time.then(4.0, lambda: begin(run_dir, FIRST, None))
    found = apply(run_dir, time)
    assert found is not None
    assert (found[0].name, time.seconds) == (FIRST, 4.0)
    assert attempt.node_joined(1).read_text() == "uid-1"


def test_pod_that_is_made_anew_while_nodes_gather_takes_its_place_over(run_dir, time):
    attempt = run_dir.attempt(FIRST)
    come(attempt, 1)
    time.then(2.0, lambda: begin(run_dir, FIRST, [0, 1]))
    assert apply(run_dir, time, uid="another") is not None
    assert attempt.node_joined(1).read_text() == "another"
    assert not attempt.node_lost(1).exists()


def test_pod_that_is_made_anew_later_ends_the_attempt_instead(run_dir, time):
    attempt = begin(run_dir, FIRST, [0, 1])
    come(attempt, 1)
    leader = watch_followers(attempt, pod_node(pod(0), FIRST, run_dir, submission(), (0, 1)))
    assert apply(run_dir, time, uid="another") is None
    assert attempt.node_lost(1).exists()
    assert leader._has_failed()


def test_node_joins_the_attempt_of_the_leader_that_came_in_place_of_another(run_dir, time):
    run_dir.attempt(FIRST).path.mkdir(parents=True)
    time.then(3.0, lambda: run_dir.attempt(SECOND).path.mkdir())
    time.then(5.0, lambda: begin(run_dir, SECOND, [0, 1]))
    found = apply(run_dir, time)
    assert found is not None
    assert found[0].name == SECOND
    assert run_dir.attempt(FIRST).node_joined(1).exists()


def test_latecomer_lets_the_attempt_work_before_all_begin_anew(run_dir, time):
    attempt = begin(run_dir, FIRST, [0, 2])
    work(attempt, 100)
    asked: list[float] = []
    time.then(50.0, lambda: work(attempt, 200))
    time.then(599.0, lambda: asked.append(attempt.stop.exists()))
    time.then(602.0, lambda: begin(run_dir, FIRST, None, reason="preempted"))
    time.then(603.0, lambda: begin(run_dir, SECOND, [0, 1, 2]))
    found = apply(run_dir, time)
    assert found is not None
    assert found[0].name == SECOND
    assert asked == [False]
    stop = read_stop(attempt)
    assert stop is not None
    assert (stop.reason, stop.requested_by) == ("preempted", "node 1, which would join")


def test_latecomer_does_not_disturb_an_attempt_that_has_not_done_anything_yet(run_dir, time):
    attempt = begin(run_dir, FIRST, [0, 2])
    work(attempt, 100)
    time.then(2000.0, lambda: begin(run_dir, FIRST, None, reason="failed"))
    assert apply(run_dir, time) is None
    assert read_stop(attempt) is None
    assert time.seconds > 2000.0 + JOIN_SECONDS - 5.0, "as long as the attempt lives, waiting is not in vain"


def test_job_is_told_how_many_nodes_take_part_only_if_that_may_vary(run_dir):
    assert pod_node(pod(0), FIRST, run_dir, submission(), (0, 2)).variables["MDIFF_NODES"] == "2"
    assert "MDIFF_NODES" not in pod_node(pod(0), FIRST, run_dir, submission(elastic=None)).variables


def test_meter_bills_the_nodes_that_take_part(run_dir):
    job = submission(least=1, argv=(sys.executable, "-c", "import time; time.sleep(1)"))
    node = pod_node(pod(0), FIRST, run_dir, job, (0,))
    assert supervise(run_dir, job, Rhythm(poll_seconds=0.05), node) == 0
    record = AttemptRecord.model_validate_json(run_dir.attempt(FIRST).record.read_bytes())
    assert (record.hardware.nodes, record.hardware.num_devices) == (1, 4)
    assert 4.0 < record.device_seconds < 8.0


def test_lost_node_is_called_by_its_own_number(run_dir, monkeypatch):
    monkeypatch.setattr(peers, "ANSWER_SECONDS", 0.3)
    attempt = begin(run_dir, FIRST, [0, 2])
    node = pod_node(pod(0), FIRST, run_dir, submission(), (0, 2))
    end = end_with_peers(End("failed", "connection closed"), 1, attempt, node, AttemptLog(attempt.log))
    assert end == End("peer_lost", "node 2 of nodes 0, 2 has gone; connection closed")


def test_submission_carries_into_the_pod_how_elastic_it_is():
    told = submission(least=1)
    assert unpack(carry(told), "s1", told.submitted_at).job.elastic == told.job.elastic
    assert "elastic" not in carry(submission(elastic=None))[SUBMISSION]
