"""What pods tell in their logs arrives in this machine's books: each line once, newer over older, never the other way."""

import io

import pytest

from mdiff.attempt.tell import MARK, Bulletin, LogCopy, read_bulletin
from mdiff.budget.ledger import read_ledger
from mdiff.errors import LaunchError
from mdiff.launch.kubernetes.mirror import mirror_logs
from mdiff.recipe.job import Submission
from mdiff.run_dir import RunDir
from tests.budget.books import make_record, make_submission
from tests.launch.test_kubernetes_account import facts

ATTEMPT = "j.000.aaaaaaaa"


class Pod:
    """A pod's log that grows; `read` is what the API would answer."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.asked: list[int | None] = []

    def say(self, text: str, second: int) -> None:
        self.lines.append(f"2026-11-24T10:00:{second:02d}.000000000Z {text}")

    def read(self, pod: str, since_seconds: int | None) -> str:
        self.asked.append(since_seconds)
        return "".join(f"{line}\n" for line in self.lines)


def submission() -> Submission:
    return make_submission(backend="kubernetes", scheduler_job="j", id="here")


def bulletin(heartbeat: str, reason: str | None = None, *, is_last: bool = False, submitted_as: str = "there") -> str:
    told = make_record(attempt=ATTEMPT, submission=submitted_as, reason=reason, heartbeat_at=heartbeat, backend="kubernetes")
    return Bulletin(attempt=ATTEMPT, record=told, is_last=is_last).line()


def test_log_and_record_arrive_once_under_the_name_that_the_submission_has_here(tmp_path):
    run_dir, pod = RunDir(tmp_path / "run"), Pod()
    pod.say(Bulletin(attempt=ATTEMPT, submission="there").line(), 1)
    pod.say("step 1", 2)
    pod.say("step 2", 2)
    assert mirror_logs(pod.read, run_dir, submission(), [facts()])
    pod.say("step 3", 2)
    pod.say(bulletin("2026-11-24T10:00:03+00:00"), 3)
    assert mirror_logs(pod.read, run_dir, submission(), [facts()])
    assert not mirror_logs(pod.read, run_dir, submission(), [facts()])
    assert run_dir.attempt(ATTEMPT).log.read_text() == "step 1\nstep 2\nstep 3\n"
    [record] = read_ledger(run_dir).records
    assert record.submission == "here"
    assert pod.asked[0] is None, "at first all of it"
    assert pod.asked[1] is not None, "then what is new"


def test_newer_record_stays_when_an_older_one_is_told_again(tmp_path):
    run_dir, pod = RunDir(tmp_path / "run"), Pod()
    pod.say(bulletin("2026-11-24T10:00:30+00:00", "completed"), 1)
    pod.say(bulletin("2026-11-24T10:00:10+00:00"), 2)
    mirror_logs(pod.read, run_dir, submission(), [facts()])
    [record] = read_ledger(run_dir).records
    assert record.reason == "completed"


def test_books_told_at_the_end_fill_in_attempts_whose_pods_nobody_saw(tmp_path):
    run_dir, pod = RunDir(tmp_path / "run"), Pod()
    pod.say(bulletin("2026-11-24T09:00:00+00:00", "peer_lost", is_last=True, submitted_as="another"), 1)
    pod.say(Bulletin(attempt="j.001.bbbbbbbb", submission="there").line(), 2)
    pod.say("hello", 3)
    mirror_logs(pod.read, run_dir, submission(), [facts()])
    [record] = read_ledger(run_dir).records
    assert (record.attempt, record.submission) == (ATTEMPT, "another")
    assert run_dir.attempt("j.001.bbbbbbbb").log.read_text() == "hello\n", (
        "lines belong to the attempt that speaks, not to those it tells of"
    )


def test_log_of_an_ended_pod_is_read_once_more_and_then_no_more(tmp_path):
    run_dir, pod = RunDir(tmp_path / "run"), Pod()
    pod.say(Bulletin(attempt=ATTEMPT, submission="there").line(), 1)
    ended = facts(phase="Failed", held_to="2026-11-24T10:01:00Z")
    mirror_logs(pod.read, run_dir, submission(), [ended])
    mirror_logs(pod.read, run_dir, submission(), [ended])
    assert len(pod.asked) == 1


def test_machine_that_sees_the_volume_keeps_what_is_there(tmp_path):
    run_dir, pod = RunDir(tmp_path / "run"), Pod()
    job = submission().job.model_copy(update={"run_dir": str(run_dir.path)})
    assert not mirror_logs(pod.read, run_dir, submission().model_copy(update={"job": job}), [facts()])
    assert pod.asked == []


def test_line_of_another_version_is_no_bulletin():
    assert read_bulletin("step 1") is None
    assert read_bulletin(f'{MARK}{{"attempt": "a", "invented": 1}}') is None
    assert read_bulletin(Bulletin(attempt="a", node=1).line()) == Bulletin(attempt="a", node=1)


def test_log_is_copied_in_whole_lines(tmp_path):
    log, output = tmp_path / "log.txt", io.StringIO()
    copy = LogCopy(log, output)
    copy.copy()
    log.write_text("one\ntw")
    copy.copy()
    assert output.getvalue() == "one\n"
    log.write_text("one\ntwo\nthr")
    copy.copy(to_the_end=True)
    assert output.getvalue() == "one\ntwo\nthr\n"


def test_attempt_that_another_job_tells_of_stays_where_it_was_filed(tmp_path):
    run_dir, pod = RunDir(tmp_path / "run"), Pod()
    pod.say(Bulletin(attempt=ATTEMPT, submission="there").line(), 1)
    pod.say(bulletin("2026-11-24T10:00:10+00:00"), 2)
    mirror_logs(pod.read, run_dir, submission(), [facts()])
    later = Pod()
    later.say(Bulletin(attempt="j.001.bbbbbbbb", submission="there too").line(), 3)
    later.say(bulletin("2026-11-24T10:00:30+00:00", "preempted", is_last=True), 4)
    mirror_logs(later.read, run_dir, submission().model_copy(update={"id": "second"}), [facts(uid="bbbbbbbb-2")])
    [record] = read_ledger(run_dir).records
    assert (record.submission, record.reason) == ("here", "preempted")


def test_pod_whose_node_does_not_answer_does_not_hide_the_others(tmp_path):
    run_dir, pod = RunDir(tmp_path / "run"), Pod()
    pod.say(Bulletin(attempt=ATTEMPT, submission="there").line(), 1)
    pod.say("hello", 2)

    def read(name: str, since_seconds: int | None) -> str:
        if name == "deaf":
            raise LaunchError("dial tcp 10.0.0.7:10250: i/o timeout")
        return pod.read(name, since_seconds)

    mirror_logs(read, run_dir, submission(), [facts(name="deaf", uid="cccccccc-3"), facts()])
    assert run_dir.attempt(ATTEMPT).log.read_text() == "hello\n"


@pytest.mark.parametrize("name", ["../../x", "/etc/x", ".hidden", "a/b", ""])
def test_name_that_is_a_path_is_not_taken(tmp_path, name):
    line = Bulletin(attempt=ATTEMPT).line().replace(ATTEMPT, name)
    assert read_bulletin(line) is None


def test_two_commands_at_the_same_moment_write_each_line_once(tmp_path):
    run_dir, pod = RunDir(tmp_path / "run"), Pod()
    pod.say(Bulletin(attempt=ATTEMPT, submission="there").line(), 1)
    pod.say("hello", 2)

    def read_while_another_does(name: str, since_seconds: int | None) -> str:
        assert mirror_logs(pod.read, run_dir, submission(), [facts()]), "it leaves that to us, and reads the books again"
        return pod.read(name, since_seconds)

    mirror_logs(read_while_another_does, run_dir, submission(), [facts()])
    assert run_dir.attempt(ATTEMPT).log.read_text() == "hello\n"
